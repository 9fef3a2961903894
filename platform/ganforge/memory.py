"""How much memory this machine or container has."""

import os
from pathlib import Path


def machine_bytes() -> int:
    """Memory as a whole, used or not: the machine's, or the limit of a container."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return min(found, int(text)) if text.isdigit() else found
