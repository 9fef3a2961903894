"""The cluster that this machine belongs to, and each of its machines."""

import os
import time
from collections.abc import Iterator

import ray

from ganforge.cluster.machines import alive, hostname
from ganforge.cluster.preflight import Probe, Problem, ask, different, versions
from ganforge.cluster.session import cluster_address, session
from ganforge.doctor.findings import Finding
from ganforge.settings import SettingsError
from ganforge.tracking.client import resolve_uri
from ganforge.training.files import open_folders

_CLOCK_SECONDS = 5.0


def check_cluster() -> list[Finding]:
    """Join the cluster and check every machine; no findings where there is no cluster."""
    try:
        if cluster_address() is None:
            return []
        with session():
            return list(_check())
    except SettingsError as error:
        return [Finding.error("cluster", str(error), "start it, or unset RAY_ADDRESS")]


def _check() -> Iterator[Finding]:
    nodes = alive()
    names = ", ".join(map(hostname, nodes))
    yield Finding.ok("cluster", f"{len(nodes)} machines: {names}")
    yield from _expected(len(nodes))
    has = ray.cluster_resources()
    message = f"{has.get('CPU', 0):g} CPUs, {has.get('GPU', 0):g} GPUs for trials"
    if os.environ.get("GANFORGE_GPU") and not has.get("GPU"):
        fix = "correct where machines are bought when a trial waits; else leave GANFORGE_GPU empty"
        yield Finding.warning("resources", f"{message}, and GANFORGE_GPU is set", fix)
    else:
        yield Finding.ok("resources", message)
    if os.environ.get("RAY_AUTH_MODE") != "token":
        message = "token authentication is off: anyone who reaches the ports can run programs"
        yield Finding.error("RAY_AUTH_MODE", message, "RAY_AUTH_MODE=token, and `ray up` again")
    storage = os.environ.get("GANFORGE_STORAGE", "")
    uri = resolve_uri() if os.environ.get("MLFLOW_TRACKING_URI") else ""
    yield from _answers(storage, uri)


def _expected(there: int) -> Iterator[Finding]:
    expected = os.environ.get("GANFORGE_NODES", "")
    if expected.isdigit() and int(expected) != there:
        message = f"{there} machines are there, {expected} are expected"
        fix = "`ray status` on the head shows why the others are missing"
        yield Finding.error("GANFORGE_NODES", message, fix)


def _answers(storage: str, uri: str) -> Iterator[Finding]:
    """Findings on each machine that can hold workers."""
    # here and not above: it imports torch, which takes seconds
    from ganforge.training.lineage import PACKAGES

    folder = f"probe-doctor-{os.getpid()}" if storage else ""
    if folder:
        try:
            open_folders(storage).write(folder, {"probe": folder.encode()})
        except (OSError, SettingsError):
            folder = ""  # check_machine reports it
    here, before = versions(PACKAGES), time.time()
    found = ask(Probe(PACKAGES, storage=storage, tracking_uri=uri, folder=folder))
    after = time.time()
    if folder:
        open_folders(storage).delete(folder)
    for machine in found:
        off = max(before - machine.seconds, machine.seconds - after, 0.0)
        problems = [*machine.problems, *different(machine, here)]
        if off > _CLOCK_SECONDS:
            problems.append(Problem(f"its clock is {off:.0f} s off", "set its clock by NTP"))
        for message, fix in problems:
            yield Finding.error(machine.name, message, fix)
        if not problems:
            passed = [f"software as here, clock within {_CLOCK_SECONDS:g} s"]
            passed += ["storage"] if folder else []
            passed += ["MLflow"] if uri else []
            yield Finding.ok(machine.name, ", ".join(passed))
