"""Before trials start: does every machine reach the storage, the images and the tracking server,
and is the same software installed there?"""

import base64
import json
import os
import secrets
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import TYPE_CHECKING, NamedTuple

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ganforge.cluster.machines import alive, hostname
from ganforge.cluster.variables import read_machine_file
from ganforge.settings import SettingsError
from ganforge.training.files import open_folders

if TYPE_CHECKING:
    from ray import ObjectRef

    from ganforge.training.prepare import Prepared

#: What machines talk to each other with; those that can change bits are lineage.PACKAGES.
_COMMON = ("ray", "mlflow", "safetensors")
_SECONDS = 180.0
_PROBE = "probe"


@dataclass(frozen=True)
class Probe:
    """What a machine is asked. `folder` is what the driver put into the storage, `packages` are
    those whose versions are compared."""

    packages: tuple[str, ...]
    storage: str = ""
    tracking_uri: str = ""
    folder: str = ""
    prepared: "ObjectRef[Prepared] | None" = None


class Problem(NamedTuple):
    """What does not work on a machine, and how to fix it."""

    message: str
    fix: str


@dataclass(frozen=True)
class Machine:
    """What a machine answered."""

    name: str
    versions: Mapping[str, str]
    seconds: float
    fingerprint: str = ""
    problems: tuple[Problem, ...] = field(default=())


def check_machines(prepared: "Prepared", storage: str, tracking_uri: str) -> list[Machine]:
    """Ask every machine that can hold workers; SettingsError names every problem and its machine.

    A file that the driver puts into `storage` must be seen on each machine, and one of each machine
    by the driver: a folder of one's own disk passes neither.
    """
    # here and not above: it imports torch, and a machine answers without
    from ganforge.training.lineage import PACKAGES

    folders = open_folders(storage)
    mine = f"{_PROBE}-{secrets.token_hex(6)}"
    try:
        folders.write(mine, {"probe": mine.encode()})
        folders.read(mine, "probe")
    except (OSError, SettingsError) as error:
        raise SettingsError(
            f"storage = {storage}: cannot be written from this machine ({_short(error)})"
        ) from None
    asked = Probe(PACKAGES, storage, tracking_uri, mine, ray.put(replace(prepared, assets={})))
    try:
        found = ask(asked)
        lines = [
            line for machine in found for line in unready(machine, prepared, versions(PACKAGES))
        ]
        if tracking_uri.startswith("http"):
            lines += [f"here: {message}; {fix}" for message, fix in tracking_problems(tracking_uri)]
    finally:
        with suppress(OSError):
            folders.delete(mine)
    if lines:
        raise SettingsError("not every machine of the cluster is ready:\n" + "\n".join(lines))
    return found


def unready(machine: Machine, prepared: "Prepared", here: Mapping[str, str]) -> list[str]:
    """Why a machine cannot take part, line by line; `here` are the driver's versions."""
    # it imports numpy and the decoders, and a machine may be asked without
    from ganforge.data.sources import source_setting

    found = [*machine.problems, *different(machine, here)]
    expected = prepared.facts.fingerprint
    if machine.fingerprint and machine.fingerprint != expected:
        message = (
            f"{source_setting(prepared.settings.data)}: other images there "
            f"({machine.fingerprint[:12]}) than here ({expected[:12]})"
        )
        found.append(Problem(message, "copy the folder again"))
    return [f"{machine.name}: {message}; {fix}" for message, fix in found]


def ask(probe: Probe) -> list[Machine]:
    """The answers of all other machines that can hold workers, asked at the same time."""
    here = ray.get_runtime_context().get_node_id()
    nodes = [n for n in alive() if n["NodeID"] != here and n["Resources"].get("CPU", 0) > 0]
    task = ray.remote(_answer)
    asked = []
    for node in nodes:
        strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        options = task.options(num_cpus=0, scheduling_strategy=strategy, max_retries=0)
        asked.append((node, options.remote(probe)))
    found = []
    for node, answer in asked:
        name = hostname(node)
        try:
            there: Machine = ray.get(answer, timeout=_SECONDS)
            found.append(replace(there, name=name))
        except RayError as error:
            fix = "look at its log with `ray logs`, or remove the machine"
            silent = Problem(f"gives no answer ({_short(error)})", fix)
            found.append(Machine(name, {}, time.time(), problems=(silent,)))
    return found


def _answer(probe: Probe) -> Machine:
    """What this machine answers; runs on the machine itself."""
    read_machine_file()
    problems: list[Problem] = []
    if probe.folder:
        problems += storage_problems(probe.storage, probe.folder)
    if probe.tracking_uri:
        problems += tracking_problems(probe.tracking_uri)
    fingerprint = ""
    if probe.prepared is not None:
        # here and not above: they import torch, and a machine may be asked without
        from ganforge.data.prepare import prepare_data
        from ganforge.systems.catalog import load_system

        prepared = ray.get(probe.prepared)
        settings, kind = prepared.settings, load_system(prepared.system)
        try:
            facts = prepare_data(kind.Data, settings, kind.source_scale(settings), settings.seed)
            fingerprint = facts.fingerprint
        except SettingsError as error:
            problems.append(Problem(str(error), "put the same images on every machine"))
    return Machine(
        socket.gethostname(), versions(probe.packages), time.time(), fingerprint, tuple(problems)
    )


def storage_problems(storage: str, folder: str) -> list[Problem]:
    """Why this machine cannot read the driver's file in `storage`, or write next to it."""
    try:
        folders = open_folders(storage)
        seen = folders.read(folder, "probe")
    except (OSError, SettingsError) as error:
        if "://" not in storage:
            fix = "give s3://bucket/prefix, or a folder that all machines share"
            return [Problem(f"storage = {storage}: is a folder of another machine's own disk", fix)]
        fix = "give this machine the bucket's address and the right to use it"
        return [Problem(f"storage = {storage}: cannot be read ({_short(error)})", fix)]
    assert seen == folder.encode()
    own = f"{folder}-{secrets.token_hex(4)}"
    try:
        folders.write(own, {"probe": own.encode()})
        folders.delete(own)
    except OSError as error:
        fix = "give this machine the right to write and delete there"
        return [Problem(f"storage = {storage}: cannot be written ({_short(error)})", fix)]
    return []


def tracking_problems(uri: str) -> list[Problem]:
    """Why this machine cannot use the tracking store."""
    if not uri.startswith("http"):
        fix = "start `mlflow server` on the head and set MLFLOW_TRACKING_URI to it"
        return [Problem(f"tracking URI = {uri}: is a file of another machine's disk", fix)]
    # not /health: it also answers those who are refused everything else
    address = f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1"
    try:
        with urllib.request.urlopen(_request(address), timeout=10) as answer:
            json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 401:
            fix = "give this machine MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            return [Problem(f"tracking URI = {uri}: asks this machine for credentials", fix)]
        fix = "name the host the way the server knows it (--allowed-hosts), or by its address"
        return [Problem(f"tracking URI = {uri}: refuses this machine ({error.code})", fix)]
    except (OSError, ValueError) as error:
        fix = "start the server, and let its port through"
        return [Problem(f"tracking URI = {uri}: does not answer ({_short(error)})", fix)]
    return []


def _request(address: str) -> urllib.request.Request:
    """A request with this machine's credentials, as MLflow's own client makes it."""
    asked = urllib.request.Request(address)
    name, password = (os.environ.get(f"MLFLOW_TRACKING_{n}") for n in ("USERNAME", "PASSWORD"))
    shown = ""
    if name and password:
        shown = "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
    elif token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        shown = f"Bearer {token}"
    if shown:
        # not to where the server may send the request on to
        asked.add_unredirected_header("Authorization", shown)
    return asked


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """The versions of Python, of `packages` and of what machines talk to each other with, here."""
    found = {"python": python_version()}
    for name in (*packages, *_COMMON):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def different(machine: Machine, here: Mapping[str, str]) -> list[Problem]:
    """Where a machine's software differs from this one's."""
    if not machine.versions:
        return []
    return [
        Problem(
            f"{name} {machine.versions.get(name, 'none')}, here {here.get(name, 'none')}",
            "install the same everywhere (`ray up` again)",
        )
        for name in sorted({*here, *machine.versions})
        if here.get(name) != machine.versions.get(name)
    ]


def _short(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]
