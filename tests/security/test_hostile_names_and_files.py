"""Files and names that nobody wishes for, through `upscale`: each is one line, none stops another,
and beside each stands a plain one that comes out (T15, T16)."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import ganforge
from generators import write_folder
from PIL import Image

NAMES = [
    "[bold]x[/bold]",
    "st[/b]",
    "{0}",
    "%s",
    "-rf",
    "--overwrite",
    "a b",
    " a ",
    "new\nline",
    "tab\t",
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\u202egnp.x",
    "e\u0301",
    "\u00e9",
    "...hidden",
    "a'b\"c",
    "$(touch x)",
    "CON",
    "x" * 251,
]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("model"))


def image(path: Path, side: int = 16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side, 3), 90, np.uint8)).save(path, "PNG")
    return path


def test_names_of_images(model, tmp_path):
    folders = (tmp_path / "in", tmp_path / "out")
    for name in NAMES:
        if not name.startswith("."):
            image(tmp_path / "in" / f"{name}.png")
    words = ("upscale", folders[0], "--model", model, "--output", folders[1])
    assert ganforge(*words) == 0
    files = [[p.relative_to(f) for p in f.rglob("*") if p.is_file()] for f in folders]
    assert sorted(files[0]) == sorted(files[1]) and len(files[0]) == len(NAMES) - 1
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", NAMES)
def test_names_of_folders(name, model, tmp_path, monkeypatch):
    """As the folder of the images, of the model and of the results."""
    monkeypatch.chdir(tmp_path)
    image(Path("in", name, name, "a.png"))
    link = Path("model", name)
    link.parent.mkdir(parents=True)
    link.symlink_to(model)
    words = ("upscale", f"in/{name}", f"--model=model/{name}", f"--output=out/{name}")
    hidden = name.startswith(".")
    assert ganforge(*words) == (2 if hidden else 0)
    assert Path("out", name, name, "a.png").is_file() is not hidden


def test_files_that_are_none(model, tmp_path, capsys):
    folder = tmp_path / "in"
    content = image(folder / "good.png").read_bytes()
    wrong = {
        "empty.png": b"",
        "half.png": content[: len(content) // 2],
        "header.png": content[:25],
        "text.png": b"not an image",
        "page.jpg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "program.gif": b"\x7fELF" + b"\0" * 100,
        "archive.tif": b"PK\3\4" + b"\0" * 100,
        "loop.tif": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
        "script.webp": b"RIFF\xff\xff\xff\xffWEBPVP8 ",
        "pickle.bmp": b"BM\x80\x04\x95\n\0\0\0\0\0\0\0cos\nsystem\n.",
    }
    for name, data in wrong.items():
        (folder / name).write_bytes(data)
    os.mkfifo(folder / "pipe.png")  # one that is opened would wait for ever
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "nowhere.png").symlink_to("/nowhere")
    (folder / "self.png").symlink_to("self.png")
    (folder / "folder.png").mkdir()
    words = ("upscale", folder, "--model", model, "--output", tmp_path / "out")
    assert ganforge(*words) == 1
    printed = capsys.readouterr()
    assert f"1 of {len(wrong) + 1} images" in printed.out
    lines = printed.err.splitlines()
    assert len(lines) == len(wrong)
    for name in wrong:
        assert sum(name in line for line in lines) == 1
    assert os.listdir(tmp_path / "out") == ["good.png"]
    for name in ("pipe.png", "device.png", "nowhere.png", "self.png"):
        assert ganforge("upscale", folder / name, *words[2:]) == 2


def test_a_file_that_changes_into_a_link_while_it_is_used(model, tmp_path):
    """A result is never what somebody else has made of its name in the meantime."""
    image(tmp_path / "in" / "a.png")
    secret = tmp_path / "secret"
    secret.write_text("old")
    code = (
        "import os, sys\n"
        "from ganforge.commands import upscale\n"
        "made = upscale.enlarge\n"
        "def slow(*given, **named):\n"
        f"    os.symlink({str(secret)!r}, {str(tmp_path / 'out' / 'a.png')!r})\n"
        "    return made(*given, **named)\n"
        "upscale.enlarge = slow\n"
        "from ganforge.commands.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    words = ["upscale", str(tmp_path / "in"), "--model", str(model), "--overwrite"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--output", str(tmp_path / "out")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "is a link, and is not replaced" in done.stderr
    assert secret.read_text() == "old"
