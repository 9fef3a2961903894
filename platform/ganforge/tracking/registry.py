"""The model registry: a run's generator as a model that is served, exported and found by name."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model as Description
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

import ganforge
from ganforge.inference.export import FORMATS, onnx_missing, trace
from ganforge.model import Model, build
from ganforge.settings import SettingsError
from ganforge.tracking import served
from ganforge.tracking.models import fetch_generator
from ganforge.tracking.read import fetch_stages
from ganforge.tracking.store import open_client
from ganforge.training.lineage import digest

CHAMPION = "champion"
_NEEDS = ("mlflow", "numpy", "pydantic", "safetensors", "torch")
_EXPORTS = "exports"
