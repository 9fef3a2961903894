"""Files put into a run as its driver would put them."""

import tempfile
from collections.abc import Mapping

from ganforge.tracking.client import open_client
from ganforge.tracking.run_ref import RunRef
from ganforge.tracking.runs import put_file


def log_files(run: RunRef, files: Mapping[str, bytes]) -> None:
    """Log files by their path inside the run."""
    client = open_client(run.uri)
    for path, content in files.items():
        with tempfile.TemporaryFile() as file:
            file.write(content)
            file.flush()
            put_file(client, run.run_id, path, file)
