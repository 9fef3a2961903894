"""The code fingerprint: the modules that weights depend on, without comments and docstrings."""

import ast
import hashlib
import io
import os
import tokenize
from collections.abc import Iterable
from pathlib import Path

import ganforge

ROOT = Path(ganforge.__file__).parent
#: Where the loop and the data begin; a system's own file is added.
ENTRIES = ("training/loop.py", "training/workers.py", "schedule.py", "data/kinds.py")
_FSTRING_START = getattr(tokenize, "FSTRING_START", None)
_FSTRING_END = getattr(tokenize, "FSTRING_END", None)


def code_fingerprint(system_file: Path, root: Path = ROOT) -> dict[str, str]:
    """sha256 of each file in the import closure of a system, the loop and the data, by name.

    A user's system may import modules that lie beside it: they are part of it.
    """
    root = root.resolve()
    home = system_file.resolve().parent
    found = {
        _name(path, root, home): hashlib.sha256(strip_comments(text).encode()).hexdigest()
        for path, text in _closure([system_file, *(root / entry for entry in ENTRIES)], root)
    }
    return dict(sorted(found.items()))


def user_sources(system_file: Path, root: Path = ROOT) -> dict[str, str]:
    """The text of each file of a user's system, by its path below their common folder; nothing for
    a system of an installed package."""
    root = root.resolve()
    if system_file.resolve().is_relative_to(root):
        return {}
    files = {p: t for p, t in _closure([system_file], root) if not p.is_relative_to(root)}
    top = Path(os.path.commonpath([path.parent for path in files]))
    return {path.relative_to(top).as_posix(): text for path, text in sorted(files.items())}


def _closure(waiting: list[Path], root: Path) -> Iterable[tuple[Path, str]]:
    """The given files and all they import, each with its text."""
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop().resolve()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        with tokenize.open(path) as file:  # in the encoding it declares
            text = file.read()
        yield path, text
        waiting += _imported(ast.parse(text), path, root)


def _name(path: Path, root: Path, home: Path) -> str:
    """Below the package by its path there; "./" begins the name of a file of a user's system."""
    if path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return "./" + Path(os.path.relpath(path, home)).as_posix()


def _imported(tree: ast.Module, path: Path, root: Path) -> Iterable[Path]:
    """The files that a module's imports may mean; those that do not exist are passed over."""
    ours = path.is_relative_to(root)
    for node in ast.walk(tree):
        names: list[str] = []
        above = 0
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = node.level
            module = [node.module] if node.module else []
            names = [*module, *(".".join([*module, alias.name]) for alias in node.names)]
        for name in names:
            parts = name.split(".")
            if above:
                yield from _files(path.parents[above - 1], parts)
            elif parts[0] == "ganforge":
                yield from _files(root, parts[1:])
            elif not ours:
                yield from _files(_top(path), parts)


def _top(path: Path) -> Path:
    """The folder from which a file's own package, or the file itself, is imported."""
    folder = path.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _files(folder: Path, parts: list[str]) -> Iterable[Path]:
    if parts:
        yield folder.joinpath(*parts).with_suffix(".py")
        yield folder.joinpath(*parts) / "__init__.py"


def strip_comments(text: str) -> str:
    """Source without comments, docstrings, blank lines and trailing spaces.

    Works on positions in the text, so that it gives the same on every Python version. Strings over
    several lines keep all that is in them.
    """
    lines = io.StringIO(text).readlines()  # splitlines also splits at form feeds and the like
    cuts: list[tuple[int, int, int, int]] = []
    strings: set[int] = set()  # rows that end inside a string
    opened: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            cuts.append((*token.start, *token.end))
        elif token.type == tokenize.STRING:
            strings.update(range(token.start[0], token.end[0]))
        elif token.type == _FSTRING_START:  # Python 3.12 takes these apart
            opened.append(token.start[0])
        elif token.type == _FSTRING_END:
            strings.update(range(opened.pop(), token.end[0]))
    encoded = [line.encode() for line in lines]
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            cuts.append(_columns(first, encoded))
            strings -= set(range(first.lineno, first.end_lineno or 0))
    for row, column, end_row, end_column in sorted(cuts, reverse=True):
        head, tail = lines[row - 1][:column], lines[end_row - 1][end_column:]
        lines[row - 1 : end_row] = [head + tail] + [""] * (end_row - row)
    kept = []
    for row, line in enumerate(lines, 1):
        line = line.removesuffix("\n")
        if row in strings:
            kept.append(line)
        elif row - 1 in strings or line.strip():
            kept.append(line.rstrip())
    return "\n".join(kept)


def _columns(node: ast.stmt, encoded: list[bytes]) -> tuple[int, int, int, int]:
    # ast counts bytes of UTF-8, tokenize counts characters
    assert node.end_lineno is not None and node.end_col_offset is not None
    start = len(encoded[node.lineno - 1][: node.col_offset].decode())
    end = len(encoded[node.end_lineno - 1][: node.end_col_offset].decode())
    return node.lineno, start, node.end_lineno, end
