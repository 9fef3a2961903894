"""Closed doors: what is given to the program from outside, by the hundred thousand."""

import os
from collections.abc import Callable
from pathlib import Path

from shown.command import PYTHON, ROOT, Check, pytest_file, run

COUNT = 100_000
HELPERS = ROOT / "tests" / "helpers"


def fuzzer(name: str) -> Callable[[Path], str]:
    """A fuzzer of tests/helpers/fuzz.py with many more examples than in the suite."""

    def check(folder: Path) -> str:
        code = f"from fuzz import fuzz; print(dict(fuzz({name!r}, {COUNT})))"
        helpers = os.pathsep.join([str(HELPERS), os.environ.get("PYTHONPATH", "")])
        words = ["env", f"PYTHONPATH={helpers}", f"GANFORGE_CACHE={folder / 'cache'}", PYTHON]
        text = run([*words, "-W", "ignore", "-c", code], folder, seconds=6 * 3600)
        return f"{COUNT} examples, no fault: {text.strip().splitlines()[-1]}"

    return check


CHECKS = {
    "doors": Check("13.1: each attack, tried again", pytest_file("tests/security", seconds=1800)),
    "decoder": Check(
        "13.2: every kind of image against independent decoders",
        pytest_file("tests/data/test_decoder.py", "tests/inference/test_images.py"),
    ),
    "fuzz-set": Check("13.3: rubbish behind --set", fuzzer("set")),
    "fuzz-file": Check("13.3: rubbish in settings files", fuzzer("file")),
    "fuzz-space": Check("13.3: rubbish in search spaces", fuzzer("space")),
    "fuzz-options": Check("13.3: rubbish in options", fuzzer("options")),
}
