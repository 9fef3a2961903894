"""The commands for machines, images, the tracking server and the systems themselves."""

import sys
from typing import Annotated

import typer

from ganforge.commands.called import command, module
from ganforge.commands.configure import CliOptions
from ganforge.commands.json_document import document
from ganforge.commands.options import (
    AsJson,
    Preset,
    Storage,
    Strict,
    System,
    Uri,
)


def sync(
    path: Annotated[
        str | None, typer.Argument(help="a storage, a run in it, or an outbox; default: --storage")
    ] = None,
    storage: Storage = "ganforge-runs", tracking_uri: Uri = None,
) -> None:  # fmt: skip
    """Send to MLflow what it did not take while it was unavailable."""
    command("sync")(path or storage, tracking_uri)


def doctor(
    file: Annotated[str | None, typer.Argument(help="cluster file; default: this machine")] = None,
    running: Annotated[
        bool, typer.Option("--running", help="also check the cluster started from the file")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check this machine or a cluster file, and name each fix."""
    command = module("doctor")
    with document("doctor", as_json) as made:
        made.result = command.doctor(file, running)
        sys.exit(0 if command.passed(made.result) else 1)


def scan(
    folders: Annotated[list[str], typer.Argument(help="folder of images", metavar="DIR...")],
    strict: Strict = False,
) -> None:
    """List which images of folders are used, and which are not."""
    command("scan")(folders, strict)


def pack(
    folder: Annotated[str, typer.Argument(help="folder of images", metavar="DIR")],
    out: Annotated[str, typer.Argument(help="new folder, or s3://bucket/prefix", metavar="OUT")],
    shard_megabytes: Annotated[
        int, typer.Option("--shard-mb", help="size of the large files, in MiB", min=1, max=65536)
    ] = 256,
) -> None:
    """Pack very many images into a few large files."""
    command("pack")(folder, out, shard_megabytes)


def settings(
    system: System = None,
    preset: Preset = None,
    as_json: Annotated[bool, typer.Option("--json", help="print a settings.json")] = False,
) -> None:
    """List every setting of a system, with range and meaning."""
    module("show").show_settings(CliOptions(system, preset), as_json)


def systems() -> None:
    """List the systems."""
    module("show").show_systems()
