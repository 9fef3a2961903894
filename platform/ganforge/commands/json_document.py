"""`--json`: the result of a command as one document on standard output, however the command ends.

What the command prints for people goes to the stream of errors meanwhile.
"""

import contextlib
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import PurePath
from typing import Any

from ganforge.console import show_json
from ganforge.errors import GanforgeError

#: raised by one where a field is removed or means something else; new fields leave it
SCHEMA = 1
#: the exit code of Ctrl-C
INTERRUPTED = 130


@dataclass
class Document:
    """What is printed. `result` is a dataclass that each command has for it, None where the command
    ended before there was one; `error` is the text of the error that ended it."""

    command: str
    result: Any = None
    error: str | None = None
    ok: bool = False

    def as_dict(self) -> dict[str, Any]:
        shown = {
            "schema": SCHEMA, "command": self.command, "ok": self.ok, "error": self.error,
            "result": self.result,
        }  # fmt: skip
        return _plain(shown)


#: the commands whose documents this process has printed since `begin_call`
_printed: list[str] = []


def begin_call() -> None:
    """A call of the command line begins: nothing of it is printed yet."""
    _printed.clear()


def never_begun(arguments: Sequence[str], error: str) -> None:
    """Print the document of a command that ended before it began, by options that are refused or by
    Ctrl-C, where its `--json` is asked for."""
    if "--json" in arguments and not _printed:
        show_json(Document(arguments[0], error=error).as_dict(), sys.stdout)


@contextlib.contextmanager
def document(command: str, asked: bool) -> Iterator[Document]:
    """A document to be given its `result` in the block, and printed at its end where it is asked
    for. `ok` says that the exit code is 0."""
    made = Document(command)
    if not asked:
        yield made
        return
    results = sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield made
        made.ok = True
    except SystemExit as stop:
        made.ok = not stop.code
        if stop.code == INTERRUPTED:
            made.error = made.error or "interrupted"
        raise
    except KeyboardInterrupt:
        made.error = "interrupted"
        raise
    except GanforgeError as error:
        made.error = str(error)
        raise
    except Exception as error:
        made.error = (str(error).splitlines() or [type(error).__name__])[0]
        raise
    finally:
        _printed.append(command)
        show_json(made.as_dict(), results)


def _plain(value: Any) -> Any:
    """What JSON has: a number that is none becomes null, a path a text."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value) if isinstance(value, PurePath) else _plain(getattr(value, "item", str)())
