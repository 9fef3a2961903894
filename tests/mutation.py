"""Random edits of the package: whichever leaves a stage's id leaves its bits, too.

    python tests/mutation.py --edits 200 --seed 0 --json edits.json

Each edit changes one constant, one operator or the order of two statements somewhere in a copy of
the package. Systems whose code fingerprint it leaves are trained for five steps by the changed
code, in a process of its own; states with the stage_id, environment_id and step of one of the
unchanged code must be its bits. An edit that makes training fail or hang shows itself and
is counted apart.
"""

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

STEPS = 5
SYSTEMS = ("progressive_gan_sr", "wgan_gp", "cyclegan", "srgan")
_TIMEOUT_SECONDS = 240
_OPERATORS: dict[type[ast.AST], ast.AST] = {
    ast.Add: ast.Sub(), ast.Sub: ast.Add(), ast.Mult: ast.Add(), ast.Div: ast.Mult(),
    ast.FloorDiv: ast.Mult(), ast.Mod: ast.FloorDiv(), ast.Pow: ast.Mult(),
    ast.LShift: ast.RShift(), ast.BitOr: ast.BitAnd(), ast.Lt: ast.LtE(), ast.LtE: ast.Lt(),
    ast.Gt: ast.GtE(),
    ast.GtE: ast.Gt(), ast.Eq: ast.NotEq(), ast.NotEq: ast.Eq(), ast.Is: ast.IsNot(),
    ast.IsNot: ast.Is(), ast.In: ast.NotIn(), ast.NotIn: ast.In(), ast.And: ast.Or(),
    ast.Or: ast.And(),
}  # fmt: skip


@dataclass(frozen=True)
class Edit:
    """One change of one file: the text of lines [first, last) is replaced by `text`."""

    file: str
    line: int
    what: str
    text: str


def edits_of(path: Path, root: Path) -> list[Edit]:
    """All edits that a file offers."""
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    encoded, name = text.encode(), path.relative_to(root).as_posix()
    found = []

    def replaced(node: ast.AST, new: str, what: str) -> None:
        first = starts[node.lineno - 1] + node.col_offset  # pyright: ignore
        last = starts[node.end_lineno - 1] + node.end_col_offset  # pyright: ignore
        changed = encoded[:first] + new.encode() + encoded[last:]
        found.append(Edit(name, node.lineno, what, changed.decode()))  # pyright: ignore

    tree = ast.parse(text)
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
              for part in ast.walk(node)}  # fmt: skip
    for node in ast.walk(tree):
        if id(node) in inside:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
            value = node.value
            new = not value if isinstance(value, bool) else value + 1 if value < 2 else value * 2
            replaced(node, repr(new), f"{value!r} -> {new!r}")
        elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            old = type(node.op).__name__
            node.op = _OPERATORS[type(node.op)]  # pyright: ignore
            replaced(node, f"({ast.unparse(node)})", f"{old} -> {type(node.op).__name__}")
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in _OPERATORS:
            old = type(node.ops[0]).__name__
            node.ops[0] = _OPERATORS[type(node.ops[0])]  # pyright: ignore
            replaced(node, f"({ast.unparse(node)})", f"{old} -> {type(node.ops[0]).__name__}")
        elif isinstance(node, ast.BoolOp):
            old = type(node.op).__name__
            node.op = _OPERATORS[type(node.op)]  # pyright: ignore
            replaced(node, f"({ast.unparse(node)})", f"{old} -> {type(node.op).__name__}")
        for body in (getattr(node, name, None) for name in ("body", "orelse", "finalbody")):
            if isinstance(body, list):
                found += swaps(body, lines, name)
    return found


def swaps(body: list[Any], lines: list[str], name: str) -> list[Edit]:
    """Two statements that follow each other, the other way round."""
    found = []
    for first, second in pairwise(body):
        if not isinstance(first, ast.stmt) or isinstance(first, ast.Import | ast.ImportFrom):
            continue
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            continue
        start = min([first.lineno, *(d.lineno for d in getattr(first, "decorator_list", ()))])
        middle, end = first.end_lineno, second.end_lineno
        changed = [
            *lines[: start - 1],
            *lines[middle:end],
            *lines[start - 1 : middle],
            *lines[end:],
        ]
        found.append(Edit(name, start, "two statements swapped", "".join(changed)))
    return found


def images(folder: Path) -> None:
    """Small images for each kind of data: a folder, and two domains."""
    draws = np.random.default_rng(0)
    for name in ("plain", "pairs/source", "pairs/target"):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            levels = draws.integers(0, 256, (72, 80, 3), dtype=np.uint8)
            Image.fromarray(levels).save(folder / name / f"{number}.png")


def measure(names: list[str], folder: Path) -> dict[str, Any]:
    """The stored states of five steps by (stage_id, environment_id, step), by system; with the code
    in use."""
    from dataclasses import replace

    import torch

    from ganforge.settings import flatten, override
    from ganforge.testing import BATCH, small
    from ganforge.training.run import run

    torch.set_num_threads(1)
    found = {}
    for name in names:
        root = folder / ("pairs" if name == "cyclegan" else "plain")
        prepared = small(name, {"keep": "all", "data.root": str(root)})
        changes: dict[str, Any] = {"images_per_epoch": STEPS * BATCH}
        if "critic_steps" in flatten(prepared.settings):
            changes["critic_steps"] = 2
        prepared = replace(prepared, settings=override(prepared.settings, changes))
        with tempfile.TemporaryDirectory() as store:
            for _ in run(prepared, store=store):
                pass
            manifests = [
                json.loads(p.read_text()) for p in sorted(Path(store).rglob("manifest.json"))
            ]
        found[name] = {
            # what a state is a function of, to what it is; a stage's own length is not in its id
            f"{m['stage_id']} {m['environment_id']} {m['step']}": {
                file: facts["sha256"] for file, facts in m["files"].items()
            }
            for m in manifests
        }
    return found


def measured(package: Path, names: list[str], folder: Path, place: Path) -> dict[str, Any] | str:
    """`measure` in a new process that imports the package below `package`; "failed" or "hung"."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(package), str(Path(__file__).parents[1])]),
        "GANFORGE_CACHE": str(place / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    words = [sys.executable, __file__, "--measure", ",".join(names), "--images", str(folder)]
    try:
        done = subprocess.run(
            words, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return "hung"
    if done.returncode:
        return "failed"
    return json.loads(done.stdout.splitlines()[-1])


def try_edit(edit: Edit, package: Path, folder: Path, plain: dict[str, Any]) -> dict[str, Any]:
    """What one edit does to ids and bits."""
    from ganforge.systems.catalog import load_system
    from ganforge.training.fingerprint import code_fingerprint
    from ganforge.training.source_code import Sources

    row: dict[str, Any] = {"file": edit.file, "line": edit.line, "what": edit.what}
    with tempfile.TemporaryDirectory() as text:
        place = Path(text)
        copy = place / "package" / "ganforge"
        shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / edit.file).write_text(edit.text)
        try:
            compile(edit.text, edit.file, "exec")
            sources = Sources(copy)
            now = {name: code_fingerprint(load_system(name), sources) for name in SYSTEMS}
        except (SyntaxError, LookupError) as error:
            return row | {"outcome": {name: "failed" for name in SYSTEMS}, "error": str(error)}
        kept = [name for name in SYSTEMS if now[name] == plain[name]["code"]]
        outcome = {name: "id changed" for name in SYSTEMS if name not in kept}
        found = measured(copy.parent, kept, folder, place) if kept else {}
        for name in kept:
            if isinstance(found, str):
                outcome[name] = found
            else:
                states, before = found[name], plain[name]["states"]
                common = states.keys() & before.keys()
                same = all(states[key] == before[key] for key in common)
                kept_id = "id and bits kept" if common else "id changed"
                outcome[name] = kept_id if same else "BITS CHANGED UNDER ONE ID"
    return row | {"outcome": outcome}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edits", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure")
    parser.add_argument("--images", type=Path)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure.split(","), given.images)))
        return
    from ganforge.systems.catalog import load_system
    from ganforge.training.fingerprint import code_fingerprint
    from ganforge.training.source_code import ROOT

    offered = [edit for path in sorted(ROOT.rglob("*.py")) for edit in edits_of(path, ROOT)]
    chosen = random.Random(given.seed).sample(offered, given.edits)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        images(folder)
        plain = measured(ROOT.parent, list(SYSTEMS), folder, folder)
        assert not isinstance(plain, str), "the unchanged package does not train"
        plain = {
            name: {"states": plain[name], "code": code_fingerprint(load_system(name))}
            for name in SYSTEMS
        }
        with ThreadPoolExecutor(2) as pool:
            rows = list(pool.map(lambda edit: try_edit(edit, ROOT, folder, plain), chosen))
    counts = Counter(outcome for row in rows for outcome in row["outcome"].values())
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))
    wrong = [row for row in rows if "BITS CHANGED UNDER ONE ID" in row["outcome"].values()]
    for row in wrong:
        print(row)
    words = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()))
    print(f"{len(rows)} edits out of {len(offered)}, {len(SYSTEMS)} systems each: {words}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
