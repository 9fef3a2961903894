"""A folder of many images: interrupted, killed and run again; exact sizes; memory."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import ganforge
from generators import write_folder
from PIL import ExifTags, Image, ImageOps

from ganforge.inference.finished import is_finished

IMAGES = 200
DATE = "2024:05:06 07:08:09"
KINDS = ("jpg", "png", "webp", "tif", "bmp")
#: mixed: colour, grey, with alpha, of 16 bits
MODES = {"png": ("RGB", "L", "RGBA", "LA", "I;16"), "tif": ("RGB", "L"), "webp": ("RGB", "RGBA")}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def slower_model(tmp_path_factory) -> Path:
    """Wide enough that a process takes seconds for the images, in which it is stopped."""
    return write_folder(tmp_path_factory.mktemp("model"), width=64)


def mixed(folder: Path, count: int) -> list[Path]:
    """Images of all kinds and modes, two in three with a date and a resolution."""
    random = np.random.default_rng(0)
    made = []
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        modes = MODES.get(kind, ("RGB", "L"))
        mode = modes[number // len(KINDS) % len(modes)]
        height, width = random.integers(20, 48, 2)
        levels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = Image.fromarray(levels).convert("L" if mode == "I;16" else mode)
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
        exif = Image.Exif()
        exif[0x0112] = 1 + number % 8
        exif.get_ifd(ExifTags.IFD.Exif)[0x9003] = DATE
        path = folder / f"{number % 7}" / f"{number:03d}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **({"exif": exif.tobytes(), "dpi": (300, 300)} if kind != "bmp" else {}))
        made.append(path)
    return made


def started(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ganforge", "upscale", *map(str, arguments)]
    return subprocess.Popen(
        command,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # small images: threads that wait for each other on a busy machine cost more than they save
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        # a shell that runs tests in the background has them, and this, ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def results(folder: Path) -> dict[Path, tuple[int, int]]:
    """Each result by its inode and time: one that is made twice has another."""
    found = [path for path in folder.rglob("*.png") if not path.name.startswith(".")]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def stopped_after(process: subprocess.Popen[str], folder: Path, count: int, how: int) -> str:
    """End a process by a signal once so many results are there; what it wrote to stderr."""
    until = time.monotonic() + 120
    while len(results(folder)) < count and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    assert process.poll() is None, process.communicate()
    process.send_signal(how)
    return process.communicate(timeout=60)[1]


def test_200_mixed_images_interrupted_killed_and_run_again(slower_model, tmp_path):
    sources, out = mixed(tmp_path / "in", IMAGES), tmp_path / "out"
    arguments = (tmp_path / "in", "--model", slower_model, "--output", out, "--skip-existing")
    process = started(*arguments)
    said = stopped_after(process, out, 20, signal.SIGINT)
    first = results(out)
    assert process.returncode == 130 and 20 <= len(first) < IMAGES
    assert f"interrupted: {len(first)} of {IMAGES} images are in" in said
    assert "--skip-existing makes the others" in said

    process = started(*arguments)
    stopped_after(process, out, len(first) + 20, signal.SIGKILL)
    second = results(out)
    assert process.returncode == -signal.SIGKILL and len(first) + 20 <= len(second) < IMAGES

    process = started(*arguments, "--json")
    printed, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    document = json.loads(printed)["result"]
    assert (document["written"], document["skipped"]) == (IMAGES - len(second), len(second))
    third = results(out)
    assert len(third) == IMAGES
    assert {path: third[path] for path in second} == second == second | first
    for source, one in zip(sorted(sources), document["images"], strict=True):
        target = Path(one["target"])
        assert source.as_posix().endswith(one["source"])
        stored = io.BytesIO(source.read_bytes())  # of a path, Pillow turns some TIFFs twice
        with Image.open(stored) as given, Image.open(target) as made, target.open("rb") as file:
            made.load()
            sides = ImageOps.exif_transpose(given).size
            assert made.size == (2 * sides[0], 2 * sides[1]) == (one["width"], one["height"])
            assert is_finished(file, ".png", made.size[::-1])
            exif = made.getexif()
            if source.suffix == ".bmp":
                continue
            assert exif.get(0x0112, 1) == 1 and exif.get_ifd(ExifTags.IFD.Exif)[0x9003] == DATE
            if source.suffix != ".webp":
                assert made.info["dpi"] == pytest.approx((300, 300), abs=0.01)

    process = started(*arguments)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and results(out) == third
    assert printed == f"{IMAGES} of {IMAGES} images are in {out}, {IMAGES} of them already\n"


def test_what_is_cut_short_or_of_another_size_is_not_skipped(model, tmp_path, capsys):
    mixed(tmp_path / "in", 2)
    out = tmp_path / "out"
    arguments = ("upscale", tmp_path / "in", "--model", model, "--output", out, "--skip-existing")
    assert ganforge(*arguments) == 0
    before = results(out)
    cut, whole = sorted(before)
    content = cut.read_bytes()
    cut.write_bytes(content[:-20])
    assert ganforge(*arguments) == 1
    assert "exists already and is not a whole image of" in capsys.readouterr().err
    assert cut.read_bytes() == content[:-20]  # it may be somebody's: not replaced unasked
    assert ganforge(*arguments, "--overwrite") == 0
    assert cut.read_bytes() == content and results(out)[whole] == before[whole]
    cut.write_bytes(b"")  # what an interrupt leaves on a disk without links
    assert ganforge(*arguments) == 0
    assert cut.read_bytes() == content and results(out)[whole] == before[whole]
    assert ganforge(*arguments, "--outscale", 3) == 1
    cut.unlink()
    cut.symlink_to(whole)
    assert ganforge(*arguments) == 1
    assert "is a link, and is not replaced" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sides"),
    [
        (("--outscale", "3.5"), (140, 105)),
        (("--width", "101"), (101, 76)),
        (("--height", "33", "--width", "200"), (200, 33)),
        (("--max-side", "50", "--filter", "box"), (50, 38)),
    ],
)
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_results_have_exactly_the_size_asked_for(model, tmp_path, options, sides, kind):
    levels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    out = tmp_path / "out"
    words = ("upscale", tmp_path / "a.png", "--model", model, "--output", out, "--format", kind)
    assert ganforge(*words, *options, "--tile", 16, "--batch", 4) == 0
    with Image.open(out / f"a.{kind}") as made:
        assert made.size == sides


_CHILD = """
import resource, sys
from ganforge.commands.cli import main
try:
    main(sys.argv[1:])
finally:
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_of_6000_by_4000_takes_less_than_2_gb(model, tmp_path):
    y, x = np.mgrid[0:4000, 0:6000].astype(np.float32)
    planes = [(np.sin(x / 50) + 1) * 127, (np.cos(y / 37) + 1) * 127, (x + y) % 256]
    Image.fromarray(np.stack(planes, -1).astype(np.uint8)).save(tmp_path / "a.jpg", quality=92)
    words = ["upscale", tmp_path / "a.jpg", "--model", model, "--output", tmp_path / "out"]
    command = [sys.executable, "-c", _CHILD, *map(str, [*words, "--tile", "256"])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=True)
    peak = int(done.stderr.rpartition("peak ")[2])
    assert peak < 2e9, peak
    with Image.open(tmp_path / "out" / "a.png") as made:
        assert made.size == (12000, 8000)
