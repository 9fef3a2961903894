"""The values a person fills in at the top of a cluster file, as every machine of it knows them."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ganforge.settings import SettingsError

#: Written on each machine by the first setup command, read by its login shells.
FILE = "~/.ganforge.env"
#: Stands for the built-in photographs where a folder is expected.
BUILT_IN = "built-in"
_LINE = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$")


@dataclass(frozen=True)
class Mistake:
    """A variable's value that is not accepted, and how to fix it."""

    key: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}; {self.fix}"


def read_variables(text: str) -> dict[str, str]:
    """The KEY=VALUE lines of a text; quotes around a value are dropped."""
    found = {}
    for line in text.splitlines():
        if match := _LINE.match(line):
            found[match[1]] = match[2].split(" #")[0].strip().strip("'\"")
    return found


def mistakes(variables: Mapping[str, str], *, required: bool = True) -> list[Mistake]:
    """The values that are not accepted; `required`: storage and data must be given."""
    found = []
    storage, data = variables.get("GANFORGE_STORAGE"), variables.get("GANFORGE_DATA")
    if (storage is None and required) or (storage is not None and not storage.strip()):
        fix = "give s3://bucket/prefix, or a folder that all machines share"
        found.append(Mistake("GANFORGE_STORAGE", "is empty", fix))
    elif storage and "://" in storage and not re.match(r"^[a-z0-9]+://[^/?]+", storage):
        found.append(
            Mistake("GANFORGE_STORAGE", f"{storage} names no bucket", "s3://bucket/prefix")
        )
    elif storage and "://" not in storage and not storage.startswith(("/", "~")):
        fix = "give s3://bucket/prefix, or the full path of a folder that all machines share"
        found.append(Mistake("GANFORGE_STORAGE", f"{storage} is relative", fix))
    if (data is None and required) or (data is not None and not data.strip()):
        fix = f"give s3://bucket/images, a folder that each machine has, or {BUILT_IN}"
        found.append(Mistake("GANFORGE_DATA", "is empty", fix))
    elif data and data != BUILT_IN and "://" not in data and not data.startswith(("/", "~")):
        fix = f"give s3://bucket/images, a full path, or {BUILT_IN}"
        found.append(Mistake("GANFORGE_DATA", f"{data} is relative", fix))
    for key in ("GANFORGE_NODES", "GANFORGE_WAIT_SECONDS"):
        value = variables.get(key)
        if value is not None and not (value.isdigit() and int(value) > 0):
            found.append(Mistake(key, f"{value or 'empty'} is not a number", "give a whole number"))
    return found


def check_environment() -> None:
    """SettingsError for the variables of this shell whose values are not accepted, naming each."""
    found = mistakes(os.environ, required=False)
    if found:
        raise SettingsError("\n".join(f"{mistake} (in {FILE})" for mistake in found))


def replace(path: Path, changes: Mapping[str, str]) -> None:
    """Set variables in the file; other lines stay."""
    lines = path.read_text().splitlines()
    kept = [line for line in lines if not ((m := _LINE.match(line)) and m[1] in changes)]
    added = [f"{key}={value}" for key, value in changes.items()]
    path.write_text("\n".join([*kept, *added]) + "\n")
