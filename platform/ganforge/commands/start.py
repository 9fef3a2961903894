"""What train and tune do before anything starts: fix the settings, refuse what cannot work."""

import logging
import os
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganforge.addresses import STORAGE_FIX, TRACKING_FIX, refuse_credentials
from ganforge.commands.configure import (
    CliOptions,
    check_images,
    check_kept,
    check_terms,
    choose_metric,
    configure,
    print_images,
)
from ganforge.console import Bars, complain, show
from ganforge.data.image_progress import image_progress
from ganforge.output_files import make_output_folder, output_file
from ganforge.settings import SettingsError, to_json
from ganforge.systems.catalog import load_system

if TYPE_CHECKING:
    from ganforge.systems.base import Metric
    from ganforge.systems.settings import SystemSettings
    from ganforge.training.prepare import Prepared

logger = logging.getLogger("ganforge")
#: the newest samples of a run, or of a search's best trial, for a first look
_BEST = "best.png"


@dataclass(frozen=True)
class Start:
    """A settled beginning."""

    prepared: "Prepared"
    metric: "Metric"
    images: tuple[str, ...] = ()  # what is said of them before the run


@dataclass(frozen=True)
class Checked:
    """A system's settings, checked as far as they can be before images are read."""

    system: str
    settings: "SystemSettings"
    metric: "Metric"
    images: tuple[str, ...]
    accept: Sequence[str] = ()

    def show(self) -> None:
        """What a dry run prints."""
        print_images(self.images)
        show(*to_json(self.settings).split("\n"))

    def prepare(self) -> Start:
        """Read the images and the files that settings name."""
        from ganforge.training.prepare import prepare

        with images_bar():
            prepared = prepare(self.system, self.settings)
        prepared = replace(prepared, accept_code="code" in self.accept)
        # only now is it known how many steps the stages have: what is wrong with that comes first
        prepared.plan()
        for warning in prepared.warnings:
            complain(warning, "warning")
        return Start(prepared, self.metric, self.images)


def check_start(
    options: CliOptions, metric: str | None, preset: str = "paper", accept: Sequence[str] = ()
) -> Checked:
    """Check everything that can be checked without starting. `accept` names differences in spite
    of which a resumed run continues."""
    check_accept(accept)
    name, settings = configure(options, preset)
    chosen = choose_metric(load_system(name), metric, settings)
    check_terms(load_system(name), settings)
    check_kept(load_system(name), settings)
    return Checked(name, settings, chosen, check_images(name, settings), accept)


@contextmanager
def images_bar() -> Iterator[None]:
    """A bar for what is done with the images inside the block, where it lasts and errors go to a
    terminal."""
    with Bars() as bars:
        shown: dict[str, Any] = {}

        def show_bar(what: str, done: int, total: int) -> None:
            if what not in shown:
                shown[what] = bars.add_task(what, total=total)
            bars.update(shown[what], completed=done, total=total)

        with image_progress(show_bar):
            yield


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


def check_addresses(tracking_uri: str | None, storage: str) -> None:
    """Refuse credentials in addresses before anything is prepared, or printed."""
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    refuse_credentials(
        uri, "--tracking-uri" if tracking_uri else "MLFLOW_TRACKING_URI", TRACKING_FIX
    )
    refuse_credentials(storage, "storage", STORAGE_FIX)


def sync_command(storage: str, uri: str) -> str:
    """What sends the rest of a storage; with the store, which no record may choose."""
    return f"ganforge sync --storage {shlex.quote(storage)} --tracking-uri {shlex.quote(uri)}"


def checked_storage(storage: str) -> str:
    """The storage in full, after something was written, read and deleted there; or it is refused,
    before anything that would have to be ended is opened."""
    if "://" in storage and not storage.startswith("file://"):
        from ganforge.cluster.probe import check_store_answers

        check_store_answers(storage)
        return storage
    folder = Path(storage.removeprefix("file://")).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".probe-") as probe:
            Path(probe, "probe").write_bytes(b"probe")
    except OSError as error:
        raise SettingsError(
            f"storage = {storage}: cannot be a folder to write in ({error.strerror}). "
            "Fix: name another folder"
        ) from None
    return storage if "://" in storage else str(folder)


def local_folder(storage: str) -> Path | None:
    """A storage as a folder of this machine; None where it is an object store."""
    return None if "://" in storage else Path(storage)


def save_best(store: str, uri: str, run_id: str) -> Path | None:
    """Write a run's newest sample grid as best.png into its folder, or into one of that name below
    the working directory where its states are in an object store: the path; None where there is no
    grid, or the tracking store or the disk fails, which the run does not."""
    from ganforge.tracking.grids import newest_grid

    name = store.rstrip("/").rpartition("/")[2]
    folder = local_folder(store) or Path("ganforge-runs", name)
    try:
        content = newest_grid(uri, run_id)
        if content is None:
            return None
        make_output_folder(folder, "storage")
        with output_file(folder, _BEST, overwrite=True) as file:
            file.write(content)
    except Exception as error:
        logger.debug("%s was not written: %s", folder / _BEST, error)
        return None
    return folder / _BEST


def use_line(system: str, run_id: str, uri: str) -> str:
    """What a trained run is good for, as a command."""
    if load_system(system).takes == "image":
        head, command = "evaluate it", f"evaluate --model {run_id} --benchmark DIR"
    else:
        head, command = "sample it", f"sample --model {run_id} --count 16 --grid --output samples"
    return f"{head:<14}ganforge {command} --tracking-uri {shlex.quote(uri)}"
