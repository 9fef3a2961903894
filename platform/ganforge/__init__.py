"""ganforge tunes, trains, reproduces and proves generative adversarial networks on a Ray cluster.

One loop trains every system (`ganforge.training`), Ray Tune with Optuna searches its settings
(`ganforge.search`), and MLflow keeps the record (`ganforge.tracking`). A stage of training is a
pure function of its parent's weights, its settings, the data, the seed and the code.

    import ganforge

    study = ganforge.tune("photos", system="srgan", preset="quick", trials=8, budget="30m")
    study.best.reproduce()
    large = study.best.model().upscale("photos/1.png")

The names below are the commands `ganforge train`, `tune` and those that use a model, for Python.
Each is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganforge.api.model import TrainedModel, load
    from ganforge.api.run import Run
    from ganforge.api.start import train, tune
    from ganforge.api.study import Study
    from ganforge.errors import GanforgeError, TrainingFailed
    from ganforge.events import Event
    from ganforge.settings import SettingsError

#: the one record of the version: the build reads it here. Installed metadata would be another one
#: on a worker that runs the driver's code next to an older installation.
__version__ = "0.2.0"

__all__ = [
    "Event", "GanforgeError", "Run", "SettingsError", "Study", "TrainedModel", "TrainingFailed",
    "load", "train", "tune",
]  # fmt: skip
_WHERE = {
    "Event": "events",
    "GanforgeError": "errors",
    "Run": "api.run",
    "SettingsError": "settings",
    "Study": "api.study",
    "TrainedModel": "api.model",
    "TrainingFailed": "errors",
    "load": "api.model",
    "train": "api.start",
    "tune": "api.start",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'ganforge' has no attribute '{name}'")
    return getattr(importlib.import_module(f"ganforge.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
