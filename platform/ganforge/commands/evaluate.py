"""`ganforge evaluate`: a trained generator on benchmark images, next to bicubic, and NIQE of
finished images."""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ganforge.commands.models import FoundModel, find_model, needs_images
from ganforge.console import Bars, Console, complain, show
from ganforge.inference.benchmark import (
    ImageMetrics,
    benchmark_scale,
    evaluate_benchmark,
    means,
    table,
)
from ganforge.inference.device import find_device
from ganforge.inference.naturalness import (
    ImageNaturalness,
    mean_of,
    measure_folder,
    naturalness_table,
)
from ganforge.metrics.lpips import LPIPS, load_lpips
from ganforge.output_files import check_output, output_file
from ganforge.settings import SettingsError


@dataclass(frozen=True)
class EvaluateOptions:
    """The arguments of `ganforge evaluate`."""

    benchmarks: list[str]
    images: list[str]
    model: str | None = None
    stage: int | None = None
    tracking_uri: str | None = None
    trust_code: bool = False
    tile: int | None = None
    rgb: bool = False
    gpu: bool = False
    device: str | None = None
    half: bool = False
    output: str | None = None
    overwrite: bool = False
    lpips: str | None = None


@dataclass(frozen=True)
class BenchmarkResult:
    """The metrics of one benchmark: of its images, and their means."""

    benchmark: str
    scale: int
    images: tuple[ImageMetrics, ...]
    mean: ImageMetrics


@dataclass(frozen=True)
class FolderResult:
    """NIQE of the finished images of a folder, and their mean."""

    folder: str
    images: tuple[ImageNaturalness, ...]
    mean: ImageNaturalness


@dataclass(frozen=True)
class EvaluateResult:
    """What `ganforge evaluate --json` prints. Without a model the metrics are bicubic's; `failed`
    has a line for each image or folder that could not be measured."""

    model: str | None
    run_id: str | None
    benchmarks: tuple[BenchmarkResult, ...]
    folders: tuple[FolderResult, ...]
    failed: tuple[str, ...]


def evaluate(options: EvaluateOptions) -> EvaluateResult:
    """Print PSNR and SSIM of every image and their means, on the Y channel or on RGB; log those of
    Y to the model's run. Without a model, bicubic only. Of folders of finished images, NIQE.

    An image or a folder that cannot be measured stops no other; what failed is printed at the end,
    and the means of an incomplete benchmark are not logged.
    """
    if not options.benchmarks and not options.images:
        raise SettingsError("give --benchmark DIR, or --images DIR for finished images")
    if not options.benchmarks:
        _check_images_alone(options)
    output = None if options.output is None else _checked_output(options)
    lpips = None if options.lpips is None else load_lpips(options.lpips)
    device = find_device(options.gpu, options.device)
    found = None
    if options.model is not None:
        found = find_model(
            options.model, options.tracking_uri, options.stage, trust_code=options.trust_code
        )
        needs_images(found, "measure on a benchmark")
        if device is not None:
            found.model.network.to(device)
    alone = len(options.benchmarks) + len(options.images) == 1
    made: list[BenchmarkResult] = []
    failed: list[str] = []
    for folder in options.benchmarks:
        try:
            result = _measured(found, folder, options, lpips, failed)
        except SettingsError as error:
            if alone:
                raise  # a single one that is refused as a whole is bad input
            failed.append(str(error))
        else:
            made += [result] if result is not None else []
    folders: list[FolderResult] = []
    for folder in options.images:
        try:
            folders += _finished(folder, failed)
        except SettingsError as error:
            if alone:
                raise
            failed.append(str(error))
    if output is not None:
        with output_file(output.parent, output.name, overwrite=options.overwrite) as file:
            file.write(_csv(made, folders).encode())
        count = sum(len(one.images) for one in (*made, *folders))
        show(f"{output}: the metrics of {count} images")
    for line in failed:
        complain(line)
    run_id = None if found is None else found.run_id
    return EvaluateResult(options.model, run_id, tuple(made), tuple(folders), tuple(failed))


def _check_images_alone(options: EvaluateOptions) -> None:
    """Refuse what has no effect on finished images."""
    for name in ("model", "stage", "tile", "rgb", "gpu", "device", "half", "lpips"):
        value = getattr(options, name)
        if value is not None and value is not False:  # stage 0 is one
            shown = "" if value is True else f" {value}"
            raise SettingsError(
                f"--{name}{shown}: is for --benchmark; --images measures finished images, which "
                "need no model and no originals: leave it out"
            )


def _checked_output(options: EvaluateOptions) -> Path:
    path = Path(options.output or "").expanduser()
    if path.suffix != ".csv":
        raise SettingsError(f"--output {path}: must end in .csv, which is what is written")
    if not path.absolute().parent.is_dir():
        raise SettingsError(f"--output {path}: no such folder: {path.absolute().parent}")
    check_output(path.parent, path.name, overwrite=options.overwrite)
    return path


def _measured(
    found: FoundModel | None,
    folder: str,
    options: EvaluateOptions,
    lpips: LPIPS | None,
    failed: list[str],
) -> BenchmarkResult | None:
    """One benchmark, printed, and logged where it belongs to a run; None where no image of it
    could be measured."""
    scale, before = benchmark_scale(folder), len(failed)
    if found is not None and scale != found.model.scale:
        raise SettingsError(
            f"{folder}: HR is {scale} times LR, and {found.name} enlarges {found.model.scale} "
            f"times; give a benchmark of × {found.model.scale}, or another model"
        )
    network, channels = (None, 3) if found is None else (found.model.network, found.model.channels)
    title = _title(folder)
    with _counting(title) as on_progress:
        rows = evaluate_benchmark(
            network,
            folder,
            scale,
            channels,
            failed,
            tile=options.tile,
            half=options.half,
            rgb=options.rgb,
            lpips=lpips,
            on_progress=on_progress,
        )
    if not rows:
        return None
    shown = title if found is not None else f"{title}, bicubic × {scale}"
    Console().print(table(rows, shown, bicubic_only=found is None))
    result = BenchmarkResult(folder, scale, tuple(rows), means(rows))
    # a run's page has one kind of number: full precision, luma, the last stage
    alike = not (options.rgb or options.half) and len(failed) == before
    if found is None or found.run_id is None or not alike:
        return result
    if found.model.stage == len(found.model.settings.stages) - 1:
        _log(found, result)
    return result


def _finished(folder: str, failed: list[str]) -> list[FolderResult]:
    """NIQE of one folder, printed; none where no image of it could be measured."""
    title = _title(folder)
    with _counting(title) as on_progress:
        rows = measure_folder(folder, failed, on_progress)
    if not rows:
        return []
    Console().print(naturalness_table(rows, title))
    return [FolderResult(folder, tuple(rows), mean_of(rows))]


@contextmanager
def _counting(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar; what is given is called with the images that are done and all of them."""
    with Bars() as progress:
        bar = progress.add_task(title, total=None)

        def counted(done: int, total: int) -> None:
            said = f"{title}, {done}/{total} images"
            progress.update(bar, total=total, completed=done, description=said)

        yield counted


def _title(folder: str) -> str:
    path = Path(folder).expanduser().absolute()
    return f"{path.parent.name} {path.name}"


def _csv(results: Sequence[BenchmarkResult], folders: Sequence[FolderResult]) -> str:
    """A line for each image of each benchmark and folder, and one for the means of each."""
    text = io.StringIO()
    names = ["benchmark", *(field.name for field in fields(ImageMetrics))]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    titled = [(_title(one.benchmark), one) for one in results]
    titled += [(_title(one.folder), one) for one in folders]
    for title, result in titled:
        for row in (*result.images, result.mean):
            writer.writerow({"benchmark": title} | asdict(row))
    return text.getvalue()


def _log(found: FoundModel, result: BenchmarkResult) -> None:
    from ganforge.tracking.registry import log_benchmark

    assert found.run_id is not None and found.uri is not None
    name = re.sub(r"[^\w\-.]+", "_", _title(result.benchmark))
    values = asdict(result.mean)
    metrics = {
        # figures over different networks must not become one
        key.replace("lpips", f"lpips_{values['lpips_network']}"): value
        for key, value in values.items()
        if isinstance(value, float)
    }
    text = io.StringIO()
    writer = csv.DictWriter(
        text, [field.name for field in fields(ImageMetrics)], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(asdict(row) for row in [*result.images, result.mean])
    try:
        log_benchmark(found.uri, found.run_id, name, metrics, text.getvalue())
    except (
        Exception
    ) as error:  # the results are printed already: a store that is down loses no work
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        complain(f"not recorded in run {found.run_id}: {reason[:200]}", "warning")
    else:
        show(f"recorded as benchmark/{name}/… in run {found.run_id}")
