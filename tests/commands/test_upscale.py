"""`ganforge upscale`, `evaluate` and `export` from the options to the files written."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from generators import small_model, write_folder
from PIL import Image
from safetensors import safe_open

from ganforge.assets import from_path
from ganforge.commands.cli import main
from ganforge.commands.models import find_model
from ganforge.inference.tiles import upscale
from ganforge.metrics.image_quality import to_bytes
from ganforge.systems.progressive_gan_sr import ProgressiveGANSR


def ganforge(*arguments: object, code: int = 0) -> None:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert (left.value.code or 0) == code


def make_image(
    path: Path, height: int = 40, width: int = 50, mode: str = "RGB", **more
) -> Image.Image:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(noise).convert(mode)
    image.save(path, **more)
    return image


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("model"))


def test_a_folder_in_tiles_and_whole(model, tmp_path, capsys):
    image = make_image(tmp_path / "in" / "a.png")
    make_image(tmp_path / "in" / "a.bmp")
    make_image(tmp_path / "in" / "s" / "g.png", mode="LA")
    exif = Image.Exif()
    exif[0x0112] = 6
    make_image(tmp_path / "in" / "s" / "turned.png", exif=exif)
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG")
    arguments = ("upscale", tmp_path / "in", "--model", model)
    ganforge(*arguments, "--output", tmp_path / "out", code=1)
    printed = capsys.readouterr()
    assert "4 of 5 images" in printed.out and "broken.png" in printed.err
    names = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")}
    assert names == {"a.png.png", "a.bmp.png", "s/g.png", "s/turned.png"}
    levels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1
    expected = to_bytes(upscale(small_model().network, levels)).permute(1, 2, 0).numpy()
    with Image.open(tmp_path / "out" / "a.png.png") as made:
        assert np.abs(np.asarray(made).astype(int) - expected).max() <= 1
    with Image.open(tmp_path / "out" / "s" / "g.png") as made:
        assert (made.mode, made.size) == ("LA", (100, 80))
    with Image.open(tmp_path / "out" / "s" / "turned.png") as made:
        assert made.size == (80, 100) and not made.getexif()

    (tmp_path / "in" / "broken.png").unlink()
    ganforge(*arguments, "--output", tmp_path / "tiles", "--tile", 16)
    for name in names:
        with (
            Image.open(tmp_path / "out" / name) as one,
            Image.open(tmp_path / "tiles" / name) as two,
        ):
            assert np.abs(np.asarray(one).astype(int) - np.asarray(two)).max() <= 1
    ganforge(*arguments, "--output", tmp_path / "tiles", code=1)
    assert capsys.readouterr().err.count("exists already; --overwrite") == 4
    ganforge(*arguments, "--output", tmp_path / "tiles", "--overwrite")
    ganforge(*arguments, "--output", tmp_path / "in", "--overwrite", code=1)  # g.png, turned.png
    assert capsys.readouterr().err.count("would be overwritten by its own result") == 2


def test_formats_and_what_they_cannot_keep(model, tmp_path, capsys):
    clear = make_image(tmp_path / "a.png", mode="RGBA")
    clear.putalpha(100)  # WebP drops an alpha that is 255 everywhere
    clear.save(tmp_path / "a.png")
    deep = np.arange(400, dtype=np.uint16).reshape(20, 20) * 100
    Image.fromarray(deep).save(tmp_path / "d.png")
    arguments = ("--model", model, "--output", tmp_path / "out")
    ganforge("upscale", tmp_path / "a.png", *arguments, "--format", "jpg", code=1)
    ganforge("upscale", tmp_path / "d.png", *arguments, "--format", "webp", code=1)
    assert re.search(r"has alpha.*\n.*16 bits", capsys.readouterr().err)
    ganforge("upscale", tmp_path / "a.png", *arguments, "--format", "webp")
    ganforge("upscale", tmp_path / "d.png", *arguments)
    with Image.open(tmp_path / "out" / "a.webp") as made:
        assert (made.mode, made.size) == ("RGBA", (100, 80))
    with Image.open(tmp_path / "out" / "d.png") as made:
        assert made.mode == "I;16" and len(np.unique(np.asarray(made))) > 256


def test_bad_options_get_one_line(model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_image(tmp_path / "a.png")
    for arguments, message in (
        (
            ("--model", "no/such", "--output", "o"),
            "no such file or folder, and not the id of a run",
        ),
        (("--model", model, "--output", "o", "--format", "gif"), "--format gif: must be png, jpg"),
        (("--model", model, "--output", "a.png"), "--output a.png: is not usable as a folder"),
        (("--model", model, "--output", "o", "--stage", "0"), "has stages 1"),
        (("--model", tmp_path, "--output", "o"), "no generator.safetensors is below it"),
    ):
        ganforge("upscale", "a.png", *arguments, code=2)
        assert message in capsys.readouterr().err
    monkeypatch.setattr(ProgressiveGANSR, "takes", "latent")
    ganforge("upscale", "a.png", "--model", model, "--output", "o", code=2)
    assert "makes images from noise" in capsys.readouterr().err
    assert not (tmp_path / "mlflow.db").exists()


def test_evaluate_prints_the_model_or_bicubic_alone(model, tmp_path, capsys):
    high = make_image(tmp_path / "HR" / "a.png", 40, 48)
    (tmp_path / "LR").mkdir()
    high.resize((24, 20), Image.Resampling.BICUBIC).save(tmp_path / "LR" / "a.png")
    ganforge("evaluate", "--model", model, "--benchmark", tmp_path)
    assert "gain" in capsys.readouterr().out
    ganforge("evaluate", "--benchmark", tmp_path)
    printed = capsys.readouterr().out
    assert "bicubic × 2" in printed and "gain" not in printed
    grey = write_folder(tmp_path / "grey", channels=1)
    ganforge("evaluate", "--model", grey, "--benchmark", tmp_path)
    assert "gain" in capsys.readouterr().out


def test_export_writes_a_checked_file(model, tmp_path, capsys):
    file = tmp_path / "g.pt2"
    ganforge("export", "--model", model, "--format", "torch", "--output", file)
    assert "differs from torch by at most" in capsys.readouterr().out
    program = torch.export.load(file).module()
    for shape in ((1, 3, 9, 31), (4, 3, 32, 18), (1, 3, 1, 1)):
        images = torch.rand(shape, generator=torch.manual_seed(0)) * 2 - 1
        assert (program(images) - upscale(small_model().network, images)).abs().max() < 1e-5
    ganforge("export", "--model", model, "--format", "torch", "--output", file, code=2)
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["g.pt2"]


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_weights_are_exported_with_what_they_are(model, tmp_path, kind, capsys):
    file = tmp_path / f"generator.{kind}"
    ganforge("export", "--model", model, "--format", kind, "--output", str(file))
    assert "read back without a difference" in capsys.readouterr().out
    if kind == "safetensors":
        with safe_open(file, "pt") as found:
            about = found.metadata()
    else:
        about = torch.load(file, weights_only=True)["about"]
    assert about["system"] == "progressive_gan_sr" and about["scale"] == "2"
    assert json.loads(about["settings"])["settings"]["width"]
    tensors = from_path(str(file), "key")
    assert tensors.keys() == find_model(str(model), None).model.network.state_dict().keys()
