"""Where this machine keeps what can be made again."""

import os
from pathlib import Path


def cache_directory() -> Path:
    """GANFORGE_CACHE, or the user's cache directory."""
    given = os.environ.get("GANFORGE_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "ganforge"
