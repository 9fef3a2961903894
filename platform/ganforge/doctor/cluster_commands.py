"""The commands of a cluster file: does what they start work, and is it closed to strangers?"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ganforge.doctor.findings import Finding, wrong

_WORKER_PORTS = range(10002, 20000)  # Ray's own, for its workers


def commands(config: dict[str, Any], folder: Path) -> Iterator[Finding]:
    """What the setup and start commands must and must not say."""
    setup = "\n".join(_lines(config, "setup_commands") + _lines(config, "head_setup_commands"))
    head = "\n".join(_lines(config, "head_start_ray_commands"))
    worker = "\n".join(_lines(config, "worker_start_ray_commands"))
    if not re.search(r"pip install", setup):
        remedy = "cd ~/ganforge && python -m pip install -q -c constraints.txt -e '.[aws]'"
        yield wrong("setup_commands", "the project is not installed", remedy)
    if "chmod 600 ~/.ray/auth_token" not in setup:
        words = "the token is left open to other users of the machines"
        yield wrong("setup_commands", words, "chmod 600 ~/.ray/auth_token")
    if "ganforge.cluster.bootstrap --head" not in head:
        words = "no MLflow server is started on the head"
        yield wrong("head_start_ray_commands", words, "python -m ganforge.cluster.bootstrap --head")
    if "--autoscaling-config" not in head:
        words = "the head is not told of the workers"
        remedy = "ray start --head … --autoscaling-config=~/ray_bootstrap_config.yaml"
        yield wrong("head_start_ray_commands", words, remedy)
    if not re.search(r"--num-cpus[= ]0\b", head):
        words = "the head takes trials, and a search dies with an overloaded head"
        yield wrong("head_start_ray_commands", words, "ray start --head … --num-cpus=0")
    if "$RAY_HEAD_IP" not in worker:
        words = "the workers are not told where the head is"
        yield wrong("worker_start_ray_commands", words, "ray start --address=$RAY_HEAD_IP:6379")
    if config["provider"].get("type") == "local" and "RAY_enable_autoscaler_v2=0" not in head:
        words = "not all workers would come up (Ray's second autoscaler and type: local)"
        remedy = "export RAY_enable_autoscaler_v2=0; ray start --head …"
        yield wrong("head_start_ray_commands", words, remedy)
    yield from _ports(head)


def _ports(head: str) -> Iterator[Finding]:
    if re.search(r"--dashboard-host[= ](0\.0\.0\.0|::)", head):
        words = "the dashboard is open to whoever reaches the head"
        yield wrong("dashboard", words, "leave --dashboard-host out; use `ray dashboard FILE`")
    for name in ("dashboard-port", "port"):
        if (found := re.search(rf"--{name}[= ](\d+)", head)) and int(found[1]) in _WORKER_PORTS:
            words = f"--{name}={found[1]} lies among the ports of Ray's workers, 10002 to 19999"
            yield wrong("ports", words, "choose one below 10002")


def _lines(config: dict[str, Any], key: str) -> list[str]:
    return [str(line) for line in config.get(key) or []]
