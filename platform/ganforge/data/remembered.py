"""The images behind a data fingerprint, by name: so that it can be named what was added, changed
or removed since a run began."""

import json
import re
from contextlib import suppress
from pathlib import Path

from ganforge.local_files import replacing


def remember(fingerprint: str, digests: dict[str, str], directory: Path) -> None:
    """Keep the sha256 of each image's pixels by name, in the cache `directory`."""
    path = _path(fingerprint, directory)
    if path.exists():
        return
    with suppress(OSError):  # a cache that cannot be written only costs the names
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=False) as file:
            file.write(json.dumps(digests).encode())


def remembered(fingerprint: object, directory: Path) -> dict[str, str]:
    """What was kept of a recorded fingerprint; nothing if it was not on this machine."""
    # it is read from a record, and names a file
    if not isinstance(fingerprint, str) or not re.fullmatch(r"[0-9a-f]{64}", fingerprint):
        return {}
    with suppress(OSError, ValueError):
        found = json.loads(_path(fingerprint, directory).read_bytes())
        if isinstance(found, dict):
            return {str(name): str(digest) for name, digest in found.items()}
    return {}


def _path(fingerprint: str, directory: Path) -> Path:
    return directory / "fingerprints" / f"{fingerprint}.json"
