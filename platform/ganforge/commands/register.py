"""`ganforge register`, and the end of a search: a run's generator in the model registry."""

import re
import shlex
import time
from typing import TYPE_CHECKING

from ganforge.console import Console
from ganforge.settings import SettingsError

if TYPE_CHECKING:
    from ganforge.systems.base import Metric
    from ganforge.tracking.registry import Registered


#: what the files of a registered model are called
_EXPORTS = {"onnx": "ONNX", "torch": "torch.export"}


def register(
    run: str,
    name: str | None,
    stage: int | None,
    tracking_uri: str | None,
    trust_code: bool = False,
) -> None:
    """Register the generator of a run and make it the champion of its name."""
    from ganforge.tracking.client import existing_uri
    from ganforge.tracking.queries import fetch_experiment
    from ganforge.tracking.registry import check_model_name, model_name
    from ganforge.tracking.registry import register as enter

    if name is not None:
        check_model_name(name, "--name")
    run_id = run.removeprefix("runs:/")
    if not re.fullmatch("[0-9a-f]{32}", run_id):
        raise SettingsError(f"model = {run}: give the id of an MLflow run (32 digits) or runs:/ID")
    uri = existing_uri(tracking_uri)
    chosen = name or model_name(fetch_experiment(uri, run_id))
    made = enter(uri, run_id, chosen, stage=stage, contest=False, trust_code=trust_code)
    print_registered(Console(), made, uri)


def register_best(console: Console, run_id: str, name: str, metric: "Metric", uri: str) -> None:
    """Register a search's best trial. A search that is over is not lost by what fails here."""
    from ganforge.tracking.registry import model_name
    from ganforge.tracking.registry import register as enter

    began = time.monotonic()
    try:
        with console.status("registering the best trial's model, with ONNX and torch.export files"):
            made = enter(uri, run_id, model_name(name), metric=metric)
    except (Exception, KeyboardInterrupt) as error:
        # an interrupt too: the search is over, and its result is not lost for it
        lines = str(error).strip().splitlines()
        stopped = isinstance(error, KeyboardInterrupt)
        reason = "interrupted" if stopped else (lines or [type(error).__name__])[0][:200]
        again = f"ganforge register --model {run_id} --name {shlex.quote(model_name(name))}"
        _line(console, f"warning       the model was not registered: {reason}")
        _line(console, f"try again     {again} --tracking-uri {shlex.quote(uri)}")
        return
    print_registered(console, made, uri, time.monotonic() - began)


def print_registered(
    console: Console, made: "Registered", uri: str, seconds: float | None = None
) -> None:
    """Under which name the model is found, which files it has, and how it is used."""
    where = shlex.quote(uri)
    took = "" if seconds is None else f", in {seconds:.0f} s"
    _line(console, f"model         {made.uri}, version {made.version} of {made.name}{took}")
    if made.incumbent:
        _line(console, f"champion      stays version {made.incumbent}: it is better by this metric")
    for kind, value in made.differences.items():
        name = _EXPORTS.get(kind, kind)
        _line(console, f"exported      {name}: its output is the network's to {value:.1e}")
    for note in made.notes:
        _line(console, f"              {note}")
    _line(
        console,
        f"use it        ganforge upscale IMAGES --model {shlex.quote(made.uri)} --output DIR "
        f"--tracking-uri {where}",
    )
    _line(
        console,
        f"serve it      MLFLOW_TRACKING_URI={where} mlflow models serve "
        f"--model-uri {shlex.quote(made.uri)} --env-manager local --port 5001",
    )


def _line(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)
