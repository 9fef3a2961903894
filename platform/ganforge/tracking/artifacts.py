"""Files of a run, as bytes."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ganforge.tracking.client import open_client
from ganforge.tracking.run_ref import RunRef
from ganforge.training.checkpoint import pack
from ganforge.training.prepare import Prepared

IMAGES = "images.json"
SOURCES = "source"


def log_files(tracking: RunRef, files: Mapping[str, bytes]) -> None:
    """Log files by their path inside the run."""
    client = open_client(tracking.uri)
    with tempfile.TemporaryDirectory() as folder:
        for path, content in files.items():
            place = Path(folder, path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            parent = str(Path(path).parent)
            client.log_artifact(tracking.run_id, str(place), None if parent == "." else parent)


def input_files(prepared: Prepared) -> dict[str, bytes]:
    """What a run needs to be done again elsewhere, and to say what differs there, by path: frozen
    networks under the sha256 by which the settings name them, each image's sha256, and the files
    of a system that is in no installed package."""
    files = {IMAGES: json.dumps(dict(prepared.facts.digests), indent=1).encode()}
    for name, tensors in prepared.assets.items():
        if name != prepared.settings.validation.fid_network:  # a figure's network reaches no weight
            files[asset_path(name)] = pack(tensors)
    for path, text in prepared.sources.items():
        files[f"{SOURCES}/{path}"] = text.encode()
    return files


def log_inputs(tracking: RunRef, prepared: Prepared) -> None:
    """Log these files at once."""
    log_files(tracking, input_files(prepared))


def asset_path(name: str) -> str:
    """Where a frozen network lies in a run; `name` is "sha256:…"."""
    return f"assets/{name.removeprefix('sha256:')}.safetensors"
