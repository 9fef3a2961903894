"""What a search costs besides training, and very many images."""

from pathlib import Path

from shown.command import PYTHON, ROOT, SHARED, Check, Failed, number, run

STRESS, BENCHMARKS = ROOT / "tests" / "stress", ROOT / "tests" / "benchmarks"


def million(folder: Path) -> str:
    text = run([PYTHON, str(STRESS / "million.py")], folder, seconds=5400)
    return "; ".join(line for line in text.splitlines() if "holds" in line)


def starts(folder: Path) -> str:
    """Warm and cold starts, and the head's memory; the aims are judged here."""
    text = run([PYTHON, str(BENCHMARKS / "start.py")], folder, seconds=900)
    cold = number(r"([\d.]+) s to a worker", text)
    warm = number(r"warm: ([\d.]+) s", text) + number(r"([\d.]+) s from there to its", text)
    said = f"cold {cold:.1f} s to a worker, warm {warm:.2f} s to a trial's first report"
    if warm > 2 or cold > 15:
        raise Failed(said)
    return said


def real_search(folder: Path) -> str:
    words = [PYTHON, str(BENCHMARKS / "real_search.py"), "--minutes", "9", "--seeds", "3"]
    words += ["--data", str(SHARED / "data" / "train" / "photos"), "--json", str(folder / "out")]
    return "; ".join(run(words, folder, seconds=7200).strip().splitlines()[-4:])


CHECKS = {
    "million": Check("18.2: a million images, from a folder and from a packed set", million),
    "starts": Check("18.3: from a command, and from one trial, to the next training", starts),
    "real-search": Check("14.2: freeze-thaw and TPE + ASHA on stages of the flagship", real_search),
}
