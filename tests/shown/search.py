"""A search that pays: stages that are trained once, branches, strategies."""

from pathlib import Path

from shown.command import PYTHON, ROOT, Check, run


def branches(folder: Path) -> str:
    text = run([PYTHON, str(ROOT / "tests" / "stress" / "branches.py")], folder, seconds=2400)
    return "; ".join(text.strip().splitlines()[-3:])


CHECKS = {
    "branches": Check("14.3: sixteen adversarial variants of one pixel-trained stage", branches),
}
