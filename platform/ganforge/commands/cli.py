"""The command line: options in, exit code out. A command imports its module when it is called, so
that help, `systems` and a misspelt name answer at once."""

import errno
import importlib
import sys
from typing import Annotated, Any

import typer

from ganforge.commands.configure import CliOptions
from ganforge.commands.given_once import App
from ganforge.commands.json_document import INTERRUPTED, begin_call, document, never_begun
from ganforge.commands.options import (
    MODEL,
    Accept,
    AsJson,
    Confirm,
    ConfirmSeeds,
    Data,
    Device,
    DryRun,
    Experiment,
    File,
    From,
    FromPart,
    Gpu,
    Half,
    Listen,
    LowResolution,
    MetricName,
    MetricNames,
    Model,
    Nodes,
    OneGpu,
    Overwrite,
    Preset,
    Resume,
    Rungs,
    RunId,
    Scale,
    Seed,
    Seeds,
    Set,
    Stage,
    Start,
    Storage,
    Strict,
    System,
    Target,
    TensorBoard,
    Tile,
    TrustCode,
    Uri,
    Validation,
    ValidationLowResolution,
    Version,
    Workers,
)
from ganforge.commands.resumed_search import CONFIRM_SEEDS, LimitOptions, Resumable
from ganforge.console import complain, prepare, show
from ganforge.errors import TrainingFailed
from ganforge.local_files import DiskFull, Linked
from ganforge.settings import SettingsError, shown_key

#: what pathlib says of ~name where nobody is called so
_NO_HOME = "Could not determine home directory."
TERMINATED = 143

app = App(
    name="ganforge",
    help="Tune, train and reproduce GANs on a Ray cluster.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def options(version: Version = False) -> None:
    pass


@app.command()
def train(
    system: System = None, preset: Preset = None, data: Data = None, settings: File = None,
    workers: Workers = None, gpu: Gpu = False, metric: MetricName = None,
    experiment: Experiment = "ganforge", tracking_uri: Uri = None,
    storage: Storage = "ganforge-runs", seed: Seed = None, changes: Set = None,
    start: Start = None, target: Target = None, scale: Scale = None,
    begin_with: From = None, begin_part: FromPart = "all", trust_code: TrustCode = False,
    strict: Strict = False, listener: Listen = None, tensorboard: TensorBoard = None,
    resume: Resume = False, accept: Accept = None, dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Train one configuration."""
    from ganforge.commands.results import train_result
    from ganforge.commands.train import TrainOptions
    from ganforge.commands.train import train as run

    with document("train", as_json) as made:
        options = CliOptions(
            system=system, preset=preset, settings_file=settings, data=tuple(data or ()),
            workers=workers, gpu=gpu, seed=seed, start=start, target=target, scale=scale,
            changes=changes or [], strict=strict,
            initial_weights=_initial(begin_with, begin_part, tracking_uri, trust_code),
        )  # fmt: skip
        how = TrainOptions(
            metric=metric, experiment=experiment, tracking_uri=tracking_uri, storage=storage,
            resume=resume, accept=accept or [], dry_run=dry_run,
            listeners=_listeners(listener, tensorboard),
        )  # fmt: skip
        trained = run(options, how)
        made.result = None if trained is None else train_result(trained)


def _listeners(names: list[str] | None, tensorboard: str | None) -> list[str]:
    """What `--listener` and `--tensorboard` name."""
    return [*(names or []), *([f"tensorboard:{tensorboard}"] if tensorboard is not None else [])]


def _initial(
    reference: str | None, part: str, tracking_uri: str | None, trust_code: bool
) -> str | None:
    """The setting that `--from` stands for."""
    if reference is None and part == "all":
        return None
    found = _command("initial_weights")(reference, part, tracking_uri, trust_code=trust_code)
    return str(found)


@app.command(cls=Resumable)
def tune(
    system: System = None, preset: Preset = None, data: Data = None, settings: File = None,
    space: Annotated[str | None, typer.Option(help="search space: a name or a file")] = None,
    strategy: Annotated[
        str,
        typer.Option(help="halving, freeze-thaw, pbt, tpe, nsga2, random, grid or FILE.py:Class"),
    ] = "halving",
    sampler: Annotated[
        str, typer.Option(help="tpe, nsga2, gp, cmaes, random, qmc, or a class of Optuna's kind")
    ] = "tpe",
    population: Annotated[
        int | None, typer.Option(min=2, help="members of strategy pbt; default: 8, or fewer")
    ] = None,
    points: Annotated[
        str | None, typer.Option(help="tried first: a .json, .jsonl or .csv, a run, an experiment")
    ] = None,
    points_by: Annotated[
        str | None,
        typer.Option(help="preference: rank the runs of --points by what people chose in compare"),
    ] = None,
    warm_start: Annotated[
        list[str] | None,
        typer.Option(help="an experiment whose trials guide the search; repeatable"),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="how many configurations are tried; default: 4")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="end after 30m, 8gpu-hours, 200trials, or 20$ (--price); none lifts it"),
    ] = None,
    price: Annotated[float | None, typer.Option(help="money for an hour of one device")] = None,
    patience: Annotated[
        int | None,
        typer.Option(min=0, help="end after that many trials without a better one; 0: never"),
    ] = None,
    trial_limit: Annotated[
        str | None, typer.Option(help="stop a trial that trained for longer: 30m, 2gpu-hours")
    ] = None,
    rungs: Rungs = None, seeds: Seeds = None, confirm: Confirm = None,
    confirm_seeds: ConfirmSeeds = None,
    keep_bytes: Annotated[
        str | None, typer.Option(help="bytes that the ledger of stages may keep: 20G")
    ] = None,
    concurrent: Annotated[int | None, typer.Option(min=1, help="trials at a time")] = None,
    nodes: Nodes = None,
    workers: Workers = None, gpu: Gpu = False, metric: MetricNames = None,
    experiment: Experiment = "ganforge", tracking_uri: Uri = None,
    storage: Storage = "ganforge-runs", seed: Seed = None, changes: Set = None,
    start: Start = None, target: Target = None, scale: Scale = None,
    begin_with: From = None, begin_part: FromPart = "all", trust_code: TrustCode = False,
    register: Annotated[
        str | None, typer.Option(help="name of the best model; default: the experiment")
    ] = None,
    strict: Strict = False, listener: Listen = None, tensorboard: TensorBoard = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="continue the newest search of the experiment, or with --resume SEARCH_ID that "
            "one; what differs from before is changed in it",
        ),
    ] = False,
    search_id: Annotated[str, typer.Option("--search", hidden=True)] = "",
    reason: Annotated[str, typer.Option(help="why a search is changed, for its journal")] = "",
    accept: Accept = None, dry_run: DryRun = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Search a system's settings."""
    from ganforge.commands.results import tune_result
    from ganforge.commands.tune import TuneOptions, exit_code
    from ganforge.commands.tune import tune as search

    with document("tune", as_json) as made:
        settings_options = CliOptions(
            system,
            preset,
            settings,
            tuple(data or ()),
            workers,
            gpu,
            None,
            start,
            target,
            scale,
            changes or [],
            strict,
            _initial(begin_with, begin_part, tracking_uri, trust_code),
            rungs,
        )
        options = TuneOptions(
            space=space,
            strategy=strategy,
            sampler=sampler,
            population=population,
            points=points,
            points_by=points_by,
            warm_start=tuple(warm_start or ()),
            limits=LimitOptions(
                trials, budget, price, patience, trial_limit, confirm, confirm_seeds
            ),
            keep_bytes=keep_bytes,
            concurrent=concurrent,
            nodes=nodes,
            seed=seed or 0,
            seeds=seeds,
            metrics=metric or [],
            experiment=experiment,
            tracking_uri=tracking_uri,
            storage=storage,
            register=register,
            resume=resume,
            search_id=search_id,
            reason=reason,
            accept=accept or [],
            dry_run=dry_run,
            listeners=_listeners(listener, tensorboard),
        )
        searched = search(settings_options, options)
        made.result = None if searched is None else tune_result(searched)
        if searched is not None and searched.result.best is None:
            made.error = "no trial finished a stage"
        sys.exit(exit_code(searched))


@app.command()
def plan(
    system: System = None, preset: Preset = None, data: Data = None, settings: File = None,
    space: Annotated[str | None, typer.Option(help="search space: a name or a file")] = None,
    strategy: Annotated[
        list[str] | None, typer.Option(help="strategies to compare; default: all; repeatable")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="how many configurations are tried")] = 4,
    slots: Annotated[int, typer.Option(min=1, help="trials at a time")] = 1,
    rungs: Rungs = None, seeds: Seeds = None, confirm: Confirm = None,
    confirm_seeds: ConfirmSeeds = None,
    price: Annotated[float | None, typer.Option(help="money for an hour of one device")] = None,
    seconds: Annotated[float, typer.Option(help="how long to measure")] = 60.0,
    workers: Workers = None, gpu: Gpu = False, seed: Seed = None, changes: Set = None,
    start: Start = None, target: Target = None, scale: Scale = None, strict: Strict = False,
) -> None:  # fmt: skip
    """Measure what a search will take."""
    command = _module("plan")
    settings_options = CliOptions(
        system, preset, settings, tuple(data or ()), workers, gpu, None,
        start, target, scale, changes or [], strict, rungs=rungs,
    )  # fmt: skip
    options = command.PlanOptions(
        space=space, strategies=tuple(strategy or ()), trials=trials, slots=slots,
        seeds=seeds or 1, confirm=confirm or 0, confirm_seeds=confirm_seeds or CONFIRM_SEEDS,
        price=price, seconds=seconds, seed=seed or 0,
    )  # fmt: skip
    command.plan(settings_options, options)


@app.command()
def reproduce(
    run: RunId = None,
    experiment: Experiment = "ganforge",
    tracking_uri: Uri = None,
    data: Data = None,
    validation: Validation = None,
    low_resolution: LowResolution = None,
    validation_low_resolution: ValidationLowResolution = None,
    metric: MetricName = None,
    from_stage: Annotated[int | None, typer.Option(min=0, help="begin at a stored state")] = None,
    storage: Annotated[str | None, typer.Option(help="where that state is stored")] = None,
    accept: Accept = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="refuse at once where anything differs")
    ] = False,
    trust_code: TrustCode = False,
    as_json: AsJson = False,
) -> None:
    """Train a recorded run again and compare the two bit for bit."""
    others = {
        "validation.root": validation,
        "data.low_resolution": low_resolution,
        "validation.low_resolution": validation_low_resolution,
    }
    with document("reproduce", as_json) as made:
        made.result = _command("reproduce")(
            run,
            experiment,
            tracking_uri,
            tuple(data or ()),
            others,
            metric,
            from_stage,
            storage,
            accept or [],
            strict,
            trust_code,
        )
        sys.exit(made.result.exit_code)


@app.command()
def compare(
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="experiments, searches or runs; default: ganforge", metavar="NAME..."),
    ] = None,
    output: Annotated[str, typer.Option(help="folder for the page")] = "compare",
    serve: Annotated[
        bool, typer.Option("--serve", help="serve it instead, follow what runs, record choices")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="of --serve; 0: one that is free")
    ] = 0,
    apply: Annotated[
        str | None, typer.Option(help="record the choices.json that was saved from a page")
    ] = None,
    metric: MetricName = None,
    ends: Annotated[
        bool, typer.Option("--ends", help="one grid of each stage, the newest")
    ] = False,
    overwrite: Overwrite = False,
    tracking_uri: Uri = None,
) -> None:
    """Compare the images of many runs on one page."""
    command = _module("compare")
    command.compare(
        command.CompareOptions(
            tuple(sources or ()), output, serve, port, apply, metric, ends, overwrite, tracking_uri
        )
    )


@app.command()
def evaluate(
    benchmark: Annotated[list[str], typer.Option(help="folder with HR and LR; repeatable")],
    model: Annotated[str | None, typer.Option(help=f"{MODEL}; default: bicubic only")] = None,
    stage: Stage = None,
    tile: Tile = None,
    rgb: Annotated[
        bool, typer.Option("--rgb", help="measure R, G and B; default: the Y channel")
    ] = False,
    gpu: OneGpu = False,
    device: Device = None,
    half: Half = False,
    output: Annotated[
        str | None, typer.Option(help="a .csv file for the metrics of all images")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    tracking_uri: Uri = None,
    trust_code: TrustCode = False,
) -> None:
    """Measure a generator, next to bicubic, on benchmark images."""
    command = _module("evaluate")
    options = command.EvaluateOptions(
        benchmark, model, stage, tracking_uri, trust_code, tile, rgb, gpu, device, half, output,
        overwrite,
    )  # fmt: skip
    with document("evaluate", as_json) as made:
        made.result = command.evaluate(options)
        if made.result.failed:
            sys.exit(1)  # what failed is printed already


@app.command()
def upscale(
    images: Annotated[str, typer.Argument(help="an image, or a folder of images")],
    model: Model,
    output: Annotated[str, typer.Option(help="folder for the results")],
    tile: Tile = None,
    batch: Annotated[int, typer.Option(min=1, help="tiles through the network at a time")] = 1,
    outscale: Annotated[
        float | None, typer.Option(help="factor of the result, such as 3.5; default: the model's")
    ] = None,
    width: Annotated[int | None, typer.Option(min=1, help="width of the results")] = None,
    height: Annotated[int | None, typer.Option(min=1, help="height of the results")] = None,
    max_side: Annotated[
        int | None, typer.Option(min=1, help="longest side that a result may have")
    ] = None,
    filter_name: Annotated[
        str, typer.Option("--filter", help="of that resize; such as bicubic, box, nearest")
    ] = "lanczos",
    file_format: Annotated[str, typer.Option("--format", help="png, jpg or webp")] = "png",
    jpeg_quality: Annotated[
        int, typer.Option(min=1, max=100, help="quality of JPEG and WebP")
    ] = 95,
    jpeg_subsampling: Annotated[str, typer.Option(help="4:4:4, 4:2:2 or 4:2:0")] = "4:4:4",
    metadata: Annotated[
        bool, typer.Option("--metadata/--no-metadata", help="keep EXIF and resolution")
    ] = True,
    gpu: OneGpu = False,
    device: Device = None,
    half: Half = False,
    stage: Stage = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="leave finished results as they are")
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    tracking_uri: Uri = None,
    trust_code: TrustCode = False,
) -> None:
    """Put images through a trained generator."""
    command = _module("upscale")
    options = command.UpscaleOptions(
        images, model, output, tile, file_format, gpu, stage, overwrite, tracking_uri, trust_code,
        device=device, half=half, batch=batch,
        size=command.OutputSize(outscale, width, height, max_side, filter_name),
        encoding=command.Encoding(jpeg_quality, jpeg_subsampling),
        metadata=metadata, skip_existing=skip_existing,
    )  # fmt: skip
    with document("upscale", as_json) as made:
        try:
            made.result = command.upscale(options)
        except command.NotAllUpscaled as error:
            made.result = error.args[2]
            sys.exit(1)  # what failed is printed already
        except command.UpscaleInterrupted as error:
            made.result = error.args[0]
            raise


@app.command()
def export(
    model: Model,
    output: Annotated[str, typer.Option(help="the file to write")],
    file_format: Annotated[
        str, typer.Option("--format", help="onnx, torch (.pt2), safetensors or pth")
    ] = "onnx",
    stage: Stage = None,
    size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH: a program for one image of that size")
    ] = None,
    overwrite: Overwrite = False,
    tracking_uri: Uri = None,
    trust_code: TrustCode = False,
) -> None:
    """Write a trained generator as a file for other programs."""
    command = _module("export")
    command.export(
        command.ExportOptions(
            model, output, file_format, stage, overwrite, tracking_uri, trust_code, size
        )
    )


@app.command()
def register(
    model: Annotated[str, typer.Option(help="MLflow run")],
    name: Annotated[str | None, typer.Option(help="default: the run's experiment")] = None,
    stage: Stage = None,
    tracking_uri: Uri = None,
    trust_code: TrustCode = False,
) -> None:
    """Register a run's generator as the champion of a name."""
    _command("register")(model, name, stage, tracking_uri, trust_code)


@app.command()
def interpolate(
    model: Model,
    output: Annotated[str, typer.Option(help="new folder for the interpolated model")],
    stage: Stage = None,
    toward: Annotated[str | None, typer.Option(help="another model; default: the same one")] = None,
    toward_stage: Annotated[int | None, typer.Option(min=0, help="stage of that model")] = None,
    alpha: Annotated[
        float, typer.Option(min=0, max=1, help="0 is the model, 1 the other one")
    ] = 0.8,
    overwrite: Overwrite = False,
    tracking_uri: Uri = None,
    trust_code: TrustCode = False,
) -> None:
    """Interpolate the weights of two models.

    Such as of one trained on pixels and an adversarial one.
    """
    command = _module("interpolate")
    command.interpolate(
        command.InterpolateOptions(
            model, output, stage, toward, toward_stage, alpha, overwrite, tracking_uri, trust_code
        )
    )


@app.command()
def sample(
    model: Annotated[str, typer.Option(help="MLflow run, or a folder with generator.safetensors")],
    count: Annotated[int, typer.Option(min=1, help="number of images")] = 16,
    label: Annotated[
        int | None, typer.Option(help="class of the images; default: all in turn")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="each seed gives other images")] = 0,
    output: Annotated[str, typer.Option(help="folder for the PNG files")] = "samples",
    grid: Annotated[
        bool, typer.Option("--grid", help="also one image that shows all of them")
    ] = False,
    upscale: Annotated[
        list[str] | None,
        typer.Option(help="a model that the images go through next; repeatable, in order"),
    ] = None,
    tile: Tile = None,
    overwrite: Overwrite = False,
    tracking_uri: Uri = None,
    trust_code: TrustCode = False,
) -> None:
    """Make new images with a trained generator."""
    command = _module("sample")
    command.sample(
        command.SampleOptions(
            model,
            count,
            label,
            seed,
            output,
            grid,
            overwrite,
            tracking_uri,
            trust_code,
            tuple(upscale or ()),
            tile,
        )
    )


@app.command()
def sync(
    path: Annotated[
        str | None, typer.Argument(help="a storage, a run in it, or an outbox; default: --storage")
    ] = None,
    storage: Storage = "ganforge-runs", tracking_uri: Uri = None,
) -> None:  # fmt: skip
    """Send to MLflow what it did not take while it was unavailable."""
    _command("sync")(path or storage, tracking_uri)


@app.command()
def doctor(
    file: Annotated[str | None, typer.Argument(help="cluster file; default: this machine")] = None,
    running: Annotated[
        bool, typer.Option("--running", help="also check the cluster started from the file")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check this machine or a cluster file, and name each fix."""
    command = _module("doctor")
    with document("doctor", as_json) as made:
        made.result = command.doctor(file, running)
        sys.exit(0 if command.passed(made.result) else 1)


@app.command()
def scan(
    folders: Annotated[list[str], typer.Argument(help="folder of images", metavar="DIR...")],
    strict: Strict = False,
) -> None:
    """List which images of folders are used, and which are not."""
    _command("scan")(folders, strict)


@app.command()
def pack(
    folder: Annotated[str, typer.Argument(help="folder of images", metavar="DIR")],
    out: Annotated[str, typer.Argument(help="new folder, or s3://bucket/prefix", metavar="OUT")],
    shard_megabytes: Annotated[
        int, typer.Option("--shard-mb", help="size of the large files, in MiB", min=1, max=65536)
    ] = 256,
) -> None:
    """Pack very many images into a few large files."""
    _command("pack")(folder, out, shard_megabytes)


@app.command()
def settings(
    system: System = None,
    preset: Preset = None,
    as_json: Annotated[bool, typer.Option("--json", help="print a settings.json")] = False,
) -> None:
    """List every setting of a system, with range and meaning."""
    _module("show").show_settings(CliOptions(system, preset), as_json)


@app.command()
def systems() -> None:
    """List the systems."""
    _module("show").show_systems()


def _module(name: str) -> Any:
    return importlib.import_module(f"ganforge.commands.{name}")


def _command(name: str) -> Any:
    return getattr(_module(name), name)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; bad input is one clear message and exit code 2."""
    prepare()
    given = list(sys.argv[1:] if arguments is None else arguments)
    begin_call()
    try:
        code = app(given, standalone_mode=False)
    except SettingsError as error:
        complain(str(error))
        sys.exit(2)
    except (DiskFull, Linked, TrainingFailed) as error:
        complain(str(error))
        sys.exit(2 if isinstance(error, Linked) else 1)
    except OSError as error:
        # of a path that no file system takes, wherever one is looked for
        if error.errno != errno.ENAMETOOLONG:
            raise
        complain(
            f"{shown_key(error.filename)}: is too long for a path: a part of one has at most 255 "
            "bytes, the whole 4,095"
        )
        sys.exit(2)
    except RuntimeError as error:
        # of a path that begins with ~name, wherever one is opened
        if str(error) != _NO_HOME:
            raise
        word = next((w for w in given if w.rpartition("=")[2].startswith("~")), "")
        complain(
            f"{shown_key(word) or 'a path that begins with ~'}: its first part must name a user of "
            "this machine; write ./ before it for a folder that is called so"
        )
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except SystemExit as stop:
        if stop.code != TERMINATED:
            raise
        code = TERMINATED
    except Exception as error:
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        where = getattr(getattr(error, "ctx", None), "command_path", "ganforge")
        if not given:
            show(*message().split("\n"))
        else:
            complain(f"{message().rstrip('.')}; see `{where} --help`")
            never_begun(given, message().rstrip("."))
        sys.exit(2)
    if code == INTERRUPTED:
        never_begun(given, "interrupted")
    # typer makes the first one of Ctrl-C
    if code in (INTERRUPTED, TERMINATED) and given[:1] in (["train"], ["tune"]):
        complain("--resume continues from the last stored state", "interrupted")
    sys.exit(code)
