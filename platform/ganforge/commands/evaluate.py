"""`ganforge evaluate`: a trained generator on benchmark images, next to bicubic."""

import csv
import io
import re
import sys
from collections.abc import Callable, Sequence
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
from ganforge.settings import SettingsError


@dataclass(frozen=True)
class EvaluateOptions:
    """The arguments of `ganforge evaluate`."""

    benchmarks: list[str]
    model: str | None = None
    stage: int | None = None
    tracking_uri: str | None = None
    trust_code: bool = False


def evaluate(options: EvaluateOptions) -> None:
    """Print PSNR and SSIM on the Y channel of every image and their means; log them to the
    model's run. Without a model, bicubic only.

    An image or a folder that cannot be measured stops no other; what failed is printed at the end,
    with exit code 1, and the means of an incomplete benchmark are not logged.
    """
    if options.model is None:
        _each(options.benchmarks, _bicubic)
        return
    found = find_model(
        options.model, options.tracking_uri, options.stage, trust_code=options.trust_code
    )
    needs_images(found, "measure on a benchmark")
    _each(options.benchmarks, lambda folder, failed: _measured(found, folder, failed))


def _each(folders: Sequence[str], measure: Callable[[str, list[str]], None]) -> None:
    """Measure all benchmarks; a single one that is refused as a whole is bad input."""
    failed: list[str] = []
    for folder in folders:
        try:
            measure(folder, failed)
        except SettingsError as error:
            if len(folders) == 1:
                raise
            failed.append(str(error))
    for line in failed:
        complain(line)
    if failed:
        sys.exit(1)


def _bicubic(folder: str, failed: list[str]) -> None:
    scale = benchmark_scale(folder)
    rows = evaluate_benchmark(None, folder, scale, failed=failed)
    _show(rows, f"{_title(folder)}, bicubic × {scale}", bicubic_only=True)


def _measured(found: FoundModel, folder: str, failed: list[str]) -> None:
    loaded, before = found.model, len(failed)
    scale = benchmark_scale(folder)
    if scale != loaded.scale:
        raise SettingsError(
            f"{folder}: HR is {scale} times LR, and {found.name} enlarges {loaded.scale} times; "
            f"give a benchmark of × {loaded.scale}, or another model"
        )
    channels = loaded.channels
    rows = evaluate_benchmark(loaded.network, folder, scale, channels, failed)
    _show(rows, _title(folder))
    complete = rows and len(failed) == before
    if complete and found.run_id is not None and loaded.stage == len(loaded.settings.stages) - 1:
        _log(found, folder, rows)


def _show(rows: Sequence[ImageMetrics], title: str, *, bicubic_only: bool = False) -> None:
    if rows:
        Console().print(table(rows, title, bicubic_only=bicubic_only))


def _title(folder: str) -> str:
    path = Path(folder).expanduser().absolute()
    return f"{path.parent.name} {path.name}"


def _log(found: FoundModel, folder: str, rows: Sequence[ImageMetrics]) -> None:
    from ganforge.tracking.registry import log_benchmark

    assert found.run_id is not None and found.uri is not None
    name = re.sub(r"[^\w\-.]+", "_", _title(folder))
    mean = means(rows)
    metrics = {key: value for key, value in asdict(mean).items() if isinstance(value, float)}
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
