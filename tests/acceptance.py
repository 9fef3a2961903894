"""Run what an issue asks to be shown, on the committed code, and write down what came out.

    python tests/acceptance.py NAME [NAME …]      python tests/acceptance.py --list

Each check has its own time budget. Command, seconds and result are appended to docs/acceptance.md.
Checks that need the benchmark pictures look for them in ../shared or GANFORGE_SHARED.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("GANFORGE_SHARED", ROOT.parent / "shared"))
PYTHON = sys.executable


class Failed(Exception):
    """A check whose result is not what it must be."""


def run(command: list[str], folder: Path, seconds: float, expect: int = 0) -> str:
    """The output of a command; Failed when it takes too long or exits otherwise than expected."""
    print("$", shlex.join(command), flush=True)
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            timeout=seconds,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"took more than {seconds:.0f} s") from error
    print(done.stdout[-4000:], flush=True)
    if done.returncode != expect:
        raise Failed(f"exit code {done.returncode}, not {expect}: {done.stdout[-300:]}")
    return done.stdout


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if not found:
        raise Failed(f"the output has no {pattern}")
    return float(found.group(1))


def first_search(folder: Path) -> str:
    """Issue 2.1 and 2.2: the README's first command, and what MLflow holds afterwards."""
    text = run([PYTHON, str(ROOT / "trainers/tune.py")], folder, 360)
    best = number(r"best +trial \d+: validation/psnr ([\d.]+)", text)
    script = ROOT / "tests" / "read_search.py"
    told = run([PYTHON, str(script), f"sqlite:///{folder}/mlflow.db", "ganforge"], folder, 60)
    bicubic = number(r"bicubic ([\d.]+)", told)
    first = number(r"first stage ([\d.]+)", told)
    if best < bicubic - 0.3 or best <= first:
        raise Failed(f"best {best}, bicubic {bicubic}, its first stage {first}")
    return f"best {best:.2f} dB, its first stage {first:.2f} dB, bicubic {bicubic:.2f} dB"


def distortion(folder: Path) -> str:
    """Issue 2.3: fidelity from the standard low-resolution files."""
    data = SHARED / "data/train/photos"
    command = [PYTHON, str(ROOT / "trainers/train.py"), "progressive_gan_sr", "--data", str(data)]
    command += ["--workers", "2", "--preset", "distortion", "--set", "validation.fraction=0.05"]
    text = run(command, folder, 1200)
    run_id = re.search(r"of run (\w+)", text)
    assert run_id is not None
    results = []
    for name, least, bicubic in (("Set5", 34.7, 33.67), ("Set14", 31.0, 30.23)):
        benchmark = SHARED / f"data/benchmarks/{name}/x2"
        words = ["evaluate", "--model", run_id.group(1), "--benchmark", str(benchmark)]
        table = run([PYTHON, "-m", "ganforge", *words], folder, 300)
        row = next(line for line in table.splitlines() if "mean" in line)
        figures = [float(n) for n in re.findall(r"\d+\.\d+", row)]
        psnr, plain = figures[:2]
        if psnr < least or abs(plain - bicubic) > 0.03:
            raise Failed(f"{name}: {psnr} dB, bicubic {plain} dB")
        results.append(f"{name} {psnr:.2f} dB (bicubic {plain:.2f})")
    return ", ".join(results)


def sharper(folder: Path) -> str:
    """Issue 2.3: two workers, a perceptual term from a file, four stages."""
    weights = SHARED / "weights/vgg19_block1.pt"
    command = [PYTHON, str(ROOT / "trainers/train.py"), "progressive_gan_sr", "--data"]
    command += [str(SHARED / "data/train/photos"), "--workers", "2", "--preset", "quick"]
    command += ["--target", "128", "--set", f"perceptual.network={weights}"]
    command += ["--set", "data.view=resize", "--set", "data.smaller=skip"]
    command += [
        "--set",
        "width=32",
        "--set",
        "validation.fraction=0.1",
        "--set",
        "validation.max_side=256",
    ]
    text = run(command, folder, 1200)
    found = re.findall(r"validation/psnr ([\d.]+)", text)
    return f"validation/psnr of the four stages and after each growth: {', '.join(found)}"


def pytest_file(*words: str, seconds: float = 900) -> Callable[[Path], str]:
    def check(folder: Path) -> str:
        text = run([PYTHON, "-m", "pytest", "-q", *words], ROOT, seconds)
        return text.strip().splitlines()[-1]

    return check


@dataclass(frozen=True)
class Check:
    says: str
    does: Callable[[Path], str]


CHECKS = {
    "first-search": Check("2.1, 2.2: search, and what MLflow holds", first_search),
    "distortion": Check("2.3: Set5 and Set14 from the standard files", distortion),
    "sharper": Check("2.3: four stages, two workers, perceptual term", sharper),
    "specification": Check(
        "2.4: systems specification, section 15",
        pytest_file(
            "tests/systems", "tests/networks", "tests/test_layers.py", "tests/test_losses.py"
        ),
    ),
    "same-bits": Check(
        "2.5: workers end in the same bits; float64 oracle",
        pytest_file("tests/training/test_workers.py"),
    ),
    "leaves-nothing": Check("2.6: eight trials on two slots", pytest_file("tests/cluster")),
    "bad-input": Check("2.7: bad input", pytest_file("tests/test_cli.py")),
    "kills": Check(
        "3.1: 100 kills and 20 external ones",
        lambda folder: (
            run([PYTHON, str(ROOT / "tests/stress/kill_resume.py"), "--n", "100"], ROOT, 3600)
            .strip()
            .splitlines()[-1]
        ),
    ),
    "faults": Check(
        "3.4: a driver and a worker killed with -9, a dead tracking store",
        pytest_file("-m", "slow", "tests/cluster/test_faults.py", seconds=1500),
    ),
    "store": Check(
        "3.5, 3.6: damage is found, on a disk and on S3",
        pytest_file("tests/training/test_files.py", "tests/training/test_checkpoint.py"),
    ),
}


def commit() -> str:
    words = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    if given.list or not given.names:
        for name, check in CHECKS.items():
            print(f"{name:16} {check.says}")
        return
    failed = False
    for name in given.names:
        check, began = CHECKS[name], time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                result = check.does(Path(folder))
            except Failed as error:
                result, failed = f"FAILED: {error}", True
        seconds = time.monotonic() - began
        row = f"| {name} | {check.says} | {commit()} | {seconds:.0f} s | {result} |\n"
        with open(ROOT / "docs" / "acceptance.md", "a") as file:
            file.write(row)
        print(row)
    sys.exit(failed)


if __name__ == "__main__":
    main()
