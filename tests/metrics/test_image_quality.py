"""PSNR and SSIM against closed forms and independent implementations."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from ganforge.data.batch import Batch
from ganforge.metrics.image_quality import luma, measure, psnr, ssim, to_bytes


def random_images(
    count: int, channels: int, height: int, width: int, seed: int = 0
) -> torch.Tensor:
    """Smooth structures with noise, in 8-bit levels of [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 5, 5, generator=generator) * 2 - 1
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    noise = torch.randn(count, channels, height, width, generator=generator) * 0.1
    return to_bytes(smooth + noise).float() / 127.5 - 1


def levels(*values: float) -> torch.Tensor:
    """One pixel with the given 8-bit channels."""
    return torch.tensor(values).reshape(1, -1, 1, 1) / 127.5 - 1


def test_bytes_round_and_clamp():
    every = torch.arange(256)
    assert torch.equal(to_bytes(every.float() / 127.5 - 1), every.to(torch.uint8))
    given = torch.tensor([-7.0, -1.0, -0.997, -0.995, 0.997, 1.0, 7.0, math.inf, math.nan])
    assert to_bytes(given).tolist() == [0, 0, 0, 1, 255, 255, 255, 255, 0]


@pytest.mark.parametrize(
    ("pixel", "expected"),
    [
        ((0, 0, 0), 16.0),
        ((255, 255, 255), 235.0),
        ((255, 0, 0), 16 + 65.481),
        ((0, 255, 0), 16 + 128.553),
        ((0, 0, 51), 16 + 24.966 / 5),
        ((0,), 0.0),
        ((200,), 200.0),
    ],
)
def test_luma_is_studio_swing_and_grey_keeps_its_scale(pixel, expected):
    assert luma(levels(*pixel)).item() == pytest.approx(expected, abs=1e-12)


def test_luma_refuses_other_channels():
    with pytest.raises(ValueError, match="2 channels"):
        luma(torch.zeros(1, 2, 4, 4))


def test_psnr_of_a_constant_offset():
    grey = torch.full((1, 1, 20, 20), 100 / 127.5 - 1)
    brighter = torch.full((1, 1, 20, 20), 107 / 127.5 - 1)
    assert psnr(grey, brighter, 2).item() == pytest.approx(20 * math.log10(255 / 7), abs=1e-9)
    red, redder = levels(90, 30, 40), levels(95, 30, 40)
    offset = 65.481 * 5 / 255
    expected = 20 * math.log10(255 / offset)
    assert psnr(red, redder, 0).item() == pytest.approx(expected, abs=1e-9)


def test_psnr_rounds_to_bytes_and_clamps_first():
    first = random_images(1, 3, 16, 16)
    assert psnr(first, first + 0.4 / 127.5, 0).item() == 100.0
    assert psnr(first, first, 0).item() == 100.0
    beyond = torch.where(first > 0, 5.0, -5.0)
    assert torch.equal(psnr(beyond, first, 0), psnr(beyond.sign(), first, 0))


def test_the_border_counts_for_nothing():
    first, second = random_images(2, 3, 24, 30), random_images(2, 3, 24, 30, seed=1)
    spoilt = second.clone()
    spoilt[..., :4, :] = spoilt[..., -4:, :] = 1
    spoilt[..., :4], spoilt[..., -4:] = 1, 1
    for figure in (psnr, ssim):
        assert torch.equal(figure(first, second, 4), figure(first, spoilt, 4))
        assert not torch.equal(figure(first, second, 3), figure(first, spoilt, 3))


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_equals_two_other_implementations(channels):
    first = random_images(2, channels, 40, 53)
    second = (first + random_images(2, channels, 40, 53, seed=1) * 0.3).clamp(-1, 1)
    ours = ssim(first, second, 2)
    planes = [luma(images)[:, 2:-2, 2:-2] for images in (first, second)]
    for number in range(2):
        one, two = (plane[number].numpy() for plane in planes)
        likeness = structural_similarity(
            one,
            two,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            full=True,
        )[1]
        expected = np.mean(np.asarray(likeness)[5:-5, 5:-5])
        assert ours[number].item() == pytest.approx(expected, abs=1e-9)
    # Without a crop torchmetrics counts the windows over the mirrored edge too.
    _, full = structural_similarity_index_measure(
        planes[0][:, None], planes[1][:, None], data_range=255.0, return_full_image=True
    )
    theirs = full[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))
    assert torch.allclose(ours, theirs, atol=1e-9, rtol=0)


def test_ssim_of_equal_images_is_1_and_of_constant_ones_the_closed_form():
    first = random_images(2, 3, 20, 20)
    assert torch.allclose(ssim(first, first, 1), torch.ones(2, dtype=torch.float64), atol=1e-12)
    dark, bright = (torch.full((1, 1, 11, 11), level / 127.5 - 1) for level in (50, 80))
    c1 = (0.01 * 255) ** 2
    expected = (2 * 50 * 80 + c1) / (50**2 + 80**2 + c1)
    assert ssim(dark, bright, 0).item() == pytest.approx(expected, abs=1e-9)


def test_small_images_are_refused_with_the_size_they_need():
    small = torch.zeros(1, 3, 14, 40)
    with pytest.raises(ValueError, match=r"14 × 40 pixels.* so 15"):
        ssim(small, small, 2)
    ssim(torch.zeros(1, 3, 15, 40), torch.zeros(1, 3, 15, 40), 2)
    with pytest.raises(ValueError, match="at least 1"):
        psnr(small, small, 7)


def test_figures_of_a_image_do_not_depend_on_its_batch():
    target, source = random_images(5, 3, 38, 46), random_images(5, 3, 19, 23, seed=2)
    generated = random_images(5, 3, 38, 46, seed=3)
    together = measure(generated, Batch(target, source), 2)
    assert list(together) == ["psnr", "ssim", "psnr_bicubic", "ssim_bicubic"]
    for number in range(5):
        one = slice(number, number + 1)
        alone = measure(generated[one], Batch(target[one], source[one]), 2)
        for name, figures in together.items():
            assert figures.shape == (5,)
            assert torch.equal(figures[one], alone[name]), name


def test_measure_leaves_ssim_out_of_tiny_images():
    found = measure(
        torch.zeros(2, 3, 8, 8), Batch(torch.ones(2, 3, 8, 8), torch.ones(2, 3, 4, 4)), 2
    )
    assert list(found) == ["psnr", "psnr_bicubic"]
    assert found["psnr_bicubic"].tolist() == [100.0, 100.0]


def test_measure_names_what_is_wrong():
    target = torch.zeros(1, 3, 32, 32)
    with pytest.raises(ValueError, match="no source"):
        measure(target, Batch(target), 2)
    with pytest.raises(ValueError, match="another shape"):
        measure(target, Batch(target, torch.zeros(1, 3, 8, 8)), 2)


def test_what_is_not_a_number_shows_in_the_figures():
    target = random_images(2, 3, 24, 24)
    broken = target.clone()
    broken[0, 0, 12, 12] = math.nan
    assert psnr(broken, target, 2).isnan().tolist() == [True, False]
    assert ssim(broken, target, 2).isnan().tolist() == [True, False]
