"""What train and tune do before anything starts: fix the settings, refuse what cannot work."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganforge.commands.configure import (
    CliOptions,
    check_images,
    check_terms,
    choose_metric,
    configure,
)
from ganforge.console import complain, show
from ganforge.settings import SettingsError, to_json
from ganforge.systems.catalog import load_system

if TYPE_CHECKING:
    from ganforge.systems.base import Metric
    from ganforge.training.prepare import Prepared


@dataclass(frozen=True)
class Start:
    """A settled beginning."""

    prepared: "Prepared"
    metric: "Metric"


def prepare_start(
    options: CliOptions,
    metric: str | None,
    dry_run: bool,
    preset: str = "paper",
    examine: Callable[[str, Any], None] | None = None,
    accept: Sequence[str] = (),
) -> Start | None:
    """Check everything that can be checked without starting; None after a dry run. `examine` looks
    at the system's name and the settings before anything is prepared or printed. `accept` names
    differences in spite of which a resumed run continues."""
    check_accept(accept)
    name, settings = configure(options, preset)
    chosen = choose_metric(load_system(name), metric, settings)
    check_terms(load_system(name), settings)
    check_images(name, settings)
    if examine is not None:
        examine(name, settings)
    if dry_run:
        show(*to_json(settings).split("\n"))
        return None
    from ganforge.training.prepare import prepare

    prepared = replace(prepare(name, settings), accept_code="code" in accept)
    for warning in prepared.warnings:
        complain(warning, "warning")
    return Start(prepared, chosen)


def check_accept(accept: Sequence[str]) -> None:
    """Only code can be accepted: other settings or images are another run."""
    for name in accept:
        if name != "code":
            raise SettingsError(f"--accept {name}: only `code` can be accepted")


#: where `mlflow ui` listens when nothing else is said
_UI_ADDRESS = "http://127.0.0.1:5000"
_HOME = "?workflowType=machine_learning"


def ui_lines(uri: str, page: str = "") -> list[str]:
    """How to look at the records: a command where no server runs, and the address to open."""
    if uri.startswith("http"):
        return [f"open {uri.rstrip('/')}/{page or _HOME}"]
    command = f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
    return [command, f"then open {_UI_ADDRESS}/{page or _HOME}"]


def grids_line(uri: str, run_id: str) -> str:
    """The command that fetches the sample grids of a run."""
    command = f"mlflow artifacts download --run-id {run_id} --artifact-path grids --dst-path ."
    return f"MLFLOW_TRACKING_URI={shlex.quote(uri)} {command}"


def checked_storage(storage: str) -> str:
    """The storage in full; a local one is made, or refused."""
    if "://" in storage:
        return storage
    folder = Path(storage).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"storage = {storage}: cannot be a folder ({error.strerror}); name another folder"
        ) from None
    return str(folder)


def local_folder(storage: str) -> Path | None:
    """A storage as a folder of this machine; None where it is an object store."""
    return None if "://" in storage else Path(storage)
