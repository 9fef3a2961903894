"""Python, notebooks, pages and folders of images: what a person uses directly."""

import re
import statistics
from pathlib import Path

from shown.command import PYTHON, ROOT, Check, Failed, ganforge, pytest_file, run

#: system, preset and what makes a search of it take a few minutes on two cores
SEARCHES = {
    "progressive_gan_sr": ("--preset", "quick", "--trials", "5"),
    "srgan": ("--preset", "quick", "--trials", "6"),
    "dcgan": ("--preset", "quick", "--trials", "6", "--set", "images_per_epoch=512"),
}
LEFT = re.compile(r"^ *((?:\d+:)?\d+:\d\d) .*, about ((?:\d+:)?\d+:\d\d) left", re.MULTILINE)
TOOK = re.compile(r"^took +((?:\d+:)?\d+:\d\d) for", re.MULTILINE)


def first_lines(folder: Path) -> str:
    """Issue 16.1: the Python lines of the README as a script, and the notebooks."""
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```python\n(import ganforge\n.*?)```", readme, re.DOTALL)
    if len(blocks) != 1:
        raise Failed("README.md has no lines of Python that begin with `import ganforge`")
    lines = [line for line in blocks[0].splitlines() if line]
    if len(lines) > 5:
        raise Failed(f"README.md's first lines are {len(lines)}, not five at most")
    (folder / "first.py").write_text(blocks[0])
    text = run([PYTHON, "first.py"], folder, 900)
    if not text.rstrip().endswith("True"):
        raise Failed(f"its last line says whether it reproduced: {text[-200:]}")
    words = ("-m", "slow or not slow", "tests/test_notebooks.py")
    return f"{len(lines)} lines, reproduced; notebooks: {pytest_file(*words, seconds=1500)(folder)}"


def seconds(clock: str) -> int:
    """Of M:SS or H:MM:SS."""
    total = 0
    for part in clock.split(":"):
        total = 60 * total + int(part)
    return total


def eta(folder: Path) -> str:
    """Issue 16.4: what three searches said that they would take, and what they took."""
    found = []
    for system, words in SEARCHES.items():
        here = folder / system
        here.mkdir()
        text = ganforge(here, "tune", system, *words, seconds=1500)
        took = TOOK.search(text)
        said = [(seconds(at), seconds(left)) for at, left in LEFT.findall(text)]
        if took is None or not said:
            raise Failed(f"{system}: nothing was said: {text[-300:]}")
        whole = seconds(took.group(1))
        errors = [abs(at + left - whole) / whole for at, left in said]
        found.append(
            f"{system}: took {whole} s, first said {sum(said[0])} s ({errors[0]:.0%} off), median "
            f"of {len(said)} lines {statistics.median(errors):.0%}, worst {max(errors):.0%}"
        )
        if errors[0] > 1:
            raise Failed("; ".join(found))
    return "; ".join(found)


CHECKS = {
    "first-lines": Check("16.1: README's lines of Python, and the notebooks", first_lines),
    "compare-page": Check(
        "16.2: the best of 200 runs found and picked in a browser",
        pytest_file("--no-skips", "-m", "browser or not browser", "tests/comparison", seconds=1200),
    ),
    "same-record": Check(
        "16.3: Python and the command line give equal records",
        pytest_file("tests/api/test_api.py", "-k", "same_record or dictionary", seconds=900),
    ),
    "eta": Check("16.4: what three searches said they would take", eta),
    "json": Check(
        "16.4: --json of every command against its schema",
        pytest_file("-m", "slow or not slow", "tests/commands/test_json.py", seconds=1200),
    ),
    "folder": Check(
        "16.5: 200 images interrupted and run again, exact sizes, memory",
        pytest_file(
            "-m", "slow or not slow", "tests/commands/test_upscale_folder.py", seconds=1500
        ),
    ),
    "trackers": Check(
        "16.6: TensorBoard's points equal MLflow's",
        pytest_file("tests/listeners", "tests/api", "-k", "read or listeners", seconds=600),
    ),
}
