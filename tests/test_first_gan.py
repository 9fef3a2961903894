"""docs/first_gan.md, run as a reader runs it."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "first_gan.md"
EXAMPLE = ROOT / "examples" / "my_gan.py"
#: smaller than the page's numbers, and of one machine
SMALL = ["--set", "stages.0.epochs=1", "--set", "reports_per_stage=1"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.S | re.M)


def test_the_page_shows_the_file_of_the_examples():
    assert blocks("python")[0] == EXAMPLE.read_text()


def test_the_commands_are_those_that_are_run_below():
    commands = [line for block in blocks("console") for line in block.splitlines()]
    assert [shlex.split(line)[:2] for line in commands] == [
        ["pytest", "test_my_gan.py"],
        ["ganforge", "tune"],
        ["ganforge", "reproduce"],
        ["ganforge", "sample"],
    ]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_the_page_works_from_an_empty_folder(tmp_path):
    example, check = blocks("python")
    (tmp_path / "my_gan.py").write_text(example)
    (tmp_path / "test_my_gan.py").write_text(check)
    text = ""
    for block in blocks("console"):
        for line in block.splitlines():
            found = re.findall(r"--model ([0-9a-f]{32})", text)
            program, *words = shlex.split(line.replace("RUN_ID", found[-1] if found else ""))
            small = SMALL if words[0] == "tune" else []
            command = [sys.executable, "-m", program, *words, *small]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
            assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
            text += done.stdout
    assert len(list((tmp_path / "samples").glob("*.png"))) == 17  # sixteen images and the sheet
