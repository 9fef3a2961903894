"""NIQE against closed forms, another resize, and the published implementation."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import ganforge
from PIL import Image
from scipy.special import gamma
from scipy.stats import gennorm, multivariate_normal

from ganforge.inference.benchmark import evaluate_benchmark, means, table
from ganforge.inference.images import read_photo
from ganforge.metrics import niqe as module
from ganforge.metrics.niqe import (
    asymmetric_gaussian,
    block_features,
    halved,
    measurable,
    niqe,
    normalised,
)

SHARED = Path(os.environ.get("GANFORGE_SHARED", Path(__file__).parents[3] / "shared"))
PHOTOS = SHARED / "data/benchmarks/Set14/x2/HR"
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs ../shared/data/benchmarks")


def texture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """(1, 3, H, W) in [-1, 1]: smooth random fields of several sizes, as photographs have them."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(1, 3, height, width)
    for step in (1, 2, 4, 8, 16, 32):
        sides = (height // step + 2, width // step + 2)
        noise = torch.randn(1, 3, *sides, generator=generator) * step**0.9
        total += torch.nn.functional.interpolate(noise, (height, width), mode="bicubic")
    return (total / total.abs().max()).clamp(-1, 1)


@pytest.mark.parametrize("shape", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("sides", [(1.0, 1.0), (0.5, 2.0)])
def test_the_asymmetric_gaussian_is_found_again(shape, sides):
    random = np.random.default_rng(7)
    left, right = sides
    size = np.abs(gennorm.rvs(shape, size=400_000, random_state=random))
    # each side is drawn as often as it is wide, as the density has it
    negative = random.random(size.shape) < left / (left + right)
    drawn = torch.from_numpy(np.where(negative, -left * size, right * size))
    found = [value.item() for value in asymmetric_gaussian(drawn[None])]
    assert found == pytest.approx([shape, left, right], rel=0.03)


def test_the_mean_of_a_product_is_that_of_its_distribution():
    """(right - left) · Γ(2/α) / Γ(1/α) of the fitted parameters, equation 8."""
    features = block_features(module.luma(texture(96, 192))[0])
    assert features.shape == (2, 36)
    for first in (2, 6, 10, 14, 20, 24, 28, 32):
        shape, mean, left, right = features[:, first : first + 4].numpy().T
        assert mean == pytest.approx((right - left) * gamma(2 / shape) / gamma(1 / shape))


def test_halving_equals_pillows_bicubic_reduction():
    plane = module.luma(texture(96, 192))[0]
    found = halved(halved(plane).T).T
    other = Image.fromarray(plane.float().numpy()).resize((96, 48), Image.Resampling.BICUBIC)
    inner = np.s_[3:-3, 3:-3]  # at edges one mirrors and the other leaves out
    assert np.abs(found.numpy()[inner] - np.asarray(other)[inner]).max() < 1e-3
    assert halved(torch.full((8, 3), 7.0, dtype=torch.float64)).tolist() == [[7.0] * 3] * 4


def test_levels_are_normalised_by_a_gaussian_window():
    plane = torch.rand(20, 24, dtype=torch.float64) * 255
    grid = np.stack(np.meshgrid(np.arange(-3, 4), np.arange(-3, 4)), -1)
    weights = multivariate_normal([0, 0], (7 / 6) ** 2).pdf(grid)
    weights /= weights.sum()
    at = np.s_[5 - 3 : 5 + 4, 9 - 3 : 9 + 4]
    window = plane.numpy()[at]
    mean = (weights * window).sum()
    deviation = math.sqrt((weights * (window - mean) ** 2).sum())
    wanted = (plane[5, 9].item() - mean) / (deviation + 1)
    assert normalised(plane)[5, 9].item() == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("level", [-1.0, 0.3, 1.0])
def test_flat_areas_count_for_neither_side(level):
    """So a picture with them has the same value on every machine."""
    flat = torch.full((1, 1, 96, 192), level)
    assert bool((normalised(module.luma(flat)[0].round()) == 0).all())
    assert math.isnan(niqe(flat, 0).item())
    whole = texture(192, 192)
    whole[..., :96, :96] = level
    assert math.isfinite(niqe(whole, 0).item())


def test_the_distance_between_gaussians():
    """Equation 10 by Cholesky factors in place of a pseudo-inverse; 0 from the model to itself."""
    mean, covariance = module._model()
    assert torch.equal(covariance, covariance.T)
    assert torch.linalg.eigvalsh(covariance).min() > 0
    assert module._distance(mean, covariance).item() == 0
    random = torch.Generator().manual_seed(3)
    apart = torch.randn(36, dtype=torch.float64, generator=random) / 10
    factor = torch.linalg.cholesky(covariance)
    wanted = torch.linalg.solve_triangular(factor, apart[:, None], upper=False).norm().item()
    assert module._distance(mean + apart, covariance).item() == pytest.approx(wanted, rel=1e-6)


def test_blocks_are_those_of_the_upper_left():
    images = texture(200, 300)
    assert torch.equal(niqe(images, 0), niqe(images[..., :192, :288], 0))
    assert torch.equal(niqe(images, 4), niqe(images[..., 4:196, 4:292], 0))
    both = torch.cat([images, texture(200, 300, seed=1)])
    assert torch.equal(niqe(both, 0)[:1], niqe(images, 0))


@pytest.mark.parametrize(
    ("sides", "border", "fits"),
    [((96, 192), 0, True), ((96, 191), 0, False), ((95, 960), 0, False), ((98, 194), 1, True),
     ((98, 193), 1, False)],
)  # fmt: skip
def test_two_blocks_are_needed(sides, border, fits):
    assert measurable(*sides, border) == fits
    if not fits:
        with pytest.raises(ValueError, match="NIQE needs 2 blocks of 96 pixels"):
            niqe(texture(*sides), border)


@needs_photos
def test_the_published_implementation_has_the_same_numbers():
    """BasicSR 1.4.2, whose resize is float32: largest and smallest difference of 14 photographs."""
    for name, wanted in (
        ("img_001.png", 5.72957),
        ("img_006.png", 8.49300),
        ("img_010.png", 3.66217),
        ("img_013.png", 5.44766),
    ):
        found = niqe(read_photo(PHOTOS / name).colour[None], 0).item()
        assert found == pytest.approx(wanted, abs=0.005)


@needs_photos
@pytest.mark.parametrize("kind", ["blur", "noise", "blocks"])
def test_what_is_corrupted_more_looks_less_natural(kind):
    image = read_photo(PHOTOS / "img_010.png").colour[None]
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(image.shape, generator=random)
    ladder = [niqe(image, 0).item()]
    for strength in (1, 2, 3):
        if kind == "noise":
            worse = image + 0.1 * strength * noise
        else:
            mode = {"blur": "bicubic", "blocks": "nearest"}[kind]
            sides = [side // 2**strength for side in image.shape[-2:]]
            small = torch.nn.functional.interpolate(image, sides, mode="area")
            worse = torch.nn.functional.interpolate(small, image.shape[-2:], mode=mode)
        ladder.append(niqe(worse.clamp(-1, 1), 0).item())
    assert ladder == sorted(ladder)


def test_means_are_over_the_images_that_have_it(tmp_path):
    """One is too small, one is flat, and the line says of how many images the mean is."""
    flat = torch.full((1, 3, 200, 200), 0.5)
    flat[..., :50, :50] = texture(50, 50)
    for name, high in (("a", texture(200, 200)), ("b", texture(64, 64)), ("c", flat)):
        save(high, tmp_path / f"HR/{name}.png")
        save(torch.nn.functional.avg_pool2d(high, 2), tmp_path / f"LR/{name}.png")
    rows = evaluate_benchmark(None, tmp_path, 2)
    assert [row.niqe is None for row in rows] == [False, True, True]
    assert means(rows).niqe == rows[0].niqe
    caption = str(table(rows, "b").caption)
    assert "1 of 3 images have two blocks of texture" in caption and "nan" not in caption


def save(image: torch.Tensor, path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = ((image[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(levels).save(path)


def test_a_benchmark_and_a_folder_have_the_same_number(tmp_path, capsys):
    high = texture(200, 200)
    save(high, tmp_path / "b/HR/a.png")
    save(torch.nn.functional.avg_pool2d(high, 2), tmp_path / "b/LR/a.png")
    (row,) = evaluate_benchmark(None, tmp_path / "b", 2)
    assert row.niqe == row.niqe_bicubic != row.niqe_original
    save(read_photo(tmp_path / "b/HR/a.png").colour[None, :, 2:-2, 2:-2], tmp_path / "f/a.png")
    save(texture(100, 100), tmp_path / "f/small.png")
    half = torch.ones(1, 3, 96, 192)
    half[..., :96] = texture(96, 96)
    save(half, tmp_path / "f/half.png")
    save(texture(192, 96), tmp_path / "f/below/b.png")
    written = tmp_path / "out.csv"
    assert ganforge("evaluate", "--images", tmp_path / "f", "--output", written) == 1
    printed = capsys.readouterr()
    assert f"{row.niqe_original:.2f}" in printed.out
    assert "small.png: 100 × 100 pixels: NIQE needs two blocks" in printed.err
    assert "half.png: fewer than two blocks of 96 pixels a side have any texture" in printed.err
    names = [line.split(",")[1] for line in written.read_text().splitlines()[1:]]
    assert names == ["a.png", "below/b.png", "mean"]
    assert f"{row.niqe_original}" in written.read_text()
    assert ganforge("evaluate", "--images", tmp_path / "none") == 2
    assert "no such folder" in capsys.readouterr().err
