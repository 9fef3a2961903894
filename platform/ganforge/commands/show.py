"""`ganforge settings` and `ganforge systems`."""

import ast
import importlib.util
from pathlib import Path

from ganforge.commands.configure import CliOptions, configure
from ganforge.commands.describe import describe
from ganforge.console import Console, Table, show
from ganforge.settings import to_json
from ganforge.systems.catalog import known_systems


def show_settings(options: CliOptions, as_json: bool) -> None:
    """Every key with its type, range, value and meaning."""
    name, settings = configure(options)
    if as_json:
        show(*to_json(settings).split("\n"))
        return
    table = Table(title=f"settings of {name}, preset {options.preset or 'paper'}")
    columns = ("key", "type", "range", "default", "meaning")
    for column in columns:
        table.add_column(column, no_wrap=column == "key", overflow="fold")
    for row in describe(settings):
        table.add_row(*(row[column] for column in columns))
    console = Console()
    # piped into a file or grep, a row is not broken at 80 columns
    (console if console.is_terminal else Console(width=200)).print(table)


def show_systems() -> None:
    """Names and titles, read from the sources without importing them."""
    table = Table(box=None, show_header=False)
    for name, where in sorted(known_systems().items()):
        table.add_row(name, _title(*where.split(":")))
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)


def _title(module: str, name: str) -> str:
    """The first line of the docstring of a class, or else of its file."""
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        return "(not installed)"
    tree = ast.parse(Path(found.origin).read_text())
    own = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name]
    texts = (ast.get_docstring(node) for node in (*own, tree))
    text = next((text for text in texts if text), "")
    return text.splitlines()[0] if text else ""
