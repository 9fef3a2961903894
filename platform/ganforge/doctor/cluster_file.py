"""A cluster file before it costs anything: what Ray refuses, and what Ray lets pass in silence."""

import io
import logging
import stat
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from ganforge.cluster.variables import mistakes, read_variables
from ganforge.doctor.cluster_commands import commands
from ganforge.doctor.findings import Finding, good, warning, wrong
from ganforge.doctor.rayjob import check_rayjob

# Read in the sources of Ray 2.60's providers; others are carried along and ignored.
_PROVIDER_KEYS = {
    "aws": {
        "type",
        "region",
        "availability_zone",
        "cache_stopped_nodes",
        "use_internal_ips",
        "security_group",
        "cloudwatch",
        "aws_credentials",
        "disable_node_updaters",
    },
    "local": {
        "type",
        "head_ip",
        "worker_ips",
        "external_head_ip",
        "coordinator_address",
        "use_internal_ips",
    },
}
_TOKEN = "~/.ray/auth_token"
_LONG_IDLE_MINUTES = 30


def check_file(path: Path) -> list[Finding]:
    """All that can be said of a cluster file, or of a RayJob, without reaching a machine."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        return [wrong(str(path), f"cannot be read ({error.strerror})", "name a file that there is")]
    except yaml.YAMLError as error:
        words = " ".join(str(error).split())
        return [wrong(str(path), f"is no YAML: {words}", "mend the line that is named")]
    if not isinstance(content, dict):
        return [wrong(str(path), "is no mapping", "begin with the shipped cluster.yaml")]
    if "kind" in content and "apiVersion" in content:
        return check_rayjob(content)
    if not isinstance(content.get("provider"), dict):
        remedy = "begin with the shipped cluster.yaml or cluster.local.yaml"
        return [wrong("provider", "is missing: this is no cluster file", remedy)]
    found = list(_ray(content))
    for check in _CHECKS:
        try:
            found += check(content, path.absolute().parent)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            name = check.__name__.strip("_").replace("_", " ")
            words = f"cannot be understood ({type(error).__name__}: {error})"
            found.append(wrong(name, words, "compare it with the shipped file"))
    return found


def _ray(config: dict[str, Any]) -> Iterator[Finding]:
    """Ray's own validation, which needs no machine."""
    logging.getLogger("ray.autoscaler._private.util").setLevel(logging.ERROR)
    try:
        # Ray changes what it is given, and prints what is said here in one line
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            validate_config(prepare_config(yaml.safe_load(yaml.safe_dump(config))))
    except BaseException as error:  # Ray leaves by SystemExit-like exceptions of its own
        if isinstance(error, KeyboardInterrupt):
            raise
        words = str(error).strip().splitlines() or [type(error).__name__]
        yield wrong("Ray's validation", words[0][:200], "mend the key that is named")
    else:
        yield good("Ray's validation", "passes")


def _provider(config: dict[str, Any], folder: Path) -> Iterator[Finding]:
    provider = config["provider"]
    kind = provider.get("type")
    known = _PROVIDER_KEYS.get(kind)
    if known is None:
        yield warning(
            "provider.type", f"{kind} is not checked here", "aws and local are known to work"
        )
        return
    for key in sorted(set(provider) - known):
        remedy = f"known are {', '.join(sorted(known))}"
        yield wrong(f"provider.{key}", "is no key of Ray's; it would be ignored", remedy)
    if kind == "aws" and not provider.get("region"):
        yield wrong("provider.region", "is empty", "give an AWS region, such as eu-central-1")
    if kind == "local":
        yield from _addresses(provider)


def _addresses(provider: dict[str, Any]) -> Iterator[Finding]:
    head, workers = provider.get("head_ip"), provider.get("worker_ips") or []
    if not head:
        yield wrong("provider.head_ip", "is empty", "give the address of the head")
    if not workers:
        remedy = "the head runs no trial: give the address of at least one worker"
        yield wrong("provider.worker_ips", "is empty", remedy)
    for address in sorted({str(w) for w in workers if workers.count(w) > 1}):
        yield wrong("provider.worker_ips", f"names {address} twice", "name each machine once")
    if head in workers:
        remedy = "the head is no worker: leave it out"
        yield wrong("provider.worker_ips", f"names the head ({head})", remedy)
    for address in [head, *workers]:
        if str(address).startswith("127.") or address == "localhost":
            remedy = "give the address by which the other machines reach it"
            yield wrong("provider", f"{address} is each machine's own", remedy)


def _values(config: dict[str, Any], folder: Path) -> Iterator[Finding]:
    """The values at the top."""
    given = config.get("metadata") or {}
    for key, value in given.items():
        # the addresses are told by their own names
        if key != "environment" and value in ("", None) and key not in ("head_ip", "region"):
            yield wrong(f"metadata.{key}", "is empty", "fill it in, at the top of the file")
    block = given.get("environment")
    if not isinstance(block, str):
        remedy = "keep the block of the shipped file"
        yield wrong("metadata.environment", "is missing", remedy)
        return
    variables = read_variables(block)
    found = mistakes(variables)
    for mistake in found:
        yield wrong(mistake.key, mistake.words, mistake.remedy)
    if not found:
        where = f"{variables['GANFORGE_STORAGE']}, images from {variables['GANFORGE_DATA']}"
        yield good("storage and data", where)
    workers = config["provider"].get("worker_ips")
    expected = variables.get("GANFORGE_NODES", "")
    if workers and expected.isdigit() and int(expected) != len(workers) + 1:
        words = f"{expected} machines are waited for, the file has {len(workers) + 1}"
        yield wrong("GANFORGE_NODES", words, f"set it to {len(workers) + 1}, the head included")
    if variables.get("RAY_AUTH_MODE") != "token":
        words = "token authentication is off: whoever reaches the ports runs programs"
        yield wrong("RAY_AUTH_MODE", words, "RAY_AUTH_MODE=token in metadata.environment")


def _machines(config: dict[str, Any], folder: Path) -> Iterator[Finding]:
    """Counts of machines, and what they cost while nobody uses them."""
    types = config.get("available_node_types") or {}
    most = config.get("max_workers")
    head = config.get("head_node_type")
    for name, kind in types.items():
        subject = f"available_node_types.{name}"
        low, high = kind.get("min_workers", 0), kind.get("max_workers", most)
        if most is not None and high is not None and high > most:
            words = f"max_workers {high} is above the file's max_workers {most}"
            yield wrong(subject, words, "raise the one or lower the other")
        if high is not None and low > high:
            yield wrong(subject, f"min_workers {low} is above max_workers {high}", "lower it")
        if name == head:
            if kind.get("resources", {}).get("CPU") != 0:
                words = "the head takes trials, and a search dies with an overloaded head"
                yield wrong(subject, words, "resources: {CPU: 0, GPU: 0}")
            continue
        if low > 0:
            words = f"{low} machines run, and cost, while no search does"
            yield warning(subject, words, "min_workers: 0")
        market = kind.get("node_config", {}).get("InstanceMarketOptions", {}).get("MarketType")
        if config["provider"].get("type") == "aws" and market != "spot":
            yield warning(subject, "is paid in full", "InstanceMarketOptions: {MarketType: spot}")
    if config["provider"].get("type") != "aws":
        return
    if not types:
        yield wrong("available_node_types", "is missing", "name a head and workers")
    idle = config.get("idle_timeout_minutes")
    if idle is None or idle > _LONG_IDLE_MINUTES:
        words = f"idle machines are kept {idle or 'by Ray’s default'} minutes"
        yield warning("idle_timeout_minutes", words, "10")


def _mounts(config: dict[str, Any], folder: Path) -> Iterator[Finding]:
    """What is copied to the machines; Ray notices a missing one when the head already costs."""
    mounts = config.get("file_mounts") or {}
    for target, source in mounts.items():
        place = Path(source).expanduser()
        place = place if place.is_absolute() else folder / place
        if not place.exists():
            if target == _TOKEN:
                continue  # told by _token
            yield wrong(f"file_mounts {target}", f"{source} does not exist", "name what is there")
    if not any(str(target).endswith("/platform") for target in mounts):
        remedy = "~/ganforge/platform: platform, and what pip needs beside it"
        yield wrong("file_mounts", "the project does not reach the machines", remedy)
    key = (config.get("auth") or {}).get("ssh_private_key")
    if key and not Path(key).expanduser().is_file():
        yield wrong("auth.ssh_private_key", f"{key} does not exist", "name a private key")


def _token(config: dict[str, Any], folder: Path) -> Iterator[Finding]:
    """The file whose holder may run programs on every machine."""
    source = (config.get("file_mounts") or {}).get(_TOKEN)
    make = "ray get-auth-token --generate > /dev/null; chmod 600 ~/.ray/auth_token"
    if source is None:
        yield wrong("token", "does not reach the machines", f"{_TOKEN}: {_TOKEN} in file_mounts")
        return
    file = Path(source).expanduser()
    if not file.is_file() or not file.read_text().strip():
        yield wrong("token", f"{source} does not exist or is empty", make)
        return
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        words = f"{source} is open to others on this machine (mode {mode:04o})"
        yield wrong("token", words, f"chmod 600 {source}")
    else:
        yield good("token", f"{source}, mode {mode:04o}")


_CHECKS: tuple[Callable[[dict[str, Any], Path], Iterator[Finding]], ...] = (
    _provider,
    _values,
    _machines,
    _mounts,
    _token,
    commands,
)
