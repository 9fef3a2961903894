"""Closed doors: what is given to the program from outside, by the hundred thousand."""

import os
import sys
from pathlib import Path

from shown.command import PYTHON, ROOT, Check, pytest_file, run

COUNT = 100_000
HELPERS = ROOT / "tests" / "helpers"


def fuzzers(folder: Path) -> str:
    """Every fuzzer of tests/helpers/fuzz.py with many more examples than in the suite."""
    sys.path.insert(0, str(HELPERS))
    from fuzz import FUZZERS

    results = []
    for name in FUZZERS:
        code = f"from fuzz import fuzz; print(dict(fuzz({name!r}, {COUNT})))"
        helpers = os.pathsep.join(
            [str(ROOT / "tests" / "helpers"), os.environ.get("PYTHONPATH", "")]
        )
        words = ["env", f"PYTHONPATH={helpers}", f"GANFORGE_CACHE={folder / 'cache'}", PYTHON]
        text = run([*words, "-W", "ignore", "-c", code], folder, seconds=6 * 3600)
        results.append(f"{name}: {text.strip().splitlines()[-1]}")
    return f"{COUNT} examples each, no fault; " + "; ".join(results)


CHECKS = {
    "doors": Check("13.1: each attack, tried again", pytest_file("tests/security", seconds=1800)),
    "decoder": Check(
        "13.2: every kind of image against independent decoders",
        pytest_file("tests/data/test_decoder.py", "tests/inference/test_images.py"),
    ),
    "fuzz": Check("13.3: rubbish in settings, files, spaces and options", fuzzers),
}
