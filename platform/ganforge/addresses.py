"""Addresses of stores and servers: what stands in them is recorded and printed, so no credentials.

A user name and password in front of the host (http://user:password@host) would reach tags,
journals, outboxes and logs. They are refused where a person gives them, and taken out where an
older record has them.
"""

import re

from ganforge.settings import SettingsError

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
#: databases whose users have no password in the address, such as postgresql://me@host/runs
_DATABASES = ("postgresql", "mysql", "mssql")
_WEB = ("http", "https")
TRACKING_FIX = (
    "Fix: leave them out, and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
    "MLFLOW_TRACKING_TOKEN, in the environment"
)
STORAGE_FIX = (
    "Fix: leave them out, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
)


def without_credentials(uri: str) -> str:
    """The address as it may be recorded and printed."""
    start, end = _credentials(uri)
    return uri[:start] + uri[end:]


def refuse_credentials(uri: str, name: str, fix: str) -> None:
    """SettingsError, which does not repeat them, for an address with credentials in it."""
    start, end = _credentials(uri)
    if end > start:
        raise SettingsError(
            f"{name} = {without_credentials(uri)}: must not hold a user name and password, because "
            f"addresses are recorded and printed. {fix}"
        )


def _credentials(uri: str) -> tuple[int, int]:
    """Where the credentials begin and end, the @ included; equal where there are none."""
    scheme = _SCHEME.match(uri)
    if scheme is None:
        return 0, 0
    name, start = scheme[1].lower(), scheme.end()
    # a password that was not quoted may itself hold a slash: of a server's address all up to the
    # last @ counts, while the name of an object in a bucket may hold one
    ended = None if name in _WEB else re.compile(r"[/?#]").search(uri, start)
    end = uri.rfind("@", start, ended.start() if ended else len(uri)) + 1
    if not end or (name.startswith(_DATABASES) and ":" not in uri[start:end]):
        return start, start
    return start, end
