"""This machine: is the software here that fits together, is there room, are places reachable?"""

import os
import shutil
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from ganforge.cluster.preflight import storage_problems, tracking_problems
from ganforge.cluster.variables import FILE, mistakes
from ganforge.doctor.findings import Finding, good, warning, wrong
from ganforge.local_files import cache_directory
from ganforge.settings import SettingsError
from ganforge.tracking.client import resolve_uri
from ganforge.training.files import open_folders

_GIB = 2**30
_PORTS = {6379: "Ray's head", 8265: "Ray's dashboard", 5000: "the MLflow server"}
_LEAST_DISK, _SOME_DISK = 1 * _GIB, 10 * _GIB
_LEAST_MEMORY, _SOME_MEMORY = 2 * _GIB, 4 * _GIB
_PROBE = "probe-doctor"


def check_machine() -> list[Finding]:
    """All that can be said of this machine alone."""
    return [
        *_python(),
        *_packages(),
        *_pair(),
        *_gpu(),
        *_room(),
        *_ports(),
        *_variables(),
        *_storage(),
        *_tracking(),
        *_token(),
    ]


def _python() -> Iterator[Finding]:
    words = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        yield good("Python", words)
    else:
        yield wrong("Python", words, "use Python 3.11, 3.12 or 3.13")


def _packages() -> Iterator[Finding]:
    """What the project asks for, beside what is installed."""
    try:
        wanted = [Requirement(line) for line in requires("ganforge") or []]
        own = version("ganforge")
    except PackageNotFoundError:
        yield warning("ganforge", "is run from its folder", "pip install -c constraints.txt -e .")
        return
    bad = 0
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            found = "none"
        if found == "none" or not requirement.specifier.contains(found, prereleases=True):
            bad += 1
            remedy = "pip install -c constraints.txt -e ."
            yield wrong(requirement.name, f"{found}, needed is {requirement.specifier}", remedy)
    if not bad:
        yield good("packages", f"ganforge {own} and {len(wanted)} requirements fit")


def _pair() -> Iterator[Finding]:
    """torchvision is built for one torch; with another it fails when an image is read."""
    try:
        torch, vision = version("torch"), version("torchvision")
    except PackageNotFoundError as error:
        yield wrong("torch", f"{error.name} is not installed", "pip install torch torchvision")
        return
    words = f"torch {torch}, torchvision {vision}"
    needed = [Requirement(line) for line in requires("torchvision") or []]
    fits = all(r.specifier.contains(torch) for r in needed if r.name == "torch")
    if fits:
        yield good("torch", words)
    else:
        yield wrong("torch", f"{words} do not fit together", "install both in one command")


def _gpu() -> Iterator[Finding]:
    # here and not above: it takes seconds
    import torch

    count = torch.cuda.device_count()
    if count:
        names = ", ".join(torch.cuda.get_device_name(number) for number in range(count))
        yield good("GPU", names)
    elif shutil.which("nvidia-smi"):
        words = f"a driver is here, but torch {torch.__version__} sees no GPU"
        yield wrong("GPU", words, "install a torch built for CUDA, or a newer driver")
    else:
        yield good("GPU", "none; training uses the CPU")


def _room() -> Iterator[Finding]:
    for name, place in (("disk here", Path.cwd()), ("disk of the cache", cache_directory())):
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        yield _amount(f"{name} ({place})", free, _LEAST_DISK, _SOME_DISK, "make room")
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        row = next(line for line in lines if line.startswith("MemAvailable:"))
        free = int(row.split()[1]) * 1024
        remedy = "use fewer workers: each takes about 1 GiB"
        yield _amount("memory", free, _LEAST_MEMORY, _SOME_MEMORY, remedy)


def _amount(name: str, free: int, least: int, some: int, remedy: str) -> Finding:
    words = f"{free / _GIB:.1f} GiB free"
    if free < least:
        return wrong(name, words, remedy)
    return warning(name, words, remedy) if free < some else good(name, words)


def _ports() -> Iterator[Finding]:
    used = []
    for port, owner in _PORTS.items():
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                used.append(f"{port} ({owner}, or another)")
    words = f"in use: {', '.join(used)}" if used else "6379, 8265 and 5000 are free"
    yield good("ports", words)


def _variables() -> Iterator[Finding]:
    for mistake in mistakes(os.environ, required=False):
        yield wrong(mistake.key, mistake.words, f"{mistake.remedy} (in {FILE})")


def _storage() -> Iterator[Finding]:
    storage = os.environ.get("GANFORGE_STORAGE") or "ganforge-runs"
    name = f"{_PROBE}-{os.getpid()}"
    existed = "://" in storage or Path(storage).exists()
    try:
        folders = open_folders(storage)
        folders.write(name, {"probe": name.encode()})
        problems = storage_problems(storage, name)
        folders.delete(name)
        if not existed:
            Path(storage).rmdir()
    except (OSError, SettingsError) as error:
        remedy = "name a place that can be written: --storage, or GANFORGE_STORAGE"
        yield wrong("storage", f"{storage}: {str(error).splitlines()[-1]}", remedy)
        return
    for words, remedy in problems:
        yield wrong("storage", words, remedy)
    if not problems:
        yield good("storage", f"{storage} takes and gives files")


def _tracking() -> Iterator[Finding]:
    try:
        uri = resolve_uri()
    except SettingsError as error:
        yield wrong("MLflow", str(error), "set MLFLOW_TRACKING_URI")
        return
    if uri.startswith("http"):
        problems = tracking_problems(uri)
        for words, remedy in problems:
            yield wrong("MLflow", words, remedy)
        if not problems:
            yield good("MLflow", f"{uri} answers")
        return
    folder = Path(uri.removeprefix("sqlite:///")).parent
    if not uri.startswith("sqlite:///") or os.access(folder, os.W_OK):
        yield good("MLflow", uri)
    else:
        yield wrong("MLflow", f"{folder} cannot be written", "set MLFLOW_TRACKING_URI")


def _token() -> Iterator[Finding]:
    file = Path("~/.ray/auth_token").expanduser()
    if not file.is_file():
        return
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        words = f"{file} is open to others on this machine (mode {mode:04o})"
        yield warning("token", words, f"chmod 600 {file}")
    else:
        yield good("token", f"{file}, mode {mode:04o}")
