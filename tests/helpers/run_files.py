"""Files put into a run as its driver would put them."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from ganforge.tracking.client import open_client
from ganforge.tracking.run_ref import RunRef
from ganforge.tracking.runs import put_file


def log_files(run: RunRef, files: Mapping[str, bytes]) -> None:
    """Log files by their path inside the run."""
    client = open_client(run.uri)
    with tempfile.TemporaryDirectory() as folder:
        for path, content in files.items():
            file = Path(folder, "content")
            file.write_bytes(content)
            put_file(client, run.run_id, path, file)
