"""The cluster that this machine belongs to: what each of its machines answers."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace

import ray

from ganforge.cluster.machines import alive, hostname
from ganforge.cluster.preflight import Probe, ask, different, versions
from ganforge.cluster.session import cluster_address, session
from ganforge.doctor.findings import Finding, good, warning, wrong
from ganforge.settings import SettingsError
from ganforge.tracking.client import resolve_uri

_CLOCK_SECONDS = 5.0


def check_cluster() -> list[Finding]:
    """Nothing where no cluster is; else joins it and asks every machine."""
    try:
        if cluster_address() is None:
            return []
        with session():
            return list(_check())
    except SettingsError as error:
        return [wrong("cluster", str(error), "start it, or unset RAY_ADDRESS")]


def _check() -> Iterator[Finding]:
    nodes = alive()
    names = ", ".join(map(hostname, nodes))
    yield good("cluster", f"{len(nodes)} machines: {names}")
    yield from _expected(len(nodes))
    has = ray.cluster_resources()
    words = f"{has.get('CPU', 0):g} CPUs, {has.get('GPU', 0):g} GPUs for trials"
    if os.environ.get("GANFORGE_GPU") and not has.get("GPU"):
        remedy = "right where machines are bought when a trial waits; else leave GANFORGE_GPU empty"
        yield warning("resources", f"{words}, and GANFORGE_GPU is set", remedy)
    else:
        yield good("resources", words)
    if os.environ.get("RAY_AUTH_MODE") != "token":
        words = "token authentication is off: whoever reaches the ports runs programs"
        yield wrong("RAY_AUTH_MODE", words, "RAY_AUTH_MODE=token, and `ray up` again")
    storage = os.environ.get("GANFORGE_STORAGE", "")
    uri = resolve_uri() if os.environ.get("MLFLOW_TRACKING_URI") else ""
    yield from _answers(storage, uri)


def _expected(there: int) -> Iterator[Finding]:
    expected = os.environ.get("GANFORGE_NODES", "")
    if expected.isdigit() and int(expected) != there:
        words = f"{there} machines are there, {expected} are expected"
        yield wrong("GANFORGE_NODES", words, "`ray status` says what keeps the others")


def _answers(storage: str, uri: str) -> Iterator[Finding]:
    """One line for each machine that can hold workers."""
    from ganforge.training.files import open_folders

    folder = f"probe-doctor-{os.getpid()}" if storage else ""
    if folder:
        try:
            open_folders(storage).write(folder, {"probe": folder.encode()})
        except (OSError, SettingsError):
            folder = ""  # told of this machine already
    here, before = versions(), time.time()
    found = ask(Probe(storage=storage, tracking_uri=uri, folder=folder))
    after = time.time()
    if folder:
        open_folders(storage).delete(folder)
    for machine in found:
        off = max(before - machine.seconds, machine.seconds - after, 0.0)
        problems = list(machine.problems)
        if off > _CLOCK_SECONDS:
            problems.append((f"its clock is {off:.0f} s off", "let it set its clock by NTP"))
        for words, remedy in problems:
            yield wrong(machine.name, words, remedy)
        for line in different(replace(machine, name="software"), here):
            words, _, remedy = line.partition("; ")
            yield wrong(machine.name, words, remedy)
        if not problems and not different(machine, here):
            told = [f"software as here, clock within {_CLOCK_SECONDS:g} s"]
            told += ["storage"] if folder else []
            told += ["MLflow"] if uri else []
            yield good(machine.name, ", ".join(told))
