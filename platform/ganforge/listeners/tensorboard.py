"""Reports as event files for TensorBoard, a folder for each run."""

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ganforge.events import Event
from ganforge.settings import SettingsError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_HYPERPARAMETERS = (bool, str, float, int)


class TensorBoard:
    """Writes FOLDER/RUN/events…: each finite metric under its name over the images shown, the
    sample grids, the settings as text, and of a search the searched ones as hyperparameters.

    SettingsError where the package is missing or the folder cannot be written.
    """

    def __init__(self, folder: str):
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError:
            raise SettingsError(
                "listener tensorboard: the package is missing; pip install 'ganforge[trackers]'"
            ) from None
        self.folder = Path(folder).expanduser()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"listener tensorboard = {folder}: cannot be written ({error.strerror}); give "
                "another folder"
            ) from None
        self._writers: dict[str, SummaryWriter] = {}
        self._last: dict[str, dict[str, float]] = {}

    def __call__(self, event: Event) -> None:
        if event.kind == "ended":
            self._end(event)
        elif event.kind == "started":
            text = "\n".join(f"    {key} = {value}" for key, value in event.settings.items())
            self._writer(event.run).add_text("settings", text, 0)
        else:
            self._report(event)

    def _writer(self, run: str) -> "SummaryWriter":
        from torch.utils.tensorboard import SummaryWriter

        if run not in self._writers:
            self._writers[run] = SummaryWriter(str(self.folder / run))
        return self._writers[run]

    def _report(self, event: Event) -> None:
        writer = self._writer(event.run)
        finite = {name: value for name, value in event.metrics.items() if math.isfinite(value)}
        for name, value in finite.items():
            writer.add_scalar(name, value, event.images)
        self._last.setdefault(event.run, {}).update(finite)
        if event.grid is not None:
            pixels = np.asarray(Image.open(io.BytesIO(event.grid)).convert("RGB"))
            writer.add_image("samples/grid", pixels, event.images, dataformats="HWC")
        writer.flush()

    def _end(self, event: Event) -> None:
        writer, last = self._writer(event.run), self._last.pop(event.run, {})
        if event.searched and last:
            searched = {
                key: value if isinstance(value, _HYPERPARAMETERS) else str(value)
                for key, value in event.searched.items()
            }
            # into the run's own folder: the default is one more run, named after the time
            measured = {f"last/{key}": value for key, value in last.items()}
            writer.add_hparams(searched, measured, run_name=".")
        writer.add_text("outcome", event.outcome, event.images)
        writer.close()
        del self._writers[event.run]
