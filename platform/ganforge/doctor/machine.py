"""This machine: does its software fit, is there disk and memory, is the storage reachable?"""

import os
import shutil
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ganforge.cluster.preflight import storage_problems, tracking_problems, versions
from ganforge.cluster.private_files import token_file
from ganforge.cluster.probe import check_store_answers
from ganforge.cluster.variables import FILE, SECRETS, mistakes
from ganforge.doctor.findings import Finding
from ganforge.doctor.packages import PROJECT, extras, unmet
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
    """Check this machine alone."""
    return [
        *_python(),
        *_packages(),
        *_gpu(),
        *_capacity(),
        *_ports(),
        *_variables(),
        *_storage(),
        *_tracking(),
        *_private_files(),
    ]


def _python() -> Iterator[Finding]:
    message = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        yield Finding.ok("Python", message)
    else:
        yield Finding.error("Python", message, "use Python 3.11, 3.12 or 3.13")


def _packages() -> Iterator[Finding]:
    """What the project requires, against what is installed."""
    install = "pip install -c constraints.txt -e ."
    try:
        problems, parts, own = unmet(), extras(), version(PROJECT)
    except PackageNotFoundError:
        message = "is run from its folder: its requirements were not checked"
        yield Finding.warning(PROJECT, message, install)
    else:
        for row in problems:
            message = f"{row.installed or 'missing'}, but {row.required_by} needs {row.required}"
            yield Finding.error(row.package, message, install)
        if not problems:
            yield Finding.ok("packages", f"the requirements of {PROJECT} {own} are installed")
        without = [f"{name} ({', '.join(rows)})" for name, rows in parts.items() if rows]
        yield Finding.ok("extras", f"not installed: {'; '.join(without)}" if without else "all")
    # here and not above: it imports torch, which takes seconds
    from ganforge.training.lineage import PACKAGES

    found = ", ".join(f"{name} {number}" for name, number in versions(PACKAGES).items())
    yield Finding.ok("versions", found)


def _gpu() -> Iterator[Finding]:
    # here and not above: it takes seconds
    import torch

    count = torch.cuda.device_count()
    if count:
        names = ", ".join(torch.cuda.get_device_name(number) for number in range(count))
        yield Finding.ok("GPU", names)
    elif shutil.which("nvidia-smi"):
        message = f"a driver is here, but torch {torch.__version__} sees no GPU"
        yield Finding.error("GPU", message, "install a torch built for CUDA, or a newer driver")
    else:
        yield Finding.ok("GPU", "none; training uses the CPU")


def _capacity() -> Iterator[Finding]:
    for name, path in (("disk here", Path.cwd()), ("disk of the cache", cache_directory())):
        while not path.exists():
            path = path.parent
        free = shutil.disk_usage(path).free
        yield _amount(f"{name} ({path})", free, _LEAST_DISK, _SOME_DISK, "free some space")
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        row = next(line for line in lines if line.startswith("MemAvailable:"))
        free = int(row.split()[1]) * 1024
        fix = "use fewer workers: each takes about 1 GiB"
        yield _amount("memory", free, _LEAST_MEMORY, _SOME_MEMORY, fix)


def _amount(name: str, free: int, least: int, some: int, fix: str) -> Finding:
    message = f"{free / _GIB:.1f} GiB free"
    if free < least:
        return Finding.error(name, message, fix)
    return Finding.warning(name, message, fix) if free < some else Finding.ok(name, message)


def _ports() -> Iterator[Finding]:
    used = []
    for port, owner in _PORTS.items():
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                used.append(f"{port} ({owner}, or another)")
    message = f"in use: {', '.join(used)}" if used else "6379, 8265 and 5000 are free"
    yield Finding.ok("ports", message)


def _variables() -> Iterator[Finding]:
    for mistake in mistakes(os.environ, required=False):
        yield Finding.error(mistake.key, mistake.message, f"{mistake.fix} (in {FILE})")


def _storage() -> Iterator[Finding]:
    storage = os.environ.get("GANFORGE_STORAGE") or "ganforge-runs"
    if "://" in storage:
        try:
            check_store_answers(storage)
        except SettingsError as error:
            yield Finding.error("storage", *str(error).split(". Fix: ", 1))
            return
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
        fix = "give a folder or an address that can be written: --storage, or GANFORGE_STORAGE"
        yield Finding.error("storage", f"{storage}: {str(error).splitlines()[-1]}", fix)
        return
    for message, fix in problems:
        yield Finding.error("storage", message, fix)
    if not problems:
        yield Finding.ok("storage", f"{storage} can be written and read")


def _tracking() -> Iterator[Finding]:
    try:
        uri = resolve_uri()
    except SettingsError as error:
        yield Finding.error("MLflow", str(error), "set MLFLOW_TRACKING_URI")
        return
    if uri.startswith("http"):
        problems = tracking_problems(uri)
        for message, fix in problems:
            yield Finding.error("MLflow", message, fix)
        if not problems:
            yield Finding.ok("MLflow", f"{uri} answers")
        return
    folder = Path(uri.removeprefix("sqlite:///")).parent
    if not uri.startswith("sqlite:///") or os.access(folder, os.W_OK):
        yield Finding.ok("MLflow", uri)
    else:
        yield Finding.error("MLflow", f"{folder} cannot be written", "set MLFLOW_TRACKING_URI")


def _private_files() -> Iterator[Finding]:
    found = (("token", token_file()), ("variables", Path(FILE)), ("secrets", Path(SECRETS)))
    for name, file in ((name, path.expanduser()) for name, path in found):
        if not file.is_file():
            continue
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & 0o077:
            message = f"{file} is open to others on this machine (mode {mode:04o})"
            yield Finding.warning(name, message, f"chmod 600 {file}")
        else:
            yield Finding.ok(name, f"{file}, mode {mode:04o}")
