"""Reports for Weights & Biases, on this machine unless WANDB_MODE says otherwise."""

import io
import os
from typing import TYPE_CHECKING

from PIL import Image

from ganforge.events import Event
from ganforge.settings import SettingsError

if TYPE_CHECKING:
    from wandb import Run


class WeightsAndBiases:
    """A run of PROJECT for each run, offline by default: `wandb sync` sends it when wanted. Runs of
    one search form a group. SettingsError where the package is missing."""

    def __init__(self, project: str):
        try:
            import wandb  # noqa: F401
        except ImportError:
            raise SettingsError(
                "listener wandb: the package is missing; pip install 'ganforge[trackers]'"
            ) from None
        self.project = project
        self._runs: dict[str, Run] = {}

    def __call__(self, event: Event) -> None:
        run = self._run(event)
        if event.kind == "report":
            import wandb

            found = dict(event.metrics)
            if event.grid is not None:
                image = Image.open(io.BytesIO(event.grid))
                found["samples/grid"] = wandb.Image(image)  # pyright: ignore[reportArgumentType]
            run.log({"images": event.images, **found})
        elif event.kind == "ended":
            run.summary["outcome"] = event.outcome
            run.finish()
            del self._runs[event.run]

    def _run(self, event: Event) -> "Run":
        import wandb

        if event.run not in self._runs:
            group, _, name = event.run.rpartition("/")
            made = wandb.init(
                project=self.project,
                name=name,
                group=group or None,
                config={**event.settings, "mlflow_run_id": event.run_id},
                mode=None if "WANDB_MODE" in os.environ else "offline",
                # trials run at the same time
                reinit="create_new",
                settings=wandb.Settings(silent=True),
            )
            made.define_metric("*", step_metric="images")
            self._runs[event.run] = made
        return self._runs[event.run]
