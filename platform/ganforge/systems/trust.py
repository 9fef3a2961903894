"""Code that a record names: it runs only if this machine has trusted it before, by its sha256.

A run, a checkpoint or a folder of weights can name a system in a file, FILE.py:Class, and anyone
who can write to a tracking store or a bucket can write such a record. What the user names on the
command line is trusted when a run is made of it; all other code is refused unless the user says
otherwise.
"""

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ganforge.console import complain
from ganforge.local_files import cache_directory, locked
from ganforge.settings import SettingsError


@dataclass(frozen=True)
class RecordedCode:
    """A system's source as a record holds it.

    `name` is the system, FILE.py:Class; `sources` are the texts of all files that it imports, by
    path below one folder; `origin` says which record of which store it is.
    """

    name: str
    sources: Mapping[str, str]
    origin: str

    @property
    def sha256(self) -> str:
        return sources_sha256(self.sources)

    def described(self) -> str:
        """What would run: class, files, size, sha256, and the record that names it."""
        file, _, attribute = self.name.rpartition(":")
        others = sorted(path for path in self.sources if path != PurePosixPath(file).name)
        size = sum(len(text.encode()) for text in self.sources.values())
        imports = f" with {', '.join(others)}" if others else ""
        return (
            f"class {attribute} in {PurePosixPath(file).name}{imports} ({size} bytes, sha256 "
            f"{self.sha256}), from {without_password(self.origin)}"
        )


class UntrustedCode(SettingsError):
    """Code that a record names and this machine has not trusted."""


def without_password(text: str) -> str:
    """A text without the user and password of a URI in it."""
    return re.sub(r"://[^/@\s]*@", "://", text)


def sources_sha256(sources: Mapping[str, str]) -> str:
    """sha256 over the paths and texts of a system's files: all that importing it can execute."""
    return hashlib.sha256(json.dumps(dict(sources), sort_keys=True).encode()).hexdigest()


def trust_file() -> Path:
    """GANFORGE_TRUST, or a file in the cache directory: one JSON entry a line."""
    given = os.environ.get("GANFORGE_TRUST")
    return Path(given).expanduser() if given else cache_directory() / "trusted_code.jsonl"


def is_trusted(sha256: str) -> bool:
    """Whether this machine has trusted the code; SettingsError if others can write the list."""
    path = trust_file()
    try:
        with path.open("rb") as file:
            _check_owner(path, os.fstat(file.fileno()))
            content = file.read()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unusable(path, error) from None
    return any(_sha256_in(line) == sha256 for line in content.splitlines())


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SettingsError(
            f"{path}: lists the code that may run here, and another user owns it or may write it; "
            "read it, then chown it to yourself and chmod 600 it, or delete it"
        )


def _sha256_in(line: bytes) -> str | None:
    """The sha256 of an entry; None for a line that is damaged."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry.get("sha256") if isinstance(entry, dict) else None


def trust(sha256: str, origin: str) -> None:
    """Let code run on this machine from now on; `origin` says why."""
    if is_trusted(sha256):
        return
    path = trust_file()
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    entry = {"sha256": sha256, "when": when, "from": without_password(origin)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(path, flags, 0o600), "a+b") as file:
                _check_owner(path, os.fstat(file.fileno()))
                os.fchmod(file.fileno(), 0o600)
                size = file.seek(0, os.SEEK_END)
                torn = size and os.pread(file.fileno(), 1, size - 1) != b"\n"
                file.write((b"\n" if torn else b"") + json.dumps(entry).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise _unusable(path, error) from None


def _unusable(path: Path, error: OSError) -> SettingsError:
    return SettingsError(
        f"{path}: the list of trusted code cannot be used ({error.strerror}); make it a file of "
        "yours, or name another one by GANFORGE_TRUST"
    )


def require_trust(code: RecordedCode, trust_code: bool, readable: Path) -> None:
    """Refuse code that this machine has not trusted; with `trust_code` say what runs, and trust it.

    `readable` is the folder where its text can be read.
    """
    if is_trusted(code.sha256):
        return
    if not trust_code:
        raise UntrustedCode(
            f"system = {code.name}: is code that a record names and this machine has not trusted: "
            f"{code.described()}; read it in {readable}, and if it may run here as you, add "
            "--trust-code"
        )
    complain(f"--trust-code: runs {code.described()}", "note")
    trust(code.sha256, code.origin)
