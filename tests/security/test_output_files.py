"""What commands write stays in its folder, follows no link and replaces nothing unasked."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import ganforge
from generators import write_folder, write_untrained
from PIL import Image

from ganforge import output_files
from ganforge.output_files import check_output, make_output_folder, output_file
from ganforge.settings import SettingsError


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def noise(tmp_path_factory) -> Path:
    """A generator that makes images from noise."""
    return write_untrained(tmp_path_factory.mktemp("noise"), "dcgan", features=4, latent_size=8)


def image(path: Path, side: int = 16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(path)
    return path


def put(folder: Path, name: str, *, overwrite: bool = False, content: bytes = b"new") -> None:
    with output_file(folder, name, overwrite=overwrite) as file:
        file.write(content)


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x", "", "a/..", "a\0b"])
def test_a_name_that_leaves_the_folder_is_refused(name, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    for call in (put, lambda f, n: check_output(f, n, overwrite=True)):
        with pytest.raises(SettingsError, match="is not in the folder"):
            call(folder, name)
    assert not list(folder.iterdir()) and sorted(p.name for p in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_is_never_followed(tmp_path, overwrite, dangling):
    (tmp_path / "out").mkdir()
    secret = tmp_path / "secret"
    if not dangling:
        secret.write_text("old")
    (tmp_path / "out" / "a.png").symlink_to(secret)
    with pytest.raises(SettingsError, match=r"a\.png: is a link, and is not replaced"):
        put(tmp_path / "out", "a.png", overwrite=overwrite)
    assert secret.exists() is not dangling and (dangling or secret.read_text() == "old")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="sub: is a link or a file"):
        put(tmp_path / "out", "sub/b.png", overwrite=overwrite)
    with pytest.raises(SettingsError, match="sub: is a link or a file"):
        check_output(tmp_path / "out", "sub/b.png", overwrite=overwrite)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_part_file_follows_no_planted_link(tmp_path, monkeypatch):
    """Even where somebody guesses its name."""
    monkeypatch.setattr(output_files.secrets, "token_hex", lambda size: "guessed")
    secret = tmp_path / "secret"
    secret.write_text("old")
    (tmp_path / ".guessed.part").symlink_to(secret)
    with pytest.raises(FileExistsError):
        put(tmp_path, "a.png")
    assert secret.read_text() == "old"


def test_a_link_that_appears_while_the_file_is_made_is_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("old")
    for overwrite in (False, True):
        name = f"{overwrite}.png"
        with (
            pytest.raises(SettingsError),
            output_file(tmp_path, name, overwrite=overwrite) as file,
        ):
            file.write(b"new")
            (tmp_path / name).symlink_to(secret)
    assert secret.read_text() == "old"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("links", [True, False])
def test_nothing_is_replaced_unasked_also_by_two_at_once(tmp_path, monkeypatch, links):
    if not links:  # a disk without hard links

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(output_files.os, "link", refuse)
    put(tmp_path, "sub/a", content=b"first")
    with pytest.raises(SettingsError, match="exists already; --overwrite replaces it"):
        put(tmp_path, "sub/a")
    with pytest.raises(SettingsError, match="exists already"):
        check_output(tmp_path, "sub/a", overwrite=False)
    with (
        pytest.raises(SettingsError, match="exists already"),
        output_file(tmp_path, "b", overwrite=False) as one,
    ):
        one.write(b"slow")
        put(tmp_path, "b", content=b"fast")
    assert (tmp_path / "b").read_bytes() == b"fast"
    put(tmp_path, "sub/a", overwrite=True)
    assert (tmp_path / "sub/a").read_bytes() == b"new"
    assert not list(tmp_path.rglob(".*"))


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyError), output_file(tmp_path, "s/a", overwrite=False) as file:
        file.write(b"half")
        raise KeyError
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    check_output(tmp_path, "not/made/yet", overwrite=False)
    assert not (tmp_path / "not").exists()
    put(tmp_path, "n" * 255)
    with pytest.raises(SettingsError, match="the last name has 256 bytes"):
        put(tmp_path, "n" * 256)
    umask = os.umask(0o022)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / ("n" * 255)).stat().st_mode) == 0o666 & ~umask
    with pytest.raises(SettingsError, match="is not usable as a folder"):
        make_output_folder(tmp_path / ("n" * 255))
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsError, match="is not a file, and is not replaced"):
        put(tmp_path, "folder", overwrite=True)


# --- each command that writes: an existing file, a planted link, and --overwrite


def _sample(noise: Path, model: Path, out: Path, *more: object) -> int:
    return ganforge("sample", "--model", noise, "--count", 1, "--grid", "--output", out, *more)


def _upscale(noise: Path, model: Path, out: Path, *more: object) -> int:
    given = out.parent / "in" / "a.png"
    if not given.exists():
        image(given)
    return ganforge("upscale", given, "--model", model, "--output", out, *more)


def _export(noise: Path, model: Path, out: Path, *more: object) -> int:
    out.mkdir(exist_ok=True)
    words = ("--model", model, "--format", "torch", "--output", out / "g.pt2")
    return ganforge("export", *words, *more)


def _interpolate(noise: Path, model: Path, out: Path, *more: object) -> int:
    words = ("--model", model, "--toward", model, "--output", out)
    return ganforge("interpolate", *words, *more)


WRITERS: dict[str, tuple[Callable[..., int], str, int]] = {
    "sample": (_sample, "00000.png", 2),
    "sample's grid": (_sample, "grid.png", 2),
    "upscale": (_upscale, "a.png", 1),
    "export": (_export, "g.pt2", 2),
    "interpolate": (_interpolate, "settings.json", 2),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_command_replaces_nothing_and_follows_no_link(name, noise, model, tmp_path, capsys):
    write, file, code = WRITERS[name]
    out = tmp_path / "out"
    out.mkdir()
    (out / file).write_text("mine")
    assert write(noise, model, out) == code
    assert (out / file).read_text() == "mine"
    assert [path.name for path in out.iterdir()] == [file]  # refused before anything is written
    assert "exists already" in capsys.readouterr().err
    (out / file).unlink()
    secret = tmp_path / "secret"
    secret.write_text("old")
    (out / file).symlink_to(secret)
    assert write(noise, model, out, "--overwrite") == code
    assert "is a link, and is not replaced" in capsys.readouterr().err
    assert secret.read_text() == "old"
    (out / file).unlink()
    (out / file).write_text("mine")
    assert write(noise, model, out, "--overwrite") == 0
    assert (out / file).read_bytes()[:4] != b"mine"


def test_export_follows_no_link_in_place_of_its_part_file(noise, model, tmp_path):
    """Its name was known: .NAME.part.pt2."""
    (tmp_path / "out").mkdir()
    secret = tmp_path / "secret"
    secret.write_text("old")
    (tmp_path / "out" / ".g.pt2.part.pt2").symlink_to(secret)
    assert _export(noise, model, tmp_path / "out") == 0
    assert secret.read_text() == "old"


def test_upscale_follows_no_linked_folder_of_results(model, tmp_path, capsys):
    image(tmp_path / "in" / "s" / "a.png")
    image(tmp_path / "in" / "b.png")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "s").symlink_to(tmp_path / "elsewhere")
    words = ("upscale", tmp_path / "in", "--model", model, "--output", tmp_path / "out")
    assert ganforge(*words) == 1
    assert "s: is a link or a file" in capsys.readouterr().err
    assert not list((tmp_path / "elsewhere").iterdir())
    assert (tmp_path / "out" / "b.png").is_file()  # the batch goes on


def test_interpolate_leaves_no_other_stage_to_be_used_instead(model, tmp_path, capsys):
    out = tmp_path / "out"
    (out / "stages" / "7").mkdir(parents=True)
    (out / "stages" / "7" / "generator.safetensors").write_bytes(b"old")
    assert _interpolate(Path(), model, out, "--overwrite") == 2
    assert "of another stage" in capsys.readouterr().err
