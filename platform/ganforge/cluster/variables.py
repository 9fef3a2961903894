"""The values a person fills in at the top of a cluster file, as every machine of it knows them."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ganforge.addresses import without_credentials
from ganforge.local_files import replacing
from ganforge.settings import SettingsError

#: Written on each machine by the first setup command, read by its login shells.
FILE = "~/.ganforge.env"
#: Credentials: copied from the machine that starts the cluster, where it is not printed.
SECRETS = "~/.ganforge.secrets"
#: Stands for the built-in photographs where a folder is expected.
BUILT_IN = "built-in"
_READ = "GANFORGE_READ_MACHINE_FILE"
_FROM_MACHINE = ("AWS_", "MLFLOW_TRACKING_", "MLFLOW_S3_")
_SECRET = re.compile(r"SECRET|PASSWORD|TOKEN$|ACCESS_KEY|SESSION_TOKEN")
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
    for key in ("GANFORGE_STORAGE", "GANFORGE_DATA", "MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL"):
        value = variables.get(key, "")
        if without_credentials(value) != value:
            message = "holds a password, key or token, and addresses are recorded and printed"
            fix = "leave them out; docs/cluster.md says where they go"
            found.append(Mistake(key, message, fix))
    for key in ("GANFORGE_NODES", "GANFORGE_WAIT_SECONDS", "GANFORGE_GROW_SECONDS"):
        value = variables.get(key)
        if value is not None and not (value.isdigit() and int(value) > 0):
            found.append(Mistake(key, f"{value or 'empty'} is not a number", "give a whole number"))
    return found


def secret_names(variables: Mapping[str, str]) -> list[str]:
    """The variables whose values are secrets, by their names; empty ones do not count."""
    return sorted(name for name, value in variables.items() if value and _SECRET.search(name))


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
    # whole or not at all, and never open to others
    with replacing(path) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(("\n".join([*kept, *added]) + "\n").encode())


def from_machine_file() -> dict[str, str]:
    """The variable by which the processes of a cluster know that they read their machine's file."""
    return {_READ: "1"}


def read_machine_file() -> None:
    """On a machine of a cluster: what its file has and the environment lacks, such as credentials.

    They travel in no message: Ray writes the values it is given into a log.
    """
    if not os.environ.get(_READ):
        return
    for file in (SECRETS, FILE):
        try:
            text = Path(file).expanduser().read_text()
        except OSError:
            continue
        for name, value in read_variables(text).items():
            if name.startswith(_FROM_MACHINE):
                os.environ.setdefault(name, value)
