"""Before trials start: does every machine see the storage, the images, the records; is it the
same software there?"""

import json
import secrets
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ganforge.cluster.machines import alive, hostname
from ganforge.settings import SettingsError
from ganforge.training.files import open_folders

if TYPE_CHECKING:
    from ray import ObjectRef

    from ganforge.training.prepare import Prepared

#: What changes bits when it differs between two machines.
PACKAGES = ("ray", "torch", "torchvision", "numpy", "pillow", "safetensors", "mlflow")
_SECONDS = 180.0
_PROBE = "probe"


@dataclass(frozen=True)
class Probe:
    """What a machine is asked. `folder` is what the driver put into the storage."""

    storage: str = ""
    tracking_uri: str = ""
    folder: str = ""
    prepared: "ObjectRef[Prepared] | None" = None


@dataclass(frozen=True)
class Machine:
    """What a machine answered. `problems` are pairs of what is wrong and what to do."""

    name: str
    versions: Mapping[str, str]
    seconds: float
    fingerprint: str = ""
    problems: tuple[tuple[str, str], ...] = field(default=())


def check_machines(prepared: "Prepared", storage: str, tracking_uri: str) -> list[Machine]:
    """Ask every machine that can hold workers; SettingsError names all that is missing, and where.

    A file that the driver puts into `storage` must be seen on each machine, and one of each machine
    by the driver: a folder of one's own disk passes neither.
    """
    folders = open_folders(storage)
    mine = f"{_PROBE}-{secrets.token_hex(6)}"
    try:
        folders.write(mine, {"probe": mine.encode()})
        folders.read(mine, "probe")
    except (OSError, SettingsError) as error:
        raise SettingsError(
            f"storage = {storage}: cannot be written from this machine ({_short(error)})"
        ) from None
    asked = Probe(storage, tracking_uri, mine, ray.put(prepared))
    try:
        found = ask(asked)
        problems = [f"{m.name}: {what}; {remedy}" for m in found for what, remedy in m.problems]
        if tracking_uri.startswith("http"):
            problems += ["here: " + "; ".join(words) for words in tracking_problems(tracking_uri)]
        here = versions()
        for machine in found:
            problems += different(machine, here)
            if machine.fingerprint and machine.fingerprint != prepared.facts.fingerprint:
                problems.append(
                    f"{machine.name}: data.root = {prepared.settings.data.root}: other images "
                    f"there ({machine.fingerprint[:12]}) than here "
                    f"({prepared.facts.fingerprint[:12]}); copy the folder again"
                )
    finally:
        with suppress(OSError):
            folders.delete(mine)
    if problems:
        raise SettingsError("not every machine of the cluster is ready:\n" + "\n".join(problems))
    return found


def ask(probe: Probe) -> list[Machine]:
    """The answers of all machines but this one that can hold workers, at the same time."""
    here = ray.get_runtime_context().get_node_id()
    nodes = [n for n in alive() if n["NodeID"] != here and n["Resources"].get("CPU", 0) > 0]
    task: Any = ray.remote(_answer)
    asked = []
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        options = task.options(num_cpus=0, scheduling_strategy=there, max_retries=0)
        asked.append((node, options.remote(probe)))
    found = []
    for node, answer in asked:
        name = hostname(node)
        try:
            found.append(_named(ray.get(answer, timeout=_SECONDS), name))
        except RayError as error:
            remedy = "look at its log with `ray logs`, or take the machine out"
            silent = (f"gives no answer ({_short(error)})", remedy)
            found.append(Machine(name, {}, time.time(), problems=(silent,)))
    return found


def _named(machine: Machine, name: str) -> Machine:
    return Machine(name, machine.versions, machine.seconds, machine.fingerprint, machine.problems)


def _answer(probe: Probe) -> Machine:
    """On the machine itself."""
    problems: list[tuple[str, str]] = []
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
            problems.append((str(error), "put the same images on every machine"))
    return Machine(socket.gethostname(), versions(), time.time(), fingerprint, tuple(problems))


def storage_problems(storage: str, folder: str) -> list[tuple[str, str]]:
    """Whether this machine sees the driver's file in `storage`, and can write beside it."""
    try:
        folders = open_folders(storage)
        seen = folders.read(folder, "probe")
    except (OSError, SettingsError) as error:
        if "://" not in storage:
            remedy = "give s3://bucket/prefix, or a folder that all machines share"
            return [(f"storage = {storage}: is a folder of another machine's own disk", remedy)]
        remedy = "give this machine the bucket's address and the right to use it"
        return [(f"storage = {storage}: cannot be read ({_short(error)})", remedy)]
    assert seen == folder.encode()
    own = f"{folder}-{secrets.token_hex(4)}"
    try:
        folders.write(own, {"probe": own.encode()})
        folders.delete(own)
    except OSError as error:
        remedy = "give this machine the right to write and delete there"
        return [(f"storage = {storage}: cannot be written ({_short(error)})", remedy)]
    return []


def tracking_problems(uri: str) -> list[tuple[str, str]]:
    """Whether this machine can write to the tracking store."""
    if not uri.startswith("http"):
        remedy = "start `mlflow server` on the head and set MLFLOW_TRACKING_URI to it"
        return [(f"tracking URI = {uri}: is a file of another machine's disk", remedy)]
    # not /health: that answers whoever asks, also those who are refused all else
    address = f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1"
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            json.load(answer)
    except urllib.error.HTTPError as error:
        remedy = "name the host the way the server knows it (--allowed-hosts), or by its address"
        return [(f"tracking URI = {uri}: refuses this machine ({error.code})", remedy)]
    except (OSError, ValueError) as error:
        remedy = "start the server, and let its port through"
        return [(f"tracking URI = {uri}: does not answer ({_short(error)})", remedy)]
    return []


def versions() -> dict[str, str]:
    """What is installed here, as far as it reaches results."""
    found = {"python": python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def different(machine: Machine, here: Mapping[str, str]) -> list[str]:
    """Differences of a machine's software to this one's, one line for each."""
    if not machine.versions:
        return []
    return [
        f"{machine.name}: {name} {machine.versions.get(name, 'none')}, here "
        f"{here.get(name, 'none')}; install the same everywhere (`ray up` again)"
        for name in sorted({*here, *machine.versions})
        if here.get(name) != machine.versions.get(name)
    ]


def _short(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]
