"""The code of a registered model: levels in, levels out. MLflow runs a copy of this file.

It needs no more of this package than the networks, and a copy of the package lies next to it, so
that the model can be loaded where ganforge is not installed.
"""

from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from ganforge.inference.model import from_folder
from ganforge.inference.requests import Requests, served_bytes
from ganforge.settings import SettingsError

GENERATOR = "generator"


class Generator(PythonModel):
    """uint8 (N, H, W, C) to uint8 (N, s·H, s·W, C), within the memory that a request may take."""

    def load_context(self, context: PythonModelContext) -> None:
        # MLflow runs this file, out of the same model, before it can ask anybody: a system's file
        # in it is no more foreign than this one
        model = from_folder(Path(context.artifacts[GENERATOR]), trust_code=True)
        channels = model.settings.channels
        self.requests = Requests(model.network, channels, model.scale, served_bytes())

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        context: PythonModelContext,
        model_input: np.ndarray,  # MLflow reads this: it warns of a narrower type
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        levels = np.array(model_input, dtype=np.uint8)
        try:
            return self.requests.enlarge(levels)
        except SettingsError as error:  # the server answers 400, with this line
            raise MlflowException.invalid_parameter_value(str(error)) from None


set_model(Generator())
