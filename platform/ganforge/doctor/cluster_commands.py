"""The commands of a cluster file: do they start a working cluster that only its owner can use?"""

import re
from collections.abc import Iterator
from pathlib import Path

from ganforge.doctor.findings import Config, Finding

_WORKER_PORTS = range(10002, 20000)  # Ray's own, for its workers


def commands(config: Config, folder: Path) -> Iterator[Finding]:
    """What the setup and start commands must and must not contain."""
    setup = "\n".join(_lines(config, "setup_commands") + _lines(config, "head_setup_commands"))
    head = "\n".join(_lines(config, "head_start_ray_commands"))
    worker = "\n".join(_lines(config, "worker_start_ray_commands"))
    if not re.search(r"pip install", setup):
        fix = "cd ~/ganforge && python -m pip install -q -c constraints.txt -e '.[aws]'"
        yield Finding.error("setup_commands", "the project is not installed", fix)
    if "chmod 600 ~/.ray/auth_token" not in setup:
        message = "the token is left open to other users of the machines"
        yield Finding.error("setup_commands", message, "chmod 600 ~/.ray/auth_token")
    if "ganforge.cluster.bootstrap --head" not in head:
        message = "no MLflow server is started on the head"
        yield Finding.error(
            "head_start_ray_commands", message, "python -m ganforge.cluster.bootstrap --head"
        )
    if "--autoscaling-config" not in head:
        message = "the head does not know of the workers"
        fix = "ray start --head … --autoscaling-config=~/ray_bootstrap_config.yaml"
        yield Finding.error("head_start_ray_commands", message, fix)
    if not re.search(r"--num-cpus[= ]0\b", head):
        message = "the head takes trials, and a search dies with an overloaded head"
        yield Finding.error("head_start_ray_commands", message, "ray start --head … --num-cpus=0")
    if "$RAY_HEAD_IP" not in worker:
        message = "the workers do not know the head's address"
        yield Finding.error(
            "worker_start_ray_commands", message, "ray start --address=$RAY_HEAD_IP:6379"
        )
    if config["provider"].get("type") == "local" and "RAY_enable_autoscaler_v2=0" not in head:
        message = "not all workers would come up (Ray's second autoscaler and type: local)"
        fix = "export RAY_enable_autoscaler_v2=0; ray start --head …"
        yield Finding.error("head_start_ray_commands", message, fix)
    yield from _ports(head)


def _ports(head: str) -> Iterator[Finding]:
    if re.search(r"--dashboard-host[= ](0\.0\.0\.0|::)", head):
        message = "the dashboard is open to anyone who reaches the head"
        yield Finding.error(
            "dashboard", message, "leave --dashboard-host out; use `ray dashboard FILE`"
        )
    for name in ("dashboard-port", "port"):
        if (found := re.search(rf"--{name}[= ](\d+)", head)) and int(found[1]) in _WORKER_PORTS:
            message = f"--{name}={found[1]} is one of the ports of Ray's workers, 10002 to 19999"
            yield Finding.error("ports", message, "choose one below 10002")


def _lines(config: Config, key: str) -> list[str]:
    return [str(line) for line in config.get(key) or []]
