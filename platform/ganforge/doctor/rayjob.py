"""A RayJob for Kubernetes: its values here, its fields by the API server of a cluster."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ganforge.cluster.variables import mistakes, secret_names
from ganforge.doctor.findings import Config, Finding, findings_of

_SUBJECT = "RayJob"
_REACH_SECONDS = 5
_KUBECTL_SECONDS = 60


def check_rayjob(content: Config, path: Path) -> list[Finding]:
    """The manifest's values, and what `kubectl` says of its fields where it reaches a cluster."""
    return [
        *_fields(path),
        *findings_of("variables of the pods", lambda: _values(content["spec"])),
        *findings_of("rayClusterSpec", lambda: _cluster(content["spec"])),
    ]


def _fields(path: Path) -> Iterator[Finding]:
    """Names and types of all fields, by a dry run on the server: it knows KubeRay's definitions."""
    command = ["kubectl", "apply", "--dry-run=server", "--validate=strict", "-f", str(path)]
    problem = _unreachable()
    if problem:
        message = (
            f"names and types of its fields were not checked: {problem}; its values were checked"
        )
        fix = f"where kubectl reaches the cluster: {' '.join(command)}"
        yield Finding.warning(_SUBJECT, message, fix)
        return
    code, output = _run([*command, "-o", "name"])
    if code == 0:
        yield Finding.ok(_SUBJECT, "the Kubernetes API server accepts it (dry run)")
        return
    fix = "correct the field that is named; docs/cluster.md lists what the cluster must have"
    for line in output.splitlines() or ["no message"]:
        if line.strip():
            yield Finding.error(_SUBJECT, f"refused by the API server: {line.strip()[:300]}", fix)


def _unreachable() -> str:
    """Why no API server can be asked; empty where one answers."""
    if shutil.which("kubectl") is None:
        return "kubectl is not installed"
    code, output = _run(
        ["kubectl", "get", "--raw", "/version", f"--request-timeout={_REACH_SECONDS}s"]
    )
    lines = output.strip().splitlines()
    return "" if code == 0 else f"kubectl reaches no cluster ({lines[-1] if lines else code})"


def _run(command: list[str]) -> tuple[int, str]:
    """The exit code of a command, and its messages."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_KUBECTL_SECONDS)
    except subprocess.TimeoutExpired:
        return 1, f"no answer in {_KUBECTL_SECONDS} s"
    return done.returncode, done.stderr.strip() or done.stdout


def _values(spec: Config) -> Iterator[Finding]:
    cluster = spec["rayClusterSpec"]
    groups = [("head", cluster["headGroupSpec"])]
    groups += [(row["groupName"], row) for row in cluster.get("workerGroupSpecs") or []]
    first: dict[str, str] | None = None
    for name, group in groups:
        container = group["template"]["spec"]["containers"][0]
        if not container.get("image"):
            fix = "give the project's image, such as registry.example/ganforge:1"
            yield Finding.error(f"{name}: containers.0.image", "is empty", fix)
        variables = {row["name"]: row.get("value", "") for row in container.get("env", [])}
        for secret in secret_names(variables):
            message = "stands in the manifest, which everybody who may read the job can read"
            yield Finding.error(f"{name}: {secret}", message, "valueFrom: secretKeyRef: …")
        if first is None:
            first = variables
            for mistake in mistakes(variables):
                yield Finding.error(mistake.key, mistake.message, mistake.fix)
            if not variables.get("MLFLOW_TRACKING_URI"):
                message = "is empty: the head's disk, and the runs on it, end with the job"
                fix = "give the address of a server that stays"
                yield Finding.error("MLFLOW_TRACKING_URI", message, fix)
        elif {k: v for k, v in variables.items() if first.get(k) != v}:
            message = "has other variables than the head"
            fix = "use one list for all groups, as in the shipped file"
            yield Finding.error(name, message, fix)


def _cluster(spec: Config) -> Iterator[Finding]:
    cluster = spec["rayClusterSpec"]
    if cluster.get("authOptions", {}).get("mode") != "token":
        message = "token authentication is off: anyone who reaches the ports can run programs"
        yield Finding.error("authOptions.mode", message, "mode: token")
    if cluster["headGroupSpec"].get("rayStartParams", {}).get("num-cpus") != "0":
        message = "the head takes trials, and a search dies with an overloaded head"
        yield Finding.error("headGroupSpec.rayStartParams", message, 'num-cpus: "0"')
    if not spec.get("shutdownAfterJobFinishes"):
        message = "the machines stay when the search is over"
        yield Finding.error("shutdownAfterJobFinishes", message, "shutdownAfterJobFinishes: true")
    workers = cluster.get("workerGroupSpecs") or []
    if not workers:
        yield Finding.error("workerGroupSpecs", "is empty: no trial could run", "add a group")
    for group in workers:
        if group["minReplicas"] > group["maxReplicas"]:
            message = "minReplicas is above maxReplicas"
            yield Finding.error(group["groupName"], message, "lower minReplicas")
        limits = group["template"]["spec"]["containers"][0].get("resources", {}).get("limits", {})
        if "cpu" not in limits or "memory" not in limits:
            message = "has no limits of cpu and memory, from which Ray takes what it may use"
            yield Finding.error(group["groupName"], message, "resources.limits")
    if not cluster.get("enableInTreeAutoscaling"):
        message = "pods run, and cost, whether trials run or not"
        fix = "enableInTreeAutoscaling: true"
        yield Finding.warning("enableInTreeAutoscaling", message, fix)
