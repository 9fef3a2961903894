"""A generator as an MLflow model on a disk: code, weights, and exports for other runtimes."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import Model as Description
from mlflow.models import ModelSignature
from mlflow.pyfunc import save_model
from mlflow.types import Schema, TensorSpec

import ganforge
from ganforge.inference.export import FORMATS, onnx_missing, trace
from ganforge.inference.model import SOURCES, Model
from ganforge.quiet import quiet
from ganforge.systems.catalog import recorded_name, written_sources

GENERATOR = "generator"
EXPORTS = "exports"
#: What the served code imports, next to the copy of this package that it is given.
_NEEDS = ("mlflow", "numpy", "pydantic", "safetensors", "torch")
_EXAMPLE = (2, 12, 16)  # more than one image, unequal sides: nothing is taken for fixed
_CODE = Path(__file__).with_name("served.py")


def write_model(
    folder: Path, model: Model, record: dict[str, Any], weights: bytes, run_id: str, model_id: str
) -> None:
    """Write an MLflow model of the flavour pyfunc: uint8 (N, H, W, C) in and out, any N, H, W.

    `record` and `weights` are the run's settings.json and the stage's safetensors; `model_id`
    is MLflow's logged model. The files of a system that is in no installed package go along.
    """
    channels = model.settings.channels
    parts = folder.with_name(GENERATOR)
    stage = parts / "stages" / str(model.stage)
    stage.mkdir(parents=True)
    for path, text in written_sources(record["system"]).items():
        file = parts / SOURCES / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    record = record | {"system": recorded_name(record["system"])}
    (parts / "settings.json").write_text(json.dumps(record, indent=1))
    (stage / "generator.safetensors").write_bytes(weights)
    levels = TensorSpec(np.dtype(np.uint8), (-1, -1, -1, channels))
    height, width = _EXAMPLE[1:]
    ramp = np.add.outer(np.arange(height) * 16, np.arange(width) * 4).astype(np.uint8)
    example = np.broadcast_to(ramp[None, ..., None], (*_EXAMPLE, channels)).copy()
    with quiet():
        save_model(
            str(folder),
            python_model=str(_CODE),
            artifacts={GENERATOR: str(parts)},
            code_paths=[str(Path(ganforge.__file__).parent)],
            signature=ModelSignature(Schema([levels]), Schema([levels])),
            input_example=example,
            # exact, so that the pixels are those of today; ganforge itself travels as code
            pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in _NEEDS],
            mlflow_model=Description(run_id=run_id, model_id=model_id, model_uuid=model_id),
        )


def write_exports(folder: Path, model: Model) -> tuple[dict[str, float], list[str]]:
    """Write exports/generator.pt2 and .onnx into a model's folder.

    The largest difference of each from torch, by format, and why a format is missing.
    """
    found: dict[str, float] = {}
    notes: list[str] = []
    missing = onnx_missing()
    if missing:
        notes.append(f"no ONNX file: pip install 'ganforge[export]' ({', '.join(missing)})")
    (folder / EXPORTS).mkdir()
    try:
        traced = trace(model.network, model.settings.channels)
    except Exception as error:  # a network that cannot be traced is still of use
        return found, [*notes, f"no torch.export file: {_first(error)}"]
    for name, (suffix, export) in FORMATS.items():
        if name == "onnx" and missing:
            continue
        file = folder / EXPORTS / f"{GENERATOR}.{suffix}"
        try:
            found[name] = export(traced, model.network, model.settings.channels, file).difference
        except Exception as error:  # as above
            notes.append(f"no {suffix} file: {_first(error)}")
    return found, notes


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
