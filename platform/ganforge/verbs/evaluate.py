"""`ganforge evaluate`: a trained generator on benchmark pictures."""

from pathlib import Path

from rich.console import Console

from ganforge.inference import evaluate_benchmark, table
from ganforge.model import Model, build, from_folder


def evaluate(model: str, benchmarks: list[str], tracking_uri: str | None) -> None:
    """Print PSNR and SSIM on the Y channel of every picture, beside bicubic, and their means."""
    loaded = open_model(model, tracking_uri)
    for folder in benchmarks:
        rows = evaluate_benchmark(loaded.network, folder, loaded.scale)
        Console().print(table(rows, f"{Path(folder).parent.name} {Path(folder).name}"))


def open_model(model: str, tracking_uri: str | None) -> Model:
    """A model from a path, or else from the run of that id."""
    if Path(model).exists():
        return from_folder(Path(model))
    from ganforge.tracking.models import fetch_generator
    from ganforge.tracking.store import resolve_uri

    return build(*fetch_generator(resolve_uri(tracking_uri), model))
