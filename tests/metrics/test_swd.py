"""Sliced Wasserstein distance: the pyramid, the one-dimensional distance, and what it notices."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from torch.nn import functional as F

from ganforge.metrics.swd import (
    descriptors,
    normalised,
    num_levels,
    projected_distance,
    pyramid,
    sliced_wasserstein,
)


def random_images(count: int, height: int, width: int, channels: int = 3) -> list[torch.Tensor]:
    """Noise of every scale, (C, H, W) in [-1, 1]."""
    generator = torch.Generator().manual_seed(5)
    made = torch.zeros(count, channels, height, width)
    for cell in (1, 2, 4, 8, 16):
        sides = (-(-height // cell), -(-width // cell))
        noise = torch.randn(count, channels, *sides, generator=generator)
        made += F.interpolate(noise, scale_factor=cell)[..., :height, :width]
    return list((made / 5).clamp(-1, 1))


def described(images: list[torch.Tensor], *parts: str, per_level: int = 128):
    return [descriptors(p, *parts, number, per_level=per_level) for number, p in enumerate(images)]


@pytest.mark.parametrize(
    ("side", "levels"),
    [(512, 6), (256, 5), (32, 2), (31, 2), (30, 1), (16, 1), (8, 1), (7, 1), (6, 0), (4, 0)],
)
def test_levels_go_down_to_16_pixels(side, levels):
    assert num_levels(side) == levels


@pytest.mark.parametrize(("height", "width"), [(64, 48), (37, 50), (33, 35)])
def test_the_pyramid_is_that_of_the_paper_and_adds_up(height, width):
    (image,) = random_images(1, height, width)
    row = np.array([1, 4, 6, 4, 1]) / 16
    kernel = np.outer(row, row)
    planes = image.double().numpy()
    expected = []
    for _ in range(2):
        coarser = np.stack([convolve(p, kernel, mode="mirror")[::2, ::2] for p in planes])
        spread = np.zeros_like(planes)
        spread[:, ::2, ::2] = coarser
        enlarged = np.stack([convolve(p, 4 * kernel, mode="mirror") for p in spread])
        expected.append(planes - enlarged)
        planes = coarser
    expected.append(planes)
    found = pyramid(image.double(), 3)
    for ours, theirs in zip(found, expected, strict=True):
        assert np.allclose(ours.numpy(), theirs, atol=1e-12)


def test_a_constant_image_has_empty_bands():
    *bands, rest = pyramid(torch.full((3, 64, 64), 0.5), 3)
    assert max(band.abs().max().item() for band in bands) < 1e-6
    assert torch.allclose(rest, torch.tensor(0.5))


def test_descriptors_are_patches_of_the_levels():
    (image,) = random_images(1, 16, 20)
    (found,) = descriptors(image, "seed", per_level=50)
    assert found.shape == (50, 3 * 49)
    patches = F.unfold(image[None], 7)[0].T  # every patch there is, channel by channel
    same = (found[:, None] == patches).all(dim=2)
    assert same.any(dim=1).all()
    assert same.any(dim=0).sum() > 30


def test_descriptors_depend_on_their_parts_alone():
    (image,) = random_images(1, 64, 64)
    first = descriptors(image, 1, "real", 0)
    torch.rand(3)
    again = descriptors(image, 1, "real", 0)
    other = descriptors(image, 1, "real", 1)
    assert len(first) == num_levels(64) == 3
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_channels_are_normalised_over_the_whole_set():
    points = torch.randn(200, 3 * 49) * 5 + 3
    points[:, 49:98] = 0.25  # a constant channel
    channels = normalised(points).reshape(200, 3, 49)
    assert torch.allclose(channels.mean(dim=(0, 2)), torch.zeros(3), atol=1e-5)
    spread = channels.std(dim=(0, 2), unbiased=False)
    assert torch.allclose(spread, torch.tensor([1.0, 0.0, 1.0]), atol=1e-5)


def test_the_projected_distance_of_a_shift_is_its_projection():
    points = torch.randn(100, 6, dtype=torch.float64)
    shift = torch.randn(6, dtype=torch.float64)
    directions = F.normalize(torch.randn(6, 9, dtype=torch.float64), dim=0)
    shuffled = (points + shift)[torch.randperm(100)]
    found = projected_distance(points, shuffled, directions)
    assert torch.allclose(found, (shift @ directions).abs().mean(), atol=1e-12)
    line = torch.tensor([[0.0], [1.0]])
    assert projected_distance(line, torch.tensor([[5.0], [3.0]]), torch.ones(1, 1)).item() == 3.5


def test_equal_sets_have_distance_0_and_levels_have_names():
    real = described(random_images(3, 64, 80), "seed")
    found = sliced_wasserstein(real, real, "seed")
    assert found == {"level0": 0.0, "level1": 0.0, "level2": 0.0, "mean": 0.0}


def test_a_blur_shows_at_the_finest_level():
    sharp = random_images(6, 128, 128)
    blurred = [F.avg_pool2d(p[None], 3, 1, 1, count_include_pad=False)[0] for p in sharp]
    found = sliced_wasserstein(described(sharp, "a"), described(blurred, "a"), "s")
    assert found["level0"] > 3 * found["level2"] > 3 * found["level3"]
    levels = [value for name, value in found.items() if name != "mean"]
    assert found["mean"] == pytest.approx(sum(levels) / 4)


def test_other_textures_are_further_than_other_patches_of_the_same():
    smooth = [torch.sin(p.cumsum(1).cumsum(2) / 9) for p in random_images(6, 64, 64)]
    rough = random_images(6, 64, 64)
    first, again, other = (
        described(images, name, per_level=400)
        for images, name in ((rough, "a"), (rough, "b"), (smooth, "b"))
    )
    same = sliced_wasserstein(first, again, "s")["level0"]
    assert 0 < 1.5 * same < sliced_wasserstein(first, other, "s")["level0"]


def test_distances_depend_on_the_seed_parts_alone():
    real, fake = (described(random_images(2, 32, 32), name) for name in ("a", "b"))
    first = sliced_wasserstein(real, fake, 1, "swd")
    torch.rand(3)
    assert sliced_wasserstein(real, fake, 1, "swd") == first
    assert sliced_wasserstein(real, fake, 2, "swd") != first
    assert sliced_wasserstein(fake, real, 1, "swd") == pytest.approx(first)


def test_images_of_several_sizes_are_compared_on_the_levels_they_share():
    large, small = random_images(1, 128, 128)[0], random_images(1, 64, 50)[0]
    apart = [descriptors(large, "a"), descriptors(small, "a")]
    assert [len(image) for image in apart] == [4, 2]
    assert list(sliced_wasserstein(apart, apart, "s")) == ["level0", "mean"]
    depth = num_levels(50)
    told = [descriptors(p, "a", levels=depth) for p in (large, small)]
    assert list(sliced_wasserstein(told, told, "s")) == ["level0", "level1", "mean"]
    with pytest.raises(ValueError, match="levels = 3: an image of 64 × 50 pixels has 2"):
        descriptors(small, "a", levels=3)


def test_images_without_a_level_have_no_distance():
    tiny = described(random_images(2, 4, 4), "a")
    assert sliced_wasserstein(tiny, tiny, "s") == {}
    small = described(random_images(2, 8, 8, 1), "a")
    assert list(sliced_wasserstein(small, small, "s")) == ["level0", "mean"]


def test_unequal_sets_are_refused():
    real, fake = described(random_images(2, 16, 16), "a"), described(random_images(3, 16, 16), "a")
    with pytest.raises(ValueError, match="equally many images"):
        sliced_wasserstein(real, fake, "s")
