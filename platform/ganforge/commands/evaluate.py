"""`ganforge evaluate`: a trained generator on benchmark images, beside bicubic."""

import csv
import io
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from rich.console import Console

from ganforge.commands.models import Found, find_model, needs_images
from ganforge.inference.benchmark import Row, benchmark_scale, evaluate_benchmark, means, table


def evaluate(
    model: str | None, benchmarks: list[str], tracking_uri: str | None, stage: int | None
) -> None:
    """Print PSNR and SSIM on the Y channel of every image and their means; log them to the
    model's run. Without a model, bicubic alone."""
    if model is None:
        for folder in benchmarks:
            scale = benchmark_scale(folder)
            rows = evaluate_benchmark(None, folder, scale)
            Console().print(table(rows, f"{_title(folder)}, bicubic × {scale}", alone=True))
        return
    found = find_model(model, tracking_uri, stage)
    needs_images(found, "measure on a benchmark")
    loaded = found.model
    channels = loaded.settings.channels
    for folder in benchmarks:
        rows = evaluate_benchmark(loaded.network, folder, loaded.scale, channels)
        Console().print(table(rows, _title(folder)))
        if found.run_id is not None and loaded.stage == len(loaded.settings.stages) - 1:
            _log(found, folder, rows)


def _title(folder: str) -> str:
    path = Path(folder).expanduser().absolute()
    return f"{path.parent.name} {path.name}"


def _log(found: Found, folder: str, rows: Sequence[Row]) -> None:
    from ganforge.tracking.registry import log_benchmark

    assert found.run_id is not None and found.uri is not None
    name = re.sub(r"[^\w\-.]+", "_", _title(folder))
    mean = means(rows)
    figures = {key: value for key, value in asdict(mean).items() if key != "name"}
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in [*rows, mean])
    try:
        log_benchmark(found.uri, found.run_id, name, figures, text.getvalue())
    except Exception as error:  # the figures are on the screen: a store that is down loses no work
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        print(f"warning: not recorded in run {found.run_id}: {reason[:200]}", file=sys.stderr)
    else:
        print(f"recorded as benchmark/{name}/… in run {found.run_id}")
