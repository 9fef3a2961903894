"""The command line: options in, exit code out. A command imports its module when it is called, so
that help, `systems` and a misspelt name answer at once."""

import errno
import sys

import typer

from ganforge.commands import model_commands, other_commands, training_commands
from ganforge.commands.given_once import App
from ganforge.commands.json_document import INTERRUPTED, begin_call, never_begun
from ganforge.commands.options import Version
from ganforge.commands.resumed_search import Resumable
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


# in the order of the help
app.command()(training_commands.train)
app.command(cls=Resumable)(training_commands.tune)
app.command()(training_commands.plan)
app.command()(training_commands.reproduce)
app.command()(model_commands.compare)
app.command()(model_commands.evaluate)
app.command()(model_commands.upscale)
app.command()(model_commands.export)
app.command()(model_commands.register)
app.command()(model_commands.interpolate)
app.command()(model_commands.sample)
app.command()(other_commands.sync)
app.command()(other_commands.doctor)
app.command()(other_commands.scan)
app.command()(other_commands.pack)
app.command()(other_commands.settings)
app.command()(other_commands.systems)


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
