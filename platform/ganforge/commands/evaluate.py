"""`ganforge evaluate`: a trained generator on benchmark images, next to bicubic."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ganforge.commands.models import FoundModel, find_model, needs_images
from ganforge.console import Console, complain, show
from ganforge.inference.benchmark import (
    ImageMetrics,
    benchmark_scale,
    evaluate_benchmark,
    means,
    table,
)


@dataclass(frozen=True)
class EvaluateOptions:
    """The arguments of `ganforge evaluate`."""

    benchmarks: list[str]
    model: str | None = None
    stage: int | None = None
    tracking_uri: str | None = None


def evaluate(options: EvaluateOptions) -> None:
    """Print PSNR and SSIM on the Y channel of every image and their means; log them to the
    model's run. Without a model, bicubic only."""
    if options.model is None:
        for folder in options.benchmarks:
            scale = benchmark_scale(folder)
            rows = evaluate_benchmark(None, folder, scale)
            Console().print(table(rows, f"{_title(folder)}, bicubic × {scale}", bicubic_only=True))
        return
    found = find_model(options.model, options.tracking_uri, options.stage)
    needs_images(found, "measure on a benchmark")
    loaded = found.model
    channels = loaded.settings.channels
    for folder in options.benchmarks:
        rows = evaluate_benchmark(loaded.network, folder, loaded.scale, channels)
        Console().print(table(rows, _title(folder)))
        if found.run_id is not None and loaded.stage == len(loaded.settings.stages) - 1:
            _log(found, folder, rows)


def _title(folder: str) -> str:
    path = Path(folder).expanduser().absolute()
    return f"{path.parent.name} {path.name}"


def _log(found: FoundModel, folder: str, rows: Sequence[ImageMetrics]) -> None:
    from ganforge.tracking.registry import log_benchmark

    assert found.run_id is not None and found.uri is not None
    name = re.sub(r"[^\w\-.]+", "_", _title(folder))
    mean = means(rows)
    metrics = {key: value for key, value in asdict(mean).items() if key != "name"}
    text = io.StringIO()
    writer = csv.DictWriter(
        text, [field.name for field in fields(ImageMetrics)], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(asdict(row) for row in [*rows, mean])
    try:
        log_benchmark(found.uri, found.run_id, name, metrics, text.getvalue())
    except (
        Exception
    ) as error:  # the results are printed already: a store that is down loses no work
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        complain(f"not recorded in run {found.run_id}: {reason[:200]}", "warning")
    else:
        show(f"recorded as benchmark/{name}/… in run {found.run_id}")
