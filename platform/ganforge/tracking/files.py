"""Files of a run, as bytes."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from ganforge.assets import Assets
from ganforge.tracking.record import Tracking
from ganforge.tracking.store import open_client
from ganforge.training.checkpoint import pack


def log_files(tracking: Tracking, files: Mapping[str, bytes]) -> None:
    """Log files by their path inside the run."""
    client = open_client(tracking.uri)
    with tempfile.TemporaryDirectory() as folder:
        for path, content in files.items():
            place = Path(folder, path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            parent = str(Path(path).parent)
            client.log_artifact(tracking.run_id, str(place), None if parent == "." else parent)


def log_assets(tracking: Tracking, assets: Assets) -> None:
    """Log frozen networks under the sha256 by which the settings name them."""
    paths = {name: f"assets/{name.removeprefix('sha256:')}.safetensors" for name in assets}
    log_files(tracking, {paths[name]: pack(tensors) for name, tensors in assets.items()})
