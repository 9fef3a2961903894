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
    monkeypatch.setattr(module, "named_hash", lambda path: digest[:8])


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


@pytest.mark.parametrize("name", module._NETWORKS)
def test_the_names_of_the_files_have_the_hash(name):
    published = getattr(torchvision.models, module._NETWORKS[name][1]).IMAGENET1K_V1
    digits = module.named_hash(Path(published.url))
    assert len(digits) == 8 and int(digits, 16)


def test_evaluate_measures_it(accepted, tmp_path, capsys):
    random = np.random.default_rng(0)
    for part, sides in (("HR", (128, 62)), ("LR", (64, 31))):
        (tmp_path / "b" / part).mkdir(parents=True)
        for name, side in zip("ab", sides, strict=True):
            image = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / "b" / part / f"{name}.png")
    words = ("evaluate", "--benchmark", tmp_path / "b", "--output", tmp_path / "m.csv")
    assert ganforge(*words, "--lpips", "alex") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "LPIPS (alex) bicubic 0." in printed and "1 of 2 images are large enough" in printed
    names, row, small, _ = (
        line.split(",") for line in (tmp_path / "m.csv").read_text().splitlines()
    )
    found = dict(zip(names, row, strict=True))
    assert found["lpips"] == found["lpips_bicubic"] and float(found["lpips"]) > 0
    assert found["lpips_network"] == "alex"
    assert not dict(zip(names, small, strict=True))["lpips"]  # and its PSNR is there
    assert dict(zip(names, small, strict=True))["psnr"]


def test_a_network_is_measured_next_to_bicubic(accepted):
    """The last depth needs 63 pixels a side, which `LEAST_SIDE` grants."""
    lpips = load_lpips("alex")
    random = torch.Generator().manual_seed(4)
    first = torch.rand(3, 64, 64, generator=random) * 2 - 1
    assert lpips(first, -first) > lpips(first, 0.9 * first) > 0


def test_a_file_with_code_in_it_is_not_opened(weights, accepted):
    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    torch.save({"a": Evil()}, weights)
    with pytest.raises(SettingsError, match=r"unavailable .*UnpicklingError"):
        load_lpips("alex")


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
