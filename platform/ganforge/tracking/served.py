"""The code of a registered model: levels in, levels out. MLflow runs a copy of this file.

It needs no more of this package than the networks, and a copy of the package lies next to it, so
that the model can be loaded where ganforge is not installed.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from ganforge.inference.model import from_folder
from ganforge.inference.tiles import upscale
from ganforge.metrics.image_quality import to_bytes

GENERATOR = "generator"


class Generator(PythonModel):
    """uint8 (N, H, W, C) to uint8 (N, s·H, s·W, C)."""

    def load_context(self, context: PythonModelContext) -> None:
        # MLflow runs this file, out of the same model, before it can ask anybody: a system's file
        # in it is no more foreign than this one
        folder = Path(context.artifacts[GENERATOR])
        self.network = from_folder(folder, trust_code=True).network

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        context: PythonModelContext,
        model_input: np.ndarray,  # MLflow reads this: it warns of a narrower type
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        levels = torch.from_numpy(np.array(model_input, dtype=np.uint8))
        images = levels.permute(0, 3, 1, 2).float() / 127.5 - 1
        made = to_bytes(upscale(self.network, images))
        return made.permute(0, 2, 3, 1).numpy()


set_model(Generator())
