"""Images and names as people have them: one line for what fails, and the batch goes on."""

import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from generators import write_folder, write_untrained
from PIL import Image, PngImagePlugin

from ganforge.commands.cli import main
from ganforge.systems.catalog import load_system


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def translation(tmp_path_factory) -> Path:
    """A generator whose normalisation needs more than one pixel."""
    kind = load_system("cyclegan")
    return write_untrained(tmp_path_factory.mktemp("cyclegan"), "cyclegan", **kind.PRESETS["quick"])


def ganforge(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def image(path: Path, height: int = 16, width: int = 16, **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **more)
    return path


def wordy() -> PngImagePlugin.PngInfo:
    """A compressed text that unpacks to eight megabytes: Pillow refuses it when it reads pixels."""
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 8_000_000, zip=True)
    return info


def huge(path: Path, side: int) -> None:
    """A grey PNG whose header says `side` pixels, with next to no pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    path.parent.mkdir(parents=True, exist_ok=True)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b""))


def results(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("kind", ["text", "huge", "broken"])
def test_evaluate_lists_what_it_cannot_measure(kind, model, tmp_path, capsys):
    for part, side in (("HR", 64), ("LR", 32)):
        image(tmp_path / part / "a.png", side, side)
        if kind == "text":
            image(tmp_path / part / "b.png", side, side, pnginfo=wordy())
        elif kind == "huge":
            huge(tmp_path / part / "b.png", side * 700)
        else:
            (tmp_path / part / "b.png").write_bytes(b"\x89PNG")
    assert ganforge("evaluate", "--model", model, "--benchmark", tmp_path) == 1
    printed = capsys.readouterr()
    assert "a.png" in printed.out and "mean" in printed.out
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ") and "b.png" in line


def test_evaluate_goes_on_with_the_next_benchmark(model, tmp_path, capsys):
    for part, side in (("HR", 64), ("LR", 32)):
        image(tmp_path / "good" / part / "a.png", side, side)
    image(tmp_path / "four" / "HR" / "a.png", 64, 64)
    image(tmp_path / "four" / "LR" / "a.png", 16, 16)
    words = [f"--benchmark={tmp_path}/{name}" for name in ("missing", "four", "good")]
    assert ganforge("evaluate", "--model", model, *words) == 1
    printed = capsys.readouterr()
    assert "good" in printed.out and "mean" in printed.out
    first, second = printed.err.splitlines()
    assert "missing/HR: no such folder" in first
    assert "HR is 4 times LR, and" in second and "enlarges 2 times" in second


def test_a_format_that_cannot_hold_the_result_is_said_before_it_is_made(model, tmp_path, capsys):
    image(tmp_path / "in" / "a.png", 8, 8200)
    image(tmp_path / "in" / "b.png")
    words = ("upscale", tmp_path / "in", "--model", model, "--output", tmp_path / "out")
    assert ganforge(*words, "--format", "webp", "--tile", 64) == 1
    printed = capsys.readouterr()
    assert "1 of 2 images" in printed.out
    assert "a.png: would be 16400 pixels long, and .webp holds at most 16383" in printed.err
    assert results(tmp_path / "out") == ["b.webp"]


def test_an_image_that_a_network_does_not_take_stops_no_other(translation, tmp_path, capsys):
    for side in (1, 2, 32):
        image(tmp_path / "in" / f"{side:02d}.png", side, side)
    words = ("upscale", tmp_path / "in", "--model", translation, "--output", tmp_path / "out")
    assert ganforge(*words) == 1
    printed = capsys.readouterr()
    assert results(tmp_path / "out") == ["32.png"]
    assert len(printed.err.splitlines()) == 2
    assert "01.png: 1 × 1 pixels cannot be put through the generator of cyclegan" in printed.err


def test_what_no_library_announces_stops_no_other_image(model, tmp_path, capsys, monkeypatch):
    """Whatever a decoder or an encoder raises."""
    from ganforge.commands import upscale

    image(tmp_path / "in" / "a.png")
    image(tmp_path / "in" / "b.png")
    write = upscale.write_photo

    def breaks_once(*given):
        monkeypatch.setattr(upscale, "write_photo", write)
        raise ZeroDivisionError("a bug of an encoder\nwith a second line")

    monkeypatch.setattr(upscale, "write_photo", breaks_once)
    words = ("upscale", tmp_path / "in", "--model", model, "--output", tmp_path / "out")
    assert ganforge(*words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "a.png: is not upscaled: a bug of an encoder" in line
    assert results(tmp_path / "out") == ["b.png"]


@pytest.mark.parametrize("length", [243, 247, 251, 255])
def test_names_as_long_as_disks_allow(length, model, tmp_path):
    name = "n" * (length - 4) + ".png"
    image(tmp_path / "in" / name)
    words = ("upscale", tmp_path / "in", "--model", model, "--output", tmp_path / "out")
    assert ganforge(*words) == 0
    assert results(tmp_path / "out") == [name]


def test_a_result_whose_name_would_be_too_long_is_listed(model, tmp_path, capsys):
    image(tmp_path / "in" / ("n" * 251 + ".bmp"))
    image(tmp_path / "in" / "a.png")
    words = ("upscale", tmp_path / "in", "--model", model, "--output", tmp_path / "out")
    assert ganforge(*words, "--format", "webp") == 1
    assert "the last name has 256 bytes" in capsys.readouterr().err
    assert results(tmp_path / "out") == ["a.webp"]


def test_linked_folders_are_followed_and_circles_end(model, tmp_path):
    image(tmp_path / "elsewhere" / "a.png")
    image(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path / "in")
    words = ("upscale", tmp_path / "in", "--model", model, "--output", tmp_path / "out")
    assert ganforge(*words) == 0
    assert results(tmp_path / "out") == ["b.png", "linked/a.png"]


def test_names_that_are_no_text_are_read_written_and_printed(model, tmp_path):
    """On a terminal that takes nothing but ASCII, and on one of UTF-8."""
    folder = os.fsencode(tmp_path / "in")
    os.makedirs(folder)
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with open(folder + b"/caf\xe9.gif", "wb") as file:
        file.write((tmp_path / "a.gif").read_bytes())
    with open(folder + b"/broken\xe9.png", "wb") as file:
        file.write(b"nothing")
    for encoding in ("ascii", "utf-8"):
        out = tmp_path / encoding
        words = ["upscale", str(tmp_path / "in"), "--model", str(model), "--output", str(out)]
        done = subprocess.run(
            [sys.executable, "-m", "ganforge", *words],
            capture_output=True,
            env=os.environ | {"PYTHONIOENCODING": f"{encoding}:strict"},
        )
        assert done.returncode == 1, done.stderr
        assert re.search(rb"note: caf\\\w+e9\.gif: several frames", done.stdout)
        assert re.search(rb"broken\\\w+e9\.png", done.stderr) and b"Traceback" not in done.stderr
        assert os.listdir(os.fsencode(out)) == [b"caf\xe9.png"]


def test_sample_says_what_is_there_before_it_makes_anything(tmp_path, capsys):
    folder = write_untrained(tmp_path / "model", "dcgan", features=4, latent_size=8)
    words = ("sample", "--model", folder, "--output", tmp_path / "out", "--count", 3)
    assert ganforge(*words) == 0
    (tmp_path / "out" / "00000.png").unlink()
    assert ganforge(*words) == 2
    assert "00001.png: exists already; --overwrite replaces it" in capsys.readouterr().err
    assert results(tmp_path / "out") == ["00001.png", "00002.png"]
    assert ganforge(*words, "--overwrite") == 0
