"""The averaged generator of a recorded run."""

import tempfile
from pathlib import Path

from ganforge.settings import SettingsError
from ganforge.tracking.read import fetch_file, fetch_settings, fetch_stages


def fetch_generator(uri: str, run_id: str, stage: int | None = None) -> tuple[dict, int, bytes]:
    """(record of settings.json, stage, safetensors bytes); the last finished stage by default."""
    record = fetch_settings(uri, run_id)
    rows = fetch_stages(uri, run_id)
    if not rows:
        raise SettingsError(f"run {run_id}: no stage is finished, so there is no generator")
    number = rows[-1]["index"] if stage is None else stage
    with tempfile.TemporaryDirectory() as folder:
        path = fetch_file(uri, run_id, f"stages/{number}/generator.safetensors", Path(folder))
        return record, number, path.read_bytes()
