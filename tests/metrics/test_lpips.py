"""LPIPS: the numbers are torchmetrics'; only the right weights are used, and what is missing is
said."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.models
from command_line import ganforge
from PIL import Image
from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

from ganforge.metrics import lpips as module
from ganforge.metrics.lpips import load_lpips
from ganforge.settings import SettingsError


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    """Random weights of AlexNet where torchvision keeps its own."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    published = torchvision.models.AlexNet_Weights.IMAGENET1K_V1
    path = tmp_path / "hub" / "checkpoints" / Path(published.url).name
    path.parent.mkdir(parents=True)
    torch.manual_seed(1)
    torch.save(torchvision.models.alexnet(weights=None).state_dict(), path)
    return path


@pytest.fixture
def accepted(weights, monkeypatch) -> None:
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    monkeypatch.setattr(module.re, "findall", lambda *_: [digest[:8]])


def test_the_distance_is_torchmetrics_of_images_in_8_bits(accepted):
    distance = load_lpips("alex")
    random = torch.Generator().manual_seed(2)
    levels = torch.randint(0, 256, (2, 3, 64, 80), generator=random)
    first, second = levels.float() / 127.5 - 1
    wanted = learned_perceptual_image_patch_similarity(first[None], second[None], "alex").item()
    assert distance(first, second) == pytest.approx(wanted, rel=1e-6)
    assert distance(first + 0.4 / 127.5, second) == distance(first, second)
    assert distance(first, first) == 0
    grey = first[:1]
    assert distance(grey, second) == distance(grey.expand(3, -1, -1), second)


def test_evaluate_measures_it(accepted, tmp_path, capsys):
    random = np.random.default_rng(0)
    for part, side in (("HR", 128), ("LR", 64)):
        (tmp_path / "b" / part).mkdir(parents=True)
        image = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / "b" / part / "a.png")
    words = ("evaluate", "--benchmark", tmp_path / "b", "--output", tmp_path / "m.csv")
    assert ganforge(*words, "--lpips", "alex") == 0
    assert "LPIPS bicubic 0." in capsys.readouterr().out
    names, row, _ = (line.split(",") for line in (tmp_path / "m.csv").read_text().splitlines())
    found = dict(zip(names, row, strict=True))
    assert found["lpips"] == found["lpips_bicubic"] and float(found["lpips"]) > 0


def test_another_file_is_refused(weights):
    with pytest.raises(SettingsError, match=r"alexnet-owt-7be5be79\.pth has the sha256 .* delete"):
        load_lpips("alex")


def test_what_is_missing_is_said(weights, monkeypatch, capsys):
    weights.unlink()

    def offline(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(SettingsError, match=r"of alexnet are unavailable .*no route.*put https"):
        load_lpips("alex")
    assert ganforge("evaluate", "--benchmark", "b", "--lpips", "resnet") == 2
    assert "must be one of alex, vgg, squeeze" in capsys.readouterr().err
