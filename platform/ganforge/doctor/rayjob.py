"""A RayJob for Kubernetes: its fields, its values, and whether it ends what it starts."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from jsonschema import Draft202012Validator

from ganforge.cluster.variables import mistakes
from ganforge.doctor.findings import Finding, good, warning, wrong
from ganforge.doctor.rayjob_schema import RAYJOB


def check_rayjob(content: dict[str, Any]) -> list[Finding]:
    """All that can be said of the manifest without a cluster."""
    found = []
    for error in Draft202012Validator(RAYJOB).iter_errors(content):
        place = ".".join(str(part) for part in error.absolute_path) or "the file"
        remedy = "compare it with the shipped cluster.kubernetes.yaml"
        found.append(wrong(place, error.message[:160], remedy))
    if not found:
        found.append(good("RayJob", "has the fields of ray.io/v1"))
    for check in (_values, _cluster):
        # what the schema has named already may keep a check from being made
        with suppress(AttributeError, IndexError, KeyError, TypeError):
            found += check(content["spec"])
    return found


def _values(spec: dict[str, Any]) -> Iterator[Finding]:
    cluster = spec["rayClusterSpec"]
    groups = [("head", cluster["headGroupSpec"])]
    groups += [(row["groupName"], row) for row in cluster.get("workerGroupSpecs", [])]
    first: dict[str, str] | None = None
    for name, group in groups:
        container = group["template"]["spec"]["containers"][0]
        variables = {row["name"]: row.get("value", "") for row in container.get("env", [])}
        if first is None:
            first = variables
            for mistake in mistakes(variables):
                yield wrong(mistake.key, mistake.words, mistake.remedy)
            if not variables.get("MLFLOW_TRACKING_URI"):
                words = "is empty: the head's disk, and the runs on it, end with the job"
                yield wrong("MLFLOW_TRACKING_URI", words, "give the address of a lasting server")
        elif {k: v for k, v in variables.items() if first.get(k) != v}:
            words = "has other variables than the head"
            yield wrong(name, words, "use one list for all groups, as in the shipped file")


def _cluster(spec: dict[str, Any]) -> Iterator[Finding]:
    cluster = spec["rayClusterSpec"]
    if cluster.get("authOptions", {}).get("mode") != "token":
        words = "token authentication is off: whoever reaches the ports runs programs"
        yield wrong("authOptions.mode", words, "mode: token")
    if cluster["headGroupSpec"].get("rayStartParams", {}).get("num-cpus") != "0":
        words = "the head takes trials, and a search dies with an overloaded head"
        yield wrong("headGroupSpec.rayStartParams", words, 'num-cpus: "0"')
    if not spec.get("shutdownAfterJobFinishes"):
        words = "the machines stay when the search is over"
        yield wrong("shutdownAfterJobFinishes", words, "shutdownAfterJobFinishes: true")
    workers = cluster.get("workerGroupSpecs", [])
    if not workers:
        yield wrong("workerGroupSpecs", "is empty: no trial could run", "add a group")
    for group in workers:
        if group["minReplicas"] > group["maxReplicas"]:
            yield wrong(group["groupName"], "minReplicas is above maxReplicas", "lower it")
        limits = group["template"]["spec"]["containers"][0].get("resources", {}).get("limits", {})
        if "cpu" not in limits or "memory" not in limits:
            words = "has no limits of cpu and memory, from which Ray takes what it has"
            yield wrong(group["groupName"], words, "resources.limits")
    if not cluster.get("enableInTreeAutoscaling"):
        words = "pods run, and cost, whether trials do or not"
        yield warning("enableInTreeAutoscaling", words, "enableInTreeAutoscaling: true")
