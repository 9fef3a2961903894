"""The one place where text reaches a terminal.

Names of files, experiments and runs are written by others. Here they lose what would steer a
terminal (control characters, changes of direction) and are never read as markup; a name with a line
break in it stays on its line. Everything that is printed goes through this file: a test looks.
"""

import io
import json
import logging
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from rich.console import Console as RichConsole
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable
from rich.text import Text

__all__ = [
    "Bars", "Console", "Live", "Table", "Text", "complain", "literal", "plain", "prepare", "show",
    "show_json",
]  # fmt: skip


def plain(text: str) -> str:
    """The text with every character that prints nothing, or steers a terminal, written out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _written_out(c) for c in text)


def _written_out(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def show(*lines: str, errors: bool = False) -> None:
    """Print each text as one line, to the stream of results or of `errors`."""
    for line in lines:
        print(plain(line), file=sys.stderr if errors else sys.stdout)


def complain(message: str, kind: str = "error") -> None:
    """Print a message after its kind (error, warning, note), to the stream of errors. Each further
    line is indented, so that nothing in a message looks like another one."""
    first, *rest = message.split("\n")
    print(f"{kind}: {plain(first)}", file=sys.stderr)
    for line in rest:
        print(f"  {plain(line)}", file=sys.stderr)


def show_json(document: Mapping[str, Any], file: TextIO) -> None:
    """Print a document of plain values as JSON. Every character beyond ASCII is escaped, so that no
    name in it steers a terminal, and a name that is no UTF-8 stays itself."""
    text = json.dumps(document, indent=2, allow_nan=False).replace("\x7f", "\\u007f")
    print(text, file=file, flush=True)


class Console(RichConsole):
    """A console that prints texts as they are: one line each, not broken, without markup. In a
    notebook too it prints to the stream, and not each line as an output of its own."""

    def __init__(self, **options: Any):
        off = ("markup", "emoji", "highlight", "force_jupyter")
        plainly: dict[str, Any] = dict.fromkeys(off, False)
        super().__init__(**plainly | options)

    def print(self, *objects: Any, **options: Any) -> None:
        texts = [Text(plain(found)) if isinstance(found, str) else found for found in objects]
        plainly: dict[str, Any] = {"soft_wrap": any(isinstance(found, str) for found in objects)}
        super().print(*texts, **plainly | options)


class Table(RichTable):
    """A table whose title and cells are texts as they are; a cell may have several lines."""

    def __init__(self, *headers: str, title: str | None = None, **options: Any):
        super().__init__(*headers, title=None if title is None else Text(plain(title)), **options)

    def add_column(self, header: Any = "", *arguments: Any, **options: Any) -> None:
        super().add_column(_cell(header), *arguments, **options)

    def add_row(self, *cells: Any, **options: Any) -> None:
        super().add_row(*map(_cell, cells), **options)


def in_notebook() -> bool:
    """Whether what is printed goes to a cell of a notebook."""
    return type(sys.stdout).__module__ == "ipykernel.iostream"


class CellTable:
    """A table in a cell of a notebook that each `show` replaces: one output, without widgets."""

    def __init__(self) -> None:
        self._shown: Any = None

    def show(self, table: Table) -> None:
        from IPython.display import HTML, display

        console = RichConsole(record=True, file=io.StringIO(), width=120, force_jupyter=False)
        console.print(table)
        text = HTML(console.export_html(inline_styles=True, code_format="<pre>{code}</pre>"))
        if self._shown is None:
            self._shown = display(text, display_id=True)
        else:
            self._shown.update(text)


def duration(seconds: float) -> str:
    """A time as h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def literal(text: str) -> Text:
    """A text of one or several lines as it is, for a title, a cell or a caption of a table."""
    return Text("\n".join(map(plain, text.split("\n"))))


def _cell(value: Any) -> Any:
    return literal(value) if isinstance(value, str) else value


class Bars(Progress):
    """Bars on the stream of errors, where that is a terminal. The time that remains is that of all
    work done so far: a single image may take minutes."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            speed_estimate_period=3600,
            redirect_stdout=False,  # results stay results where that is a file
            # a notebook asks for colours, and would show each state of a bar below the last one
            disable=not (console.is_terminal and sys.stderr.isatty()),
        )

    def add_task(self, description: str, *arguments: Any, **options: Any) -> Any:
        return super().add_task(plain(description), *arguments, **options)

    def update(self, task_id: Any, *, description: str | None = None, **options: Any) -> None:
        shown = None if description is None else plain(description)
        super().update(task_id, description=shown, **options)


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(plain, super().format(record).split("\n")))


def prepare() -> None:
    """Once in a process: what a terminal's encoding lacks is written out, warnings of libraries
    are printed as they are."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
