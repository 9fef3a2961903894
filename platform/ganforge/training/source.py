"""The code fingerprint: the modules a stage's weights depend on, without comments and docstrings."""

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable
from pathlib import Path

import ganforge

ROOT = Path(ganforge.__file__).parent
#: Where the loop and the data begin; a system's own file is added.
ENTRIES = ("training/loop.py", "training/workers.py", "schedule.py", "data/stream.py")


def code_fingerprint(system_file: Path, root: Path = ROOT) -> dict[str, str]:
    """sha256 of each file in the import closure of a system, the loop and the data, by name."""
    waiting = [system_file, *(root / entry for entry in ENTRIES)]
    found: dict[Path, str] = {}
    while waiting:
        path = waiting.pop().resolve()
        if path in found or not path.is_file():
            continue
        text = path.read_text()
        found[path] = hashlib.sha256(bare(text).encode()).hexdigest()
        waiting += _imported(ast.parse(text), root)
    return dict(sorted((_name(path, root), value) for path, value in found.items()))


def _name(path: Path, root: Path) -> str:
    root = root.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _imported(tree: ast.Module, root: Path) -> Iterable[Path]:
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            first, *rest = name.split(".")
            if first == "ganforge" and rest:
                yield root.joinpath(*rest).with_suffix(".py")
                yield root.joinpath(*rest) / "__init__.py"


def bare(text: str) -> str:
    """Source without comments, docstrings, blank lines and trailing spaces.

    Works on positions in the text, so that it gives the same on every Python version.
    """
    lines = text.splitlines(keepends=True)
    cuts: list[tuple[int, int, int, int]] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            cuts.append((*token.start, *token.end))
    encoded = [line.encode() for line in lines]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                if isinstance(first.value.value, str):
                    cuts.append(_columns(first, encoded))
    for row, column, end_row, end_column in sorted(cuts, reverse=True):
        head, tail = lines[row - 1][:column], lines[end_row - 1][end_column:]
        lines[row - 1 : end_row] = [head + tail] + [""] * (end_row - row)
    kept = (line.rstrip() for line in "\n".join(s.rstrip("\n") for s in lines).split("\n"))
    return "\n".join(line for line in kept if line)


def _columns(node: ast.Expr, encoded: list[bytes]) -> tuple[int, int, int, int]:
    # ast counts bytes of UTF-8, tokenize counts characters
    assert node.end_lineno is not None and node.end_col_offset is not None
    start = len(encoded[node.lineno - 1][: node.col_offset].decode())
    end = len(encoded[node.end_lineno - 1][: node.end_col_offset].decode())
    return node.lineno, start, node.end_lineno, end
