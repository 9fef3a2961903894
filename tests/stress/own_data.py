"""Images as people have them: trained on, searched on, and reproduced where the folders have moved.

    python tests/stress/own_data.py

Three cases through the commands that a user types, each in a store of its own: two folders with
weights and validation images of their own; pairs in folders of their own, by a template of names;
pairs in one folder. Then mistakes, each of which must end with exit code 2 and one line that names
the key, before anything is trained. Ends with 1 where something is not as it must be.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

_SECONDS = 300.0
PRESET = ("--preset", "quick")
_SMALL = (
    "scale=2", "width=4", "blocks=1", "critic_width=4", "critic_dense=8", "batch_size=4",
    "images_per_epoch=16", "stages.0.resolution=32", "stages.1.resolution=32",
    "stages.0.epochs=1", "stages.1.epochs=1", "validation.sliced_wasserstein=false",
    "data.max_side=none", "data.view=crop",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Words of a command that name folders below where it runs, and those of `reproduce`."""

    name: str
    settings: tuple[str, ...]
    data: tuple[str, ...]
    again: dict[str, str]


CASES = (
    Case(
        "two folders",
        ("data.weights=3,1", "validation.root=v"),
        ("a", "b"),
        {"--validation": "v"},
    ),
    Case(
        "pairs",
        (
            "data.low_resolution=a_low",
            "data.low_resolution_name={name}x2",
            "validation.root=v",
            "validation.low_resolution=v_low",
        ),
        ("a",),
        {
            "--validation": "v",
            "--low-resolution": "a_low",
            "--validation-low-resolution": "v_low",
        },
    ),
    Case("pairs in one folder", ("data.low_resolution_name={name}x2",), ("both",), {}),
)
#: words after `ganforge train srgan`, and what the line must name
MISTAKES = (
    (("--data", "a", "--set", "data.roots=a,b"), "roots"),
    (("--data", "a", "--data", "b", "--set", "data.weights=1,2,3"), "weights"),
    (("--data", "a", "--data", "b", "--set", "data.weights=1,0"), "weights.1"),
    (("--data", "a", "--set", "data.low_resolution=b"), "low_resolution"),
    (("--data", "a", "--set", "data.low_resolution=nowhere"), "nowhere"),
    (("--data", "a", "--set", "data.low_resolution_name=x2"), "low_resolution_name"),
    (
        ("--data", "a", "--data", "b", "--set", "data.low_resolution=a_low"),
        "low_resolution",
    ),
    (("--data", "a", "--set", "data.low_resolution=wrong_low"), "must be 32 × 32"),
    (("--data", "a", "--set", "validation.root=nowhere"), "nowhere"),
    (
        ("--data", "a", "--set", "data.low_resolution=a_low", "--set",
         "data.low_resolution_name={name}x2", "--set", "validation.root=v"),
        "validation.low_resolution",
    ),
)  # fmt: skip


def make_images(folder: Path) -> None:
    """Images of 64 pixels in `a`, `b` and `v`, their halves in `a_low`, `v_low`, and `both`."""
    generator = np.random.default_rng(0)
    for name, count in (("a", 6), ("b", 5), ("v", 2)):
        for number in range(count):
            coarse = Image.fromarray(generator.integers(0, 256, (9, 9, 3), np.uint8))
            image = coarse.resize((64, 64), Image.Resampling.BICUBIC)
            low = image.resize((32, 32), Image.Resampling.BICUBIC)
            file = f"{name}{number}"
            _save(image, folder / name / f"{file}.png")
            if name != "b":
                _save(low, folder / f"{name}_low" / f"{file}x2.png")
            if name == "a":
                _save(image, folder / "both" / f"{file}.png")
                _save(low, folder / "both" / f"{file}x2.png")
                _save(image.crop((0, 0, 30, 30)), folder / "wrong_low" / f"{file}.png")


def _save(image: Image.Image, file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    image.save(file)


def ganforge(folder: Path, *words: str) -> tuple[int, str]:
    """Exit code and output of a command in `folder`."""
    done = subprocess.run(
        [sys.executable, "-m", "ganforge", *words],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_SECONDS,
    )
    return done.returncode, done.stdout


def settings(words: Sequence[str]) -> list[str]:
    return [part for word in words for part in ("--set", word)]


def check(case: Case) -> str:
    """What was trained, searched and reproduced of a case; SystemExit where it was not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder)
        words = ["srgan", *PRESET, *settings([*_SMALL, *case.settings])]
        words += [part for one in case.data for part in ("--data", one)]
        trained = expect(0, folder, "train", *words)
        searched = expect(0, folder, "tune", *words, "--trials", "2", "--experiment", "search")
        run = re.search(r"reproduce --run (\w+)", trained)
        assert run is not None and "best" in searched
        moved = folder / "moved"
        moved.mkdir()
        for one in {*case.data, *case.again.values()}:
            shutil.move(folder / one, moved / one)
        again = [part for one in case.data for part in ("--data", f"moved/{one}")]
        for option, one in case.again.items():
            again += [option, f"moved/{one}"]
        for which in (("--run", run.group(1)), ("--experiment", "search")):
            text = expect(0, folder, "reproduce", *which, *again)
            if "2/2 stages identical" not in " ".join(text.split()):
                raise SystemExit(f"{case.name}: {which}: not identical\n{text}")
        if case.data != ("both",):
            first = next(iter(sorted((moved / case.data[0]).glob("*.png"))))
            Image.open(first).rotate(90).save(first)
            text = expect(2, folder, "reproduce", "--run", run.group(1), *again)
            if first.name not in text:
                raise SystemExit(f"{case.name}: a changed image is not named\n{text}")
    return f"{case.name}: trained, searched, both reproduced from folders that moved"


def expect(code: int, folder: Path, *words: str) -> str:
    found, text = ganforge(folder, *words)
    if found != code:
        raise SystemExit(f"ganforge {' '.join(words)}: exit code {found}, not {code}\n{text}")
    return text


def refused() -> str:
    """How many mistakes were refused in a line that names what is wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder)
        for words, named in MISTAKES:
            text = expect(2, folder, "train", "srgan", *PRESET, *settings(_SMALL), *words)
            if named not in text or "Traceback" in text or "mlflow" in text:
                raise SystemExit(f"{words}: {named} is not named\n{text}")
    return f"{len(MISTAKES)} mistakes refused by name"


def main() -> None:
    found = [*map(check, CASES), refused()]
    print("; ".join(found))


if __name__ == "__main__":
    main()
