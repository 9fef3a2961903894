"""Names of searches and of runs: they sort by when they were begun, whatever a clock says.

A name holds the time in UTC, so that neither a time zone nor the hour that is repeated in autumn
matters. Where the clock itself was set back, a name is a second later than the newest one there is.
"""

import calendar
import re
import secrets
import time
from collections.abc import Iterable

_NAME = re.compile(r"([0-9]{8})([T-])([0-9]{6})(Z?)-[0-9a-f]{4}")
_FORMAT = "%Y%m%dT%H%M%SZ"


def new_name(existing: Iterable[str], prefix: str = "") -> str:
    """A name that sorts after all of the existing ones with this prefix."""
    last = max((when for name in existing if (when := begun(name, prefix)) is not None), default=0)
    stamp = time.gmtime(max(int(time.time()), last + 1))
    return f"{prefix}{time.strftime(_FORMAT, stamp)}-{secrets.token_hex(2)}"


def newest_first(names: Iterable[str], prefix: str = "") -> list[str]:
    """The names that have this prefix, the newest first; last those that hold no time."""
    found = [(begun(name, prefix) or 0, name) for name in names if name.startswith(prefix)]
    return [name for _, name in sorted(found, reverse=True)]


def begun(name: str, prefix: str = "") -> int | None:
    """When what bears this name was begun, in seconds since 1970; None for another name.

    Until 0.3: names of earlier versions hold local time, of which one hour a year is ambiguous.
    """
    match = _NAME.fullmatch(name.removeprefix(prefix)) if name.startswith(prefix) else None
    if match is None or (match[2] == "T") != bool(match[4]):
        return None
    try:
        fields = time.strptime(match[1] + match[3], "%Y%m%d%H%M%S")
        return calendar.timegm(fields) if match[4] else int(time.mktime(fields))
    except (ValueError, OverflowError):
        return None
