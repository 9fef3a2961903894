"""Addresses of stores and servers: what stands in them is recorded and printed, so no credentials.

A user name and password in front of the host (http://user:password@host), or a password, key or
token in the query (?token=…), would reach tags, journals, outboxes and logs. They are refused where
a person gives them, and taken out where an older record has them.
"""

import re
from urllib.parse import unquote

from ganforge.settings import SettingsError

#: not only at the beginning: what stands before it, such as a space, does not hide it
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
#: databases whose users have no password in the address, such as postgresql://me@host/runs
_DATABASES = ("postgresql", "mysql", "mssql")
#: as SQLAlchemy reads it: up to the first @, also through a slash
_DATABASE_PASSWORD = re.compile(r"[^:/?#@]*:[^@]*@")
_WEB = ("http", "https")
#: names in a query whose values are secrets, and some that only name a file or hold no secret
_SECRET = re.compile(r"pass|pwd|token|secret|key|credential|signature|^sig$|odbc_connect")
_NO_SECRETS = ("sslkey", "ssl_key", "passfile")
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
    uri = uri[:start] + uri[end:]
    query = _query(uri)
    head, parts = uri[:query], re.split(r"([?&;#])", uri[query:])
    # a part of the query and the sign before it, in turn
    kept = [
        parts[i] + parts[i + 1] for i in range(1, len(parts), 2) if not _is_secret(parts[i + 1])
    ]
    if len(kept) == len(parts) // 2:
        return uri
    rest = "".join(kept)
    return head + (rest if rest[:1] in ("", "#") else "?" + rest[1:])


def refuse_credentials(uri: str, name: str, fix: str) -> None:
    """SettingsError, which does not repeat them, for an address with credentials in it."""
    clean = without_credentials(uri)
    if clean != uri:
        raise SettingsError(
            f"{name} = {clean.strip()}: must not hold a user name and password, nor a key or token "
            f"in its query, because addresses are recorded and printed. {fix}"
        )


def _credentials(uri: str) -> tuple[int, int]:
    """Where the credentials before the host begin and end, the @ included; equal where there are
    none."""
    scheme = _SCHEME.search(uri)
    if scheme is None:
        return 0, 0
    name, start = scheme[1].lower(), scheme.end()
    if name.startswith("databricks"):  # databricks://PROFILE, and nothing after it
        colon = uri.find(":", start)
        return (start, start) if colon < 0 else (colon, len(uri))
    if name.startswith(_DATABASES):
        found = _DATABASE_PASSWORD.match(uri, start)
        return start, found.end() if found else start
    # a password that was not quoted may itself hold a slash: of a server's address all up to the
    # last @ counts, while the name of an object in a bucket may hold one
    ended = None if name in _WEB else re.compile(r"[/?#]").search(uri, start)
    end = uri.rfind("@", start, ended.start() if ended else len(uri)) + 1
    return start, end or start


def _query(uri: str) -> int:
    """Where the query of an address begins; its end where it has none, as a local path."""
    scheme = _SCHEME.search(uri)
    found = re.compile(r"[?#]").search(uri, scheme.end()) if scheme else None
    return found.start() if found else len(uri)


def _is_secret(part: str) -> bool:
    name = unquote(part.partition("=")[0]).strip().lower()
    return name not in _NO_SECRETS and _SECRET.search(name) is not None
