"""Files that hold secrets: only their owner may read them.

The values of a cluster and Ray's token, whose holder can run programs, lie in the home folder. Ray
writes the token so that everybody on the machine can read it.
"""

import logging
import os
import secrets
import stat
from pathlib import Path

from ganforge.cluster.variables import FILE, SECRETS
from ganforge.settings import SettingsError

logger = logging.getLogger("ganforge")
TOKEN = "~/.ray/auth_token"
_OTHERS = 0o077


def token_file() -> Path:
    """Where Ray reads its token: RAY_AUTH_TOKEN_PATH, or ~/.ray/auth_token."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or TOKEN).expanduser()


def protect_secrets() -> None:
    """Close the files of this user that hold secrets; SettingsError where one stays open."""
    for path in (Path(FILE).expanduser(), Path(SECRETS).expanduser(), token_file()):
        protect(path)


def protect(path: Path) -> None:
    """Make a file 0600, with a warning: until now others could read it.

    SettingsError for a file that is not this user's own to close. One that is missing is fine.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_IMODE(mode) & _OTHERS:
        return
    name, had = str(path), f"{stat.S_IMODE(mode):04o}"
    try:
        os.chmod(path, 0o600)
        closed = not path.stat().st_mode & _OTHERS  # a file system without modes keeps its own
    except OSError:
        closed = False
    if not closed:
        raise SettingsError(
            f"{name}: holds secrets and can be read by others on this machine (mode {had}). "
            f"Fix: chmod 600 {name}, as its owner"
        )
    logger.warning(
        "%s could be read by others on this machine (mode %s); it is 0600 now. If others use this "
        "machine, change what stands in it",
        name,
        had,
    )


def make_token() -> None:
    """Make Ray's token where there is none: by itself Ray would, readable by everybody."""
    path = token_file()
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_MODE", "token") != "token":
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise SettingsError(
            f"{path}: Ray's token cannot be written ({error.strerror}). "
            "Fix: make its folder writable, or name a file with RAY_AUTH_TOKEN_PATH"
        ) from None
    with os.fdopen(file, "w") as opened:
        opened.write(secrets.token_hex(32))
