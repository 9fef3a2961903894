"""Which process drives a run, and whether it is known to be dead."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path

_UNKNOWN, _ENDED = "unknown", "ended"


def identity() -> dict[str, str]:
    """Tags that name this process exactly: process ids and names of machines are used again."""
    return {
        "driver.host": platform.node(),
        "driver.pid": str(os.getpid()),
        "driver.started": _started(os.getpid()) or _UNKNOWN,
        "driver.machine": _text("/etc/machine-id"),
        "driver.boot": _text("/proc/sys/kernel/random/boot_id"),
        "driver.space": _space(),
    }


def is_dead(tags: Mapping[str, str]) -> bool:
    """Whether the driver that a run's tags name is known to be dead.

    Of another machine nothing is known. On this one it is dead if the machine was started anew, if
    no process has its id, or if the one that has it was started at another time. A container sees
    only the processes of its own.
    """
    pid = tags.get("driver.pid", "")
    mine = identity()
    if tags.get("driver.host") != mine["driver.host"] or not pid.isdigit():
        return False
    if _differs(tags, mine, "driver.machine"):
        return False
    if _differs(tags, mine, "driver.boot"):
        # a machine without an id is one of many of this name
        return tags.get("driver.machine") not in (None, _UNKNOWN)
    if _differs(tags, mine, "driver.space"):
        return False
    started = _started(int(pid))
    if started is None:
        return not _exists(int(pid))
    return started == _ENDED or tags.get("driver.started", _UNKNOWN) not in (_UNKNOWN, started)


def _differs(tags: Mapping[str, str], mine: Mapping[str, str], name: str) -> bool:
    return tags.get(name, mine[name]) != mine[name]


def _started(pid: int) -> str | None:
    """When a process was started, in clock ticks since the machine was; None without /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # the name before it, in brackets, may hold anything
    fields = text.rpartition(")")[2].split()
    # a process that has ended but was not waited for does nothing any more
    return _ENDED if fields[0] in "ZX" else fields[19]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return _UNKNOWN


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip() or _UNKNOWN
    except OSError:
        return _UNKNOWN
