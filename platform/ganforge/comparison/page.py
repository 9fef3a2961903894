"""The page as a folder of static files: it works without a server and without a network."""

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from ganforge.output_files import check_output, make_output_folder, output_file

#: what the page consists of, next to its data and tiles
PARTS = (
    "index.html",
    "icon.svg",
    "compare.css",
    "data.js",
    "state.js",
    "tiles.js",
    "pick.js",
    "sheet.js",
    "views.js",
    "controls.js",
    "input.js",
    "compare.js",
)
DATA = "data.js"


def part(name: str) -> bytes:
    """A file of the page, as it comes with the package."""
    return files("ganforge.comparison").joinpath("static", name).read_bytes()


def as_script(data: dict[str, Any]) -> bytes:
    """The data as a script: a page that was opened as a file may load nothing else. All beyond
    ASCII is escaped, and so are < and >, wherever it may be put."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    text = text.replace("<", "\\u003c").replace(">", "\\u003e")
    return f'"use strict";\nconst COMPARISON = {text};\n'.encode("ascii")


def check_page(folder: Path, *, overwrite: bool) -> None:
    """What `write_page` would refuse now, before anything is fetched for it."""
    above = next((path for path in (folder, *folder.parents) if os.path.exists(path)), folder)
    if not above.is_dir():
        make_output_folder(folder)  # refuses it: this is a file, or lies below one
    if folder.exists():
        for name in PARTS:
            check_output(folder, name, overwrite=overwrite)


def write_page(folder: Path, data: dict[str, Any], *, overwrite: bool) -> Path:
    """Write all but the tiles into a folder; the file to open."""
    for name in PARTS:
        content = as_script(data) if name == DATA else part(name)
        with output_file(folder, name, overwrite=overwrite) as file:
            file.write(content)
    return folder / PARTS[0]
