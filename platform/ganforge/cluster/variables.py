"""The values a person fills in at the top of a cluster file, as every machine of it knows them."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ganforge.settings import SettingsError

#: Written on each machine by the first setup command, read by its login shells.
FILE = "~/.ganforge.env"
#: Names the built-in photographs where a folder must be named.
BUILT_IN = "built-in"
_LINE = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$")


@dataclass(frozen=True)
class Mistake:
    """A value that cannot be."""

    key: str
    words: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.key}: {self.words}; {self.remedy}"


def read_variables(text: str) -> dict[str, str]:
    """The KEY=VALUE lines of a text; quotes around a value are dropped."""
    found = {}
    for line in text.splitlines():
        if match := _LINE.match(line):
            found[match[1]] = match[2].split(" #")[0].strip().strip("'\"")
    return found


def mistakes(variables: Mapping[str, str], *, required: bool = True) -> list[Mistake]:
    """What is wrong with the values; `required`: those that must be given may not be absent."""
    found = []
    storage, data = variables.get("GANFORGE_STORAGE"), variables.get("GANFORGE_DATA")
    if (storage is None and required) or (storage is not None and not storage.strip()):
        remedy = "give s3://bucket/prefix, or a folder that all machines share"
        found.append(Mistake("GANFORGE_STORAGE", "is empty", remedy))
    elif storage and "://" in storage and not re.match(r"^[a-z0-9]+://[^/?]+", storage):
        found.append(
            Mistake("GANFORGE_STORAGE", f"{storage} names no bucket", "s3://bucket/prefix")
        )
    elif storage and "://" not in storage and not storage.startswith(("/", "~")):
        remedy = "give s3://bucket/prefix, or the full path of a folder that all machines share"
        found.append(Mistake("GANFORGE_STORAGE", f"{storage} is relative", remedy))
    if (data is None and required) or (data is not None and not data.strip()):
        remedy = f"give s3://bucket/images, a folder that each machine has, or {BUILT_IN}"
        found.append(Mistake("GANFORGE_DATA", "is empty", remedy))
    elif data and data != BUILT_IN and "://" not in data and not data.startswith(("/", "~")):
        remedy = f"give s3://bucket/images, a full path, or {BUILT_IN}"
        found.append(Mistake("GANFORGE_DATA", f"{data} is relative", remedy))
    for key in ("GANFORGE_NODES", "GANFORGE_WAIT_SECONDS"):
        value = variables.get(key)
        if value is not None and not (value.isdigit() and int(value) > 0):
            found.append(Mistake(key, f"{value or 'empty'} is no number", "give a whole number"))
    return found


def check_environment() -> None:
    """Refuse variables of this shell that are there and cannot be; SettingsError names each."""
    found = mistakes(os.environ, required=False)
    if found:
        raise SettingsError("\n".join(f"{mistake} (in {FILE})" for mistake in found))


def replace(path: Path, changes: Mapping[str, str]) -> None:
    """Set variables in the file; other lines stay."""
    lines = path.read_text().splitlines()
    kept = [line for line in lines if not ((m := _LINE.match(line)) and m[1] in changes)]
    added = [f"{key}={value}" for key, value in changes.items()]
    path.write_text("\n".join([*kept, *added]) + "\n")
