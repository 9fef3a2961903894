"""The commands for what was trained: comparing images, measuring, and taking models home."""

import sys
from typing import Annotated

import typer

from ganforge.commands.called import command, module
from ganforge.commands.json_document import document
from ganforge.commands.options import (
    MODEL,
    AsJson,
    Device,
    Half,
    MetricName,
    Model,
    OneGpu,
    Overwrite,
    Stage,
    Tile,
    TrustCode,
    Uri,
)


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
    command = module("compare")
    command.compare(
        command.CompareOptions(
            tuple(sources or ()), output, serve, port, apply, metric, ends, overwrite, tracking_uri
        )
    )


def evaluate(
    benchmark: Annotated[
        list[str] | None, typer.Option(help="folder with HR and LR; repeatable")
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(help="folder of finished images, measured by NIQE; repeatable"),
    ] = None,
    model: Annotated[str | None, typer.Option(help=f"{MODEL}; default: bicubic only")] = None,
    stage: Stage = None,
    tile: Tile = None,
    rgb: Annotated[
        bool, typer.Option("--rgb", help="measure R, G and B; default: the Y channel")
    ] = False,
    lpips: Annotated[
        str | None, typer.Option(help="LPIPS too, over alex, vgg or squeeze; needs [lpips]")
    ] = None,
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
    """Measure a generator on benchmark images, or finished images."""
    command = module("evaluate")
    options = command.EvaluateOptions(
        benchmark or [], images or [], model, stage, tracking_uri, trust_code, tile, rgb, gpu,
        device, half, output, overwrite, lpips,
    )  # fmt: skip
    with document("evaluate", as_json) as made:
        made.result = command.evaluate(options)
        if made.result.failed:
            sys.exit(1)  # what failed is printed already


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
    command = module("upscale")
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
    command = module("export")
    command.export(
        command.ExportOptions(
            model, output, file_format, stage, overwrite, tracking_uri, trust_code, size
        )
    )


def register(
    model: Annotated[str, typer.Option(help="MLflow run")],
    name: Annotated[str | None, typer.Option(help="default: the run's experiment")] = None,
    stage: Stage = None,
    tracking_uri: Uri = None,
    trust_code: TrustCode = False,
) -> None:
    """Register a run's generator as the champion of a name."""
    command("register")(model, name, stage, tracking_uri, trust_code)


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
    command = module("interpolate")
    command.interpolate(
        command.InterpolateOptions(
            model, output, stage, toward, toward_stage, alpha, overwrite, tracking_uri, trust_code
        )
    )


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
    command = module("sample")
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
