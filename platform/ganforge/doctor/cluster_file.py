"""A cluster file before it costs anything: what Ray refuses, and what Ray ignores silently."""

import io
import logging
import stat
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from ganforge.cluster.variables import SECRETS, mistakes, read_variables, secret_names
from ganforge.doctor.cluster_commands import commands
from ganforge.doctor.findings import Config, Finding, findings_of
from ganforge.doctor.rayjob import check_rayjob

# Read in the sources of Ray 2.60's providers; any other key is ignored.
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
    """Check a cluster file, or a RayJob, without reaching its machines."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        return [
            Finding.error(
                str(path),
                f"cannot be read ({error.strerror})",
                "give the path of a file that exists",
            )
        ]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        message = " ".join(str(error).split())
        return [Finding.error(str(path), f"is not YAML: {message}", "fix the line that is named")]
    if not isinstance(content, dict):
        return [Finding.error(str(path), "is not a mapping", "start from the shipped cluster.yaml")]
    if "kind" in content and "apiVersion" in content:
        return check_rayjob(content, path)
    if not isinstance(content.get("provider"), dict):
        fix = "start from the shipped cluster.yaml or cluster.local.yaml"
        return [Finding.error("provider", "is missing: this is not a cluster file", fix)]
    found = list(_ray(content))
    for check in _CHECKS:
        name = check.__name__.strip("_")
        found += findings_of(name, partial(check, content, path.absolute().parent))
    return found


def _ray(config: Config) -> Iterator[Finding]:
    """Ray's own validation, which needs no machine."""
    logging.getLogger("ray.autoscaler._private.util").setLevel(logging.ERROR)
    try:
        # Ray changes its argument, and prints what the finding says in one line
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            validate_config(prepare_config(yaml.safe_load(yaml.safe_dump(config))))
    except BaseException as error:  # Ray leaves by SystemExit-like exceptions of its own
        if isinstance(error, KeyboardInterrupt):
            raise
        message = str(error).strip().splitlines() or [type(error).__name__]
        yield Finding.error("Ray's validation", message[0][:200], "fix the key that is named")
    else:
        yield Finding.ok("Ray's validation", "passes")


def _provider(config: Config, folder: Path) -> Iterator[Finding]:
    provider = config["provider"]
    kind = provider.get("type")
    known = _PROVIDER_KEYS.get(kind)
    if known is None:
        yield Finding.warning(
            "provider.type", f"{kind} is not checked here", "aws and local are known to work"
        )
        return
    for key in sorted(set(provider) - known):
        fix = f"known are {', '.join(sorted(known))}"
        yield Finding.error(f"provider.{key}", "is not a key of Ray's; it would be ignored", fix)
    if kind == "aws" and not provider.get("region"):
        yield Finding.error(
            "provider.region", "is empty", "give an AWS region, such as eu-central-1"
        )
    if kind == "local":
        yield from _addresses(provider)


def _addresses(provider: Config) -> Iterator[Finding]:
    head, workers = provider.get("head_ip"), provider.get("worker_ips") or []
    if not head:
        yield Finding.error("provider.head_ip", "is empty", "give the address of the head")
    if not workers:
        fix = "the head runs no trials: give the address of at least one worker"
        yield Finding.error("provider.worker_ips", "is empty", fix)
    for address in sorted({str(w) for w in workers if workers.count(w) > 1}):
        yield Finding.error(
            "provider.worker_ips", f"names {address} twice", "name each machine once"
        )
    if head in workers:
        fix = "the head is not a worker: leave it out"
        yield Finding.error("provider.worker_ips", f"names the head ({head})", fix)
    for address in [head, *workers]:
        if str(address).startswith("127.") or address == "localhost":
            fix = "give the address by which the other machines reach it"
            yield Finding.error("provider", f"{address} is each machine's own", fix)


def _values(config: Config, folder: Path) -> Iterator[Finding]:
    """The values at the top."""
    given = config.get("metadata") or {}
    for key, value in given.items():
        # addresses are checked under provider
        if key != "environment" and value in ("", None) and key not in ("head_ip", "region"):
            yield Finding.error(f"metadata.{key}", "is empty", "fill it in, at the top of the file")
    block = given.get("environment")
    if not isinstance(block, str):
        fix = "keep the block of the shipped file"
        yield Finding.error("metadata.environment", "is missing", fix)
        return
    variables = read_variables(block)
    found = mistakes(variables)
    for mistake in found:
        yield Finding.error(mistake.key, mistake.message, mistake.fix)
    if not found:
        where = f"{variables['GANFORGE_STORAGE']}, images from {variables['GANFORGE_DATA']}"
        yield Finding.ok("storage and data", where)
    for name in secret_names(variables):
        message = "is printed by `ray up`, and stays in the logs of the head"
        fix = f"put it into {SECRETS}, mode 0600, and name that in file_mounts (docs/cluster.md)"
        yield Finding.error(name, message, fix)
    workers = config["provider"].get("worker_ips")
    expected = variables.get("GANFORGE_NODES", "")
    if workers and expected.isdigit() and int(expected) != len(workers) + 1:
        message = f"{expected} machines are expected, the file has {len(workers) + 1}"
        yield Finding.error(
            "GANFORGE_NODES", message, f"set it to {len(workers) + 1}, the head included"
        )
    if variables.get("RAY_AUTH_MODE") != "token":
        message = "token authentication is off: anyone who reaches the ports can run programs"
        yield Finding.error("RAY_AUTH_MODE", message, "RAY_AUTH_MODE=token in metadata.environment")


def _machines(config: Config, folder: Path) -> Iterator[Finding]:
    """Numbers of machines, and what they cost while no search runs."""
    types = config.get("available_node_types") or {}
    most = config.get("max_workers")
    head = config.get("head_node_type")
    for name, kind in types.items():
        subject = f"available_node_types.{name}"
        low, high = kind.get("min_workers", 0), kind.get("max_workers", most)
        if most is not None and high is not None and high > most:
            message = f"max_workers {high} is above the file's max_workers {most}"
            yield Finding.error(subject, message, "raise the one or lower the other")
        if high is not None and low > high:
            yield Finding.error(
                subject, f"min_workers {low} is above max_workers {high}", "lower it"
            )
        if name == head:
            if kind.get("resources", {}).get("CPU") != 0:
                message = "the head takes trials, and a search dies with an overloaded head"
                yield Finding.error(subject, message, "resources: {CPU: 0, GPU: 0}")
            continue
        if low > 0:
            message = f"{low} machines run, and cost, while no search does"
            yield Finding.warning(subject, message, "min_workers: 0")
        market = kind.get("node_config", {}).get("InstanceMarketOptions", {}).get("MarketType")
        if config["provider"].get("type") == "aws" and market != "spot":
            yield Finding.warning(
                subject, "is bought at the full price", "InstanceMarketOptions: {MarketType: spot}"
            )
    if config["provider"].get("type") != "aws":
        return
    if not types:
        yield Finding.error("available_node_types", "is missing", "name a head and workers")
    idle = config.get("idle_timeout_minutes")
    if idle is None or idle > _LONG_IDLE_MINUTES:
        message = f"idle machines are kept {idle or 'by Ray’s default'} minutes"
        yield Finding.warning("idle_timeout_minutes", message, "10")


def _mounts(config: Config, folder: Path) -> Iterator[Finding]:
    """What is copied to the machines; Ray notices a missing file when the head already runs."""
    mounts = config.get("file_mounts") or {}
    for target, source in mounts.items():
        path = folder / Path(source).expanduser()
        if not path.exists():
            if target == _TOKEN:
                continue  # reported by _token
            yield Finding.error(
                f"file_mounts {target}", f"{source} does not exist", "give a path that exists"
            )
    if not any(str(target).endswith("/platform") for target in mounts):
        fix = "~/ganforge/platform: platform, and the other files that pip needs"
        yield Finding.error("file_mounts", "the project does not reach the machines", fix)
    key = (config.get("auth") or {}).get("ssh_private_key")
    if key and not Path(key).expanduser().is_file():
        yield Finding.error(
            "auth.ssh_private_key", f"{key} does not exist", "give the path of a private key"
        )


def _token(config: Config, folder: Path) -> Iterator[Finding]:
    """The file whose holder can run programs on every machine."""
    source = (config.get("file_mounts") or {}).get(_TOKEN)
    make = "ray get-auth-token --generate > /dev/null; chmod 600 ~/.ray/auth_token"
    if source is None:
        yield Finding.error(
            "token", "does not reach the machines", f"{_TOKEN}: {_TOKEN} in file_mounts"
        )
        return
    file = Path(source).expanduser()
    if not file.is_file() or not file.read_text().strip():
        yield Finding.error("token", f"{source} does not exist or is empty", make)
        return
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        message = f"{source} is open to others on this machine (mode {mode:04o})"
        yield Finding.error("token", message, f"chmod 600 {source}")
    else:
        yield Finding.ok("token", f"{source}, mode {mode:04o}")


_CHECKS: tuple[Callable[[Config, Path], Iterator[Finding]], ...] = (
    _provider,
    _values,
    _machines,
    _mounts,
    _token,
    commands,
)
