"""Running commands for the checks of tests/acceptance.py."""

import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("GANFORGE_SHARED", ROOT.parent / "shared"))
PYTHON = sys.executable


class Failed(Exception):
    """A check whose result is not what it must be."""


def run(command: list[str], folder: Path, seconds: float, expect: int = 0) -> str:
    """The output of a command; Failed when it takes too long or exits otherwise than expected."""
    print("$", shlex.join(command), flush=True)
    lines, late = [], threading.Event()
    with subprocess.Popen(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            for line in process.stdout:  # shown as it comes: some checks take hours
                print(line, end="", flush=True)
                lines.append(line)
        finally:
            timer.cancel()
    text = "".join(lines)
    if late.is_set():
        raise Failed(f"took more than {seconds:.0f} s")
    if process.returncode != expect:
        raise Failed(f"exit code {process.returncode}, not {expect}: {text[-300:]}")
    return text


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if not found:
        raise Failed(f"the output has no {pattern}")
    return float(found.group(1))


def pytest_file(*words: str, seconds: float = 900) -> Callable[[Path], str]:
    def check(folder: Path) -> str:
        text = run([PYTHON, "-m", "pytest", "-q", "-n", "0", *words], ROOT, seconds)
        return text.strip().splitlines()[-1]

    return check


@dataclass(frozen=True)
class Check:
    says: str
    does: Callable[[Path], str]


def script(*words: str, seconds: float, expect: int = 0) -> Callable[[Path], str]:
    """A check whose result is the last line that a script prints."""

    def check(folder: Path) -> str:
        text = run([PYTHON, *words], ROOT, seconds, expect)
        return text.strip().splitlines()[-1]

    return check


def ganforge(folder: Path, *words: str, seconds: float, expect: int = 0) -> str:
    """The output of a command of this project's."""
    return run([PYTHON, "-m", "ganforge", *words], folder, seconds, expect)


def run_named(text: str) -> str:
    """The id of the run that a command's last lines say how to reproduce."""
    found = re.findall(r"reproduce --run (\w+)", text)
    if not found:
        raise Failed(f"no run is named: {text[-300:]}")
    return found[-1]


def searches(systems: Sequence[str], seconds: float) -> Callable[[Path], str]:
    """A check that searches two trials of each system on its offline default."""

    def check(folder: Path) -> str:
        results = []
        for system in systems:
            here = folder / system
            here.mkdir()
            words = [system, "--preset", "quick", "--trials", "2"]
            text = run([PYTHON, str(ROOT / "trainers/tune.py"), *words], here, seconds)
            best = re.search(r"best +trial \d+: validation/\S+ [-\d.]+", text)
            if best is None:
                raise Failed(f"{system}: no best trial: {text[-300:]}")
            results.append(f"{system} {best.group(0).partition(': ')[2]}")
        return ", ".join(results)

    return check


def reproductions(systems: Sequence[str]) -> Callable[[Path], str]:
    """A check that trains each system for an epoch and proves that it comes out the same."""

    def check(folder: Path) -> str:
        for system in systems:
            here = folder / system
            here.mkdir()
            words = ["train", system, "--preset", "quick", "--set", "images_per_epoch=64"]
            text = ganforge(here, *words, "--set", "stages.0.epochs=1", seconds=300)
            told = ganforge(here, "reproduce", "--run", run_named(text), seconds=300)
            if "identical" not in told:
                raise Failed(f"{system}: {told[-300:]}")
        return f"identical: {', '.join(systems)}"

    return check
