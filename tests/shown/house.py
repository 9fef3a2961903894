"""The second storey of the house: bits before and after, what changes an id, old runs, words."""

import os
import subprocess
import tarfile
from pathlib import Path

from shown.command import PYTHON, ROOT, Check, Failed, pytest_file, script

#: the last commit before files were moved, and the one that only moved what no id covers
BEFORE, MOVED = "c322c2b", "0039c51"


def checkout(commit: str, folder: Path) -> Path:
    """The files of a commit."""
    archive = folder / f"{commit}.tar"
    words = ["git", "-C", str(ROOT), "archive", "-o", str(archive), commit]
    if subprocess.run(words).returncode:
        raise Failed(f"commit {commit} is not in this clone")
    target = folder / commit
    with tarfile.open(archive) as file:
        file.extractall(target, filter="data")
    return target


def bits(root: Path, *words: str, seconds: float = 900) -> str:
    """tests/bits.py of this commit with the package of another one."""
    path = os.pathsep.join([str(root / "platform"), str(root)])
    done = subprocess.run(
        [PYTHON, str(ROOT / "tests/bits.py"), *words],
        env=os.environ | {"PYTHONPATH": path},
        cwd=root,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds,
    )
    print(done.stdout[-2000:], flush=True)
    if done.returncode:
        raise Failed(done.stdout[-300:])
    return done.stdout


def moves(folder: Path) -> str:
    """12.2: moving files changes no code fingerprint."""
    record = folder / "code.json"
    bits(checkout(BEFORE, folder), "--code", "--json", str(record))
    text = bits(checkout(MOVED, folder), "--code", "--compare", str(record))
    return text.strip().splitlines()[-1]


def same_bits(folder: Path) -> str:
    """12.2: three steps of each stage of all thirteen, before and after."""
    record = folder / "bits.json"
    bits(checkout(BEFORE, folder), "--json", str(record))
    return bits(ROOT, "--compare", str(record)).strip().splitlines()[-1]


def old_run(folder: Path) -> str:
    """12.3: a run that the old code stored, resumed by the present code."""
    old = checkout(BEFORE, folder)
    return script("tests/old_run.py", str(old), seconds=600)(folder)


CHECKS = {
    "imports": Check(
        "12.1: no circle, no upward import", pytest_file("tests/test_architecture.py")
    ),
    "moves": Check("12.2: fingerprints before and after the moves", moves),
    "bits": Check("12.2: bits of thirteen systems before and after", same_bits),
    "fingerprint": Check(
        "12.2: what changes a fingerprint, and what does not",
        pytest_file("tests/training/test_code_fingerprint.py"),
    ),
    "mutation": Check(
        "12.2: of 200 random edits, those that keep an id keep the bits",
        script("tests/mutation.py", "--edits", "200", seconds=3600),
    ),
    "old-run": Check("12.3: a run stored by the old code is resumed by replay", old_run),
    "judged": Check(
        "12.3, 12.4: other code is judged by its bits",
        pytest_file(
            "tests/training/test_resume.py", "tests/commands/test_reproduce.py", seconds=1200
        ),
    ),
    "words": Check("12.5: the words of the vocabulary", pytest_file("tests/test_words.py")),
    "first-gan": Check(
        "12.7: docs/first_gan.md, command by command",
        pytest_file("-m", "", "tests/test_first_gan.py", seconds=1200),
    ),
}
