"""The options that several commands share."""

import os
from typing import Annotated

import typer

from ganforge.console import show


def _version(asked: bool) -> None:
    if asked:
        from ganforge import __version__

        show(f"ganforge {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_version, is_eager=True, help="show the version and exit"),
]
System = Annotated[str | None, typer.Argument(help="system; default: progressive_gan_sr")]
Preset = Annotated[str | None, typer.Option(help="named settings, such as quick or described")]


def _folders(given: list[str] | None) -> list[str]:
    """Those given, or the one of GANFORGE_DATA, whose name may have spaces: a list that is read
    from the environment would be divided at them."""
    named = os.environ.get("GANFORGE_DATA")
    return given or ([named] if named else [])


Data = Annotated[
    list[str] | None,
    typer.Option(
        callback=_folders,
        help="folder of images; repeatable; default: GANFORGE_DATA, or built-in photographs",
    ),
]
Validation = Annotated[
    str | None, typer.Option(help="folder of the validation images, where the run had its own")
]
LowResolution = Annotated[
    str | None, typer.Option(help="folder of the run's low-resolution images, where it had some")
]
ValidationLowResolution = Annotated[
    str | None, typer.Option(help="folder of those of the validation images")
]
File = Annotated[str | None, typer.Option("--settings", help="a settings.json")]
Workers = Annotated[int | None, typer.Option(help="training processes of a run")]
Gpu = Annotated[bool, typer.Option("--gpu", envvar="GANFORGE_GPU", help="one GPU for each worker")]
OneGpu = Annotated[bool, typer.Option("--gpu", help="use the GPU of this machine")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps; default: cpu")]
Half = Annotated[
    bool, typer.Option("--half", help="half precision: faster, other last bits (see the docs)")
]
Tile = Annotated[int | None, typer.Option(min=16, help="side of tiles in source pixels")]
AsJson = Annotated[
    bool, typer.Option("--json", help="print the result as JSON, and all text to stderr")
]
MetricName = Annotated[
    str | None, typer.Option("--metric", help="metric that runs are compared by")
]
MetricNames = Annotated[
    list[str] | None,
    typer.Option("--metric", help="metric that trials are compared by; repeatable: several"),
]
Experiment = Annotated[str, typer.Option(help="MLflow experiment")]
Uri = Annotated[
    str | None, typer.Option(help="MLflow store; default: MLFLOW_TRACKING_URI, or sqlite here")
]
Storage = Annotated[
    str, typer.Option(envvar="GANFORGE_STORAGE", help="checkpoints: a folder or s3://bucket/prefix")
]
Nodes = Annotated[
    int | None,
    typer.Option(min=1, envvar="GANFORGE_NODES", help="machines to wait for, the head included"),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="weights to begin with: a run, models:/NAME@champion, a stored state, a folder, or a "
        ".safetensors or .pth file",
    ),
]
FromPart = Annotated[
    str, typer.Option("--from-part", help="of a stored state: all networks, or the generator")
]
Rungs = Annotated[
    int | None,
    typer.Option(min=1, help="in how many parts of a stage trials are compared; default: 1"),
]
Seeds = Annotated[
    int | None, typer.Option(min=1, help="seeds of each configuration, compared by the mean")
]
Confirm = Annotated[
    int | None, typer.Option(min=0, help="train that many of the best again at the end")
]
ConfirmSeeds = Annotated[
    int | None, typer.Option(min=1, help="with how many further seeds each; default: 2")
]
Seed = Annotated[int | None, typer.Option(help="seed of the training, or of the search for tune")]
Set = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, any setting; repeatable")]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="refuse images that are converted, skipped or copies of others"),
]
Start = Annotated[int | None, typer.Option(help="source side of the first stage")]
Target = Annotated[int | None, typer.Option(help="target side of the last stage")]
Scale = Annotated[int | None, typer.Option(help="super-resolution factor, 2 or 4")]
Accept = Annotated[list[str] | None, typer.Option(help="continue although this differs: code")]
Resume = Annotated[
    bool, typer.Option("--resume", help="continue the newest such run from its last stored state")
]
Listen = Annotated[
    list[str] | None,
    typer.Option(
        "--listener",
        help="gets each report, too: tensorboard:FOLDER, wandb:PROJECT or FILE.py:NAME; repeatable",
    ),
]
TensorBoard = Annotated[
    str | None, typer.Option("--tensorboard", help="a folder: short for --listener tensorboard:…")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print the resolved settings and stop")]
MODEL = (
    "MLflow run, models:/NAME@champion, checkpoint, a folder with generator.safetensors, or a "
    ".pth or .safetensors file of another trainer"
)
Model = Annotated[str, typer.Option(help=MODEL)]
Stage = Annotated[int | None, typer.Option(min=0, help="use an earlier stage; default: the last")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace existing files")]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="run the Python file of a record, after reading it")
]
RunId = Annotated[str | None, typer.Option("--run", help="MLflow run")]
