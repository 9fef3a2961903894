"""Degradations of low-resolution images."""

import io
import itertools

import numpy as np
import pytest
import torch
from conftest import Open, noise
from PIL import Image, ImageFilter

from ganforge.data.degrade import degrade, degraded_window
from ganforge.data.settings import Degradation
from ganforge.settings import SettingsError, validated


def smooth(height: int = 64, width: int = 48) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    levels = 128 + 80 * np.sin(x / 7)[..., None] * np.cos(y[..., None] / np.array([5, 9, 12]))
    return levels.astype(np.uint8)


def plain(pixels: np.ndarray, scale: int) -> np.ndarray:
    image = Image.fromarray(pixels)
    size = (image.width // scale, image.height // scale)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_without_options_it_is_the_bicubic_reduction(scale):
    pixels = noise(0, 48, 36)
    assert np.array_equal(degrade(pixels, scale, Degradation(), 1), plain(pixels, scale))
    assert not Degradation().active


def test_blur_is_gaussian_before_the_reduction():
    how = Degradation(blur=(1.5, 1.5))
    blurred = np.asarray(Image.fromarray(smooth()).filter(ImageFilter.GaussianBlur(1.5)))
    assert how.active
    assert np.array_equal(degrade(smooth(), 2, how, 1), plain(blurred, 2))


def test_noise_has_the_deviation_that_was_asked_for():
    pixels = np.full((256, 256, 3), 128, np.uint8)
    low = degrade(pixels, 2, Degradation(noise=(10.0, 10.0)), 1).astype(float)
    assert abs(low.std() - 10) < 0.2 and abs(low.mean() - 128) < 0.3
    drawn = [degrade(pixels, 2, Degradation(noise=(0.0, 20.0)), n).std() for n in range(40)]
    assert min(drawn) < 4 and max(drawn) > 16 and abs(np.mean(drawn) - 10) < 3


def test_compression_is_jpegs():
    low = Image.fromarray(plain(smooth(), 2))
    file = io.BytesIO()
    low.save(file, "JPEG", quality=30)
    expected = np.asarray(Image.open(file).convert("RGB"))
    assert np.array_equal(degrade(smooth(), 2, Degradation(jpeg=(30.0, 30.0)), 1), expected)


def test_draws_depend_on_the_given_parts_alone():
    how = Degradation(blur=(0.0, 3.0), noise=(0.0, 20.0), jpeg=(20.0, 90.0))
    pixels = noise(1, 40, 40)
    one = degrade(pixels, 2, how, 3, "sample", 0, 7)
    assert np.array_equal(one, degrade(pixels, 2, how, 3, "sample", 0, 7))
    assert not np.array_equal(one, degrade(pixels, 2, how, 3, "sample", 0, 8))


def test_grey_images_keep_their_channel():
    how = Degradation(blur=(1.0, 1.0), noise=(5.0, 5.0), jpeg=(50.0, 50.0))
    assert degrade(noise(1, 40, 40, 1)[..., None], 2, how, 1).shape == (20, 20, 1)


def test_a_window_has_no_border_of_its_own():
    how = Degradation(blur=(1.0, 1.0))
    whole = degrade(smooth(), 2, how, 1).astype(int)
    for top, left in ((0, 0), (9, 7), (16, 8)):
        part = degraded_window(smooth(), top, left, 16, 2, how, 1).astype(int)
        assert part.shape == (16, 16, 3)
        assert abs(part - whole[top : top + 16, left : left + 16]).max() <= 1


@pytest.mark.parametrize("how", [{"noise": (8.0, 8.0)}, "strong"], ids=["noise", "strong"])
@pytest.mark.parametrize("view", ["resize", "crop"])
def test_sources_alone_are_degraded(opened: Open, view: str, how: dict | str) -> None:
    clean, found = opened(view=view), opened(view=view, degradation=how)
    again = opened(view=view, degradation=how, prefetch=False)
    batches = [
        [data.batch(*key) for data in (clean, found, again)]
        for key in itertools.product((0, 1), range(2), range(2))
    ]
    batches += [[data.validation(0, 0) for data in (clean, found, again)]]
    batches += [[data.samples(1) for data in (clean, found, again)]]
    for one, other, same in batches:
        assert torch.equal(one.target, other.target)
        assert one.source is not None and other.source is not None and same.source is not None
        assert not torch.equal(one.source, other.source)
        if how != "strong":
            assert 3 < ((one.source - other.source) * 127.5).std().item() < 12
        assert torch.equal(other.source, same.source)


def test_turns_hold_for_both_sides(opened: Open) -> None:
    for view in ("resize", "crop"):
        data = opened(view=view, rotate=True, horizontal_flip=False)
        straight = opened(view=view, horizontal_flip=False)
        turns = set()
        for step in range(12):
            one, other = straight.batch(0, step, 0), data.batch(0, step, 0)
            assert one.source is not None and other.source is not None
            for row in range(len(one)):
                turn = [
                    k
                    for k in range(4)
                    if torch.equal(other.target[row], one.target[row].rot90(k, (1, 2)))
                ]
                assert len(turn) == 1
                expected = one.source[row].rot90(turn[0], (1, 2))
                assert torch.equal(other.source[row], expected)
                turns |= set(turn)
        assert turns == {0, 1, 2, 3}


def test_mistakes_are_named():
    with pytest.raises(SettingsError, match=r"jpeg\.0 = 0\.0: must be from 1 to 100"):
        validated(Degradation, {"jpeg": (0, 50)})
    with pytest.raises(SettingsError, match=r"blur\.1 = -1\.0: must be from 0 to 32"):
        validated(Degradation, {"blur": (0, -1)})
