"""Degradations of practice: kernels and noises against their formulas, and how they are drawn."""

import runpy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.special
import torch
from conftest import noise
from PIL import Image

from ganforge.commands.configure import CliOptions, configure
from ganforge.data.degradation_settings import DEGRADATIONS, Degradation, SecondPass
from ganforge.data.degradation_steps import (
    Anisotropic,
    Compression,
    Gaussian,
    GaussianNoise,
    PoissonNoise,
    Resize,
    Sinc,
)
from ganforge.data.degrade import MARGIN, degrade, degraded_window, margin_of, steps
from ganforge.data.images import to_image, to_pixels
from ganforge.data.kernels import SINC_RADIUS, averaged, convolve, gaussian_kernel, sinc_kernel
from ganforge.settings import SettingsError, override, read_json, to_json, validated
from ganforge.systems.srgan import Settings

NAMES = ("bicubic", "mild", "strong")


def named(name: str) -> Degradation:
    return Degradation.model_validate(name)


def field(height: int, width: int, channels: int = 3) -> np.ndarray:
    """A smooth image, which no reduction aliases."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 23 + c) * np.cos(y / (29 + c)) for c in range(channels)]
    return (128 + 90 * np.stack(waves, -1)).astype(np.uint8)


# Kernels


@pytest.mark.parametrize(
    ("along", "across", "angle"), [(2.0, 2.0, 0.0), (3.0, 0.8, 0.5), (1.0, 2.5, 2.2)]
)
def test_a_gaussian_kernel_has_the_covariance_that_is_asked_for(along, across, angle):
    kernel = gaussian_kernel(along, across, angle)
    radius = kernel.shape[0] // 2
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    points = np.stack([x.ravel(), y.ravel()])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    expected = turn @ np.diag([along**2, across**2]) @ turn.T
    assert abs(kernel.sum() - 1) < 1e-12 and kernel.min() >= 0
    assert np.allclose(points * kernel.ravel() @ points.T, expected, atol=0.002 * expected.max())


@pytest.mark.parametrize("cutoff", [1 / 3, 0.7, 1.0])
def test_a_sinc_kernel_is_the_formula(cutoff):
    kernel, omega = sinc_kernel(cutoff), cutoff * np.pi
    y, x = np.mgrid[-SINC_RADIUS : SINC_RADIUS + 1, -SINC_RADIUS : SINC_RADIUS + 1]
    distance = np.hypot(x, y)
    distance[SINC_RADIUS, SINC_RADIUS] = 1e-9  # its limit is omega²/4π
    expected = omega / (2 * np.pi * distance) * scipy.special.j1(omega * distance)
    assert np.allclose(kernel, expected / expected.sum(), atol=1e-9)
    assert abs(kernel.sum() - 1) < 1e-12


def test_a_sinc_keeps_low_frequencies_and_stops_high_ones():
    low, high = (
        np.tile(128 + 100 * np.sin(2 * np.pi * np.arange(96) / n), (96, 1)) for n in (24, 4)
    )
    for wave, keeps in ((low, True), (high, False)):
        pixels = wave.round().astype(np.uint8)[..., None]
        inside = convolve(pixels, sinc_kernel(0.33))[24:72, 24:72].astype(float)
        assert (inside.std() > 60) == keeps and (keeps or inside.std() < 8)


@pytest.mark.parametrize("sides", [(31, 44), (48, 48)])
def test_convolution_is_the_sum_over_neighbours(sides):
    pixels, kernel = noise(0, *sides), gaussian_kernel(1.6, 0.7, 0.6)
    radius = kernel.shape[0] // 2
    padded = np.pad(pixels.astype(float), ((radius, radius), (radius, radius), (0, 0)), "edge")
    expected = np.zeros(pixels.shape)
    for (row, column), weight in np.ndenumerate(kernel):
        expected += weight * padded[row : row + sides[0], column : column + sides[1]]
    assert abs(convolve(pixels, kernel) - expected).max() <= 0.501


@pytest.mark.parametrize("sides", [(7, 5), (30, 24), (23, 17), (64, 71)])
def test_areas_are_averaged_with_parts_of_pixels(sides):
    pixels = noise(3, 30, 24)
    weights = []
    for old, new in zip(pixels.shape[:2], sides, strict=True):
        first, last = (np.arange(new + 1) * old / new)[:-1], (np.arange(new + 1) * old / new)[1:]
        covered = np.minimum(last[:, None], np.arange(1, old + 1)) - np.maximum(
            first[:, None], np.arange(old)
        )
        weights.append(covered.clip(0) * new / old)
    expected = np.einsum("ai,bj,ijc->abc", *weights, pixels.astype(float))
    assert abs(averaged(pixels, *sides) - expected).max() <= 0.501


# Noise and compression


def test_noise_of_one_deviation_and_of_counted_light():
    for level in (32, 128, 200):
        grey = to_image(np.full((256, 256, 3), level, np.uint8))
        gaussian = to_pixels(GaussianNoise(9.0, False, 1)(grey)).astype(float)
        assert abs(gaussian.std() - 9) < 0.15 and abs(gaussian.mean() - level) < 0.2
        poisson = to_pixels(PoissonNoise(9.0, False, 1)(grey)).astype(float)
        # variance proportional to the level, 9² at 128; 1/12 is that of rounding
        assert poisson.var() == pytest.approx(81 * level / 128 + 1 / 12, rel=0.03)
        assert abs(poisson.mean() - level) < 0.2


@pytest.mark.parametrize("kind", [GaussianNoise, PoissonNoise])
def test_grey_noise_is_the_same_in_all_channels(kind):
    image = to_image(np.full((64, 64, 3), 128, np.uint8))
    grey, colour = (to_pixels(kind(6.0, grey, 3)(image)).astype(int) for grey in (True, False))
    assert np.array_equal(grey[..., 0], grey[..., 1]) and np.array_equal(grey[..., 0], grey[..., 2])
    assert abs(np.corrcoef(colour[..., 0].ravel(), colour[..., 1].ravel())[0, 1]) < 0.1
    one = to_image(np.full((64, 64, 1), 128, np.uint8))
    assert to_pixels(kind(6.0, True, 3)(one)).std() == pytest.approx(6, rel=0.1)


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_compression_loses_more_at_lower_quality(format, channels):
    pixels = (field(64, 64, channels) // 2 + noise(0, 64, 64, 3)[..., :channels] // 8).astype(
        np.uint8
    )
    errors = []
    for quality in (95, 60, 20):
        found = to_pixels(Compression(format, quality)(to_image(pixels)))
        assert found.shape == pixels.shape
        errors.append(np.square(found.astype(float) - pixels).mean())
    assert 0 < errors[0] < errors[1] < errors[2]


# What is drawn


def kinds(how: Degradation, samples: int = 400) -> list[list[str]]:
    return [[type(step).__name__ for step in steps(how, 1, "sample", n)] for n in range(samples)]


def test_a_probability_of_0_is_never_and_of_1_always():
    for name in ("mild", "strong"):
        off = {"blur_probability": 0, "noise_probability": 0, "compression_probability": 0,
               "resize_probability": 0, "filters": ("bicubic",)}  # fmt: skip
        how = override(named(name), {**off, "last_sinc": 0, "second.probability": 0})
        assert not how.active
        assert all(drawn == ["Resize", "Resize"] for drawn in kinds(how))
        pixels = noise(2, 48, 40)
        plain = np.asarray(Image.fromarray(pixels).resize((10, 12), Image.Resampling.BICUBIC))
        assert np.array_equal(degrade(pixels, 4, how, 1), plain)
    on = override(named("strong"), {"sinc": 1, "anisotropic": 0, "poisson": 1, "webp": 1})
    first = ["Sinc", "Resize", "PoissonNoise", "Compression"]
    assert all(drawn[:4] == first for drawn in kinds(on))


def test_kinds_are_drawn_as_often_as_asked_for():
    drawn = kinds(named("strong"), 2000)
    first = [names[0] for names in drawn]
    for kind, part in (("Sinc", 0.1), ("Anisotropic", 0.28), ("Gaussian", 0.62)):
        assert first.count(kind) / len(first) == pytest.approx(part, abs=0.04)
    last = [names[-1] for names in drawn]
    assert last.count("Compression") / len(last) == pytest.approx(0.5, abs=0.05)
    sinc = [names[-2:].count("Sinc") for names in drawn]
    assert np.mean(sinc) == pytest.approx(0.8, abs=0.05)
    twice = kinds(override(named("strong"), {"second.probability": 0.3}), 1000)
    assert np.mean([names.count("Resize") == 3 for names in twice]) == pytest.approx(0.3, abs=0.05)


def test_a_setting_of_one_step_leaves_the_draws_of_the_others():
    how = named("strong")
    changed = override(how, {"noise_probability": 0.0, "second.webp": 1.0})
    for number in range(50):
        drawn = [steps(one, 5, number) for one in (how, changed)]
        kept = [
            [step for step in one if isinstance(step, Gaussian | Anisotropic | Sinc | Resize)]
            for one in drawn
        ]
        assert kept[0] == kept[1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("scale", "channels"), [(2, 3), (3, 1), (4, 3)])
def test_sides_are_exact_and_draws_depend_on_parts_alone(name, scale, channels):
    pixels = field(18 * scale, 13 * scale, channels)
    low = pixels
    for number in range(6):
        low = degrade(pixels, scale, named(name), 3, number)
        assert low.shape == (18, 13, channels) and low.dtype == np.uint8
        threads = torch.get_num_threads()
        torch.set_num_threads(2)
        again = degrade(pixels, scale, named(name), 3, number)
        torch.set_num_threads(threads)
        assert np.array_equal(low, again)
    assert name == "bicubic" or not np.array_equal(low, degrade(pixels, scale, named(name), 4, 5))


# Where things lie


def centre(pixels: np.ndarray) -> np.ndarray:
    """Centre of mass of what is brighter than the ground, in parts of the sides."""
    weights = np.clip(pixels.astype(float).mean(-1) - 30, 0, None)
    axes = [(np.arange(side) + 0.5) / side for side in weights.shape]
    return np.array([(weights.sum(1 - n) * axes[n]).sum() / weights.sum() for n in range(2)])


def blob(side: int = 192, at: Sequence[float] = (96.5, 88.25)) -> np.ndarray:
    y, x = np.mgrid[0:side, 0:side] + 0.5
    level = 30 + 200 * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * 14.0**2))
    return np.repeat(level.round().astype(np.uint8)[..., None], 3, -1)


#: without noise and compression, which move a centre of mass at random
QUIET = {
    "noise_probability": 0.0,
    "compression_probability": 0.0,
    "second.noise_probability": 0.0,
    "second.compression_probability": 0.0,
}


@pytest.mark.parametrize("name", NAMES)
def test_the_low_resolution_lies_where_the_target_does(name):
    how, target = override(named(name), QUIET), blob()
    for number in range(12):
        low = degrade(target, 4, how, number)
        assert abs(centre(low) - centre(target)).max() * 48 < 0.05  # low-resolution pixels
        part = degraded_window(target, 8, 6, 32, 4, how, number)
        assert abs(centre(part) - centre(target[32:160, 24:152])).max() * 32 < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_a_ramp_stays_where_it_is(name):
    how = override(named(name), QUIET | {"resize": (0.7, 3.0)})
    ramp = np.tile((32 + np.arange(192)).astype(np.uint8)[:, None, None], (1, 192, 3))
    expected = 32 + np.arange(64) * 3 + 1
    for number in range(12):
        low = degrade(ramp, 3, how, number).astype(float).mean((1, 2))
        # a ramp goes on beyond its ends, and an image does not
        assert abs((low - expected)[16:-16].mean()) / 3 < 0.1  # low-resolution pixels


def test_a_window_is_that_of_the_whole_image():
    """Where the grid of pixels is the same: no resizing on the way, no noise, no compression."""
    how = override(named("strong"), QUIET | {"resize_probability": 0.0, "second.probability": 0.0})
    target = field(256, 256)
    target[100:140, 90:150] = 230
    for number in range(15):
        whole = degrade(target, 4, how, number).astype(int)
        for top, left in ((0, 0), (20, 17), (32, 32)):
            part = degraded_window(target, top, left, 32, 4, how, number).astype(int)
            assert abs(part - whole[top : top + 32, left : left + 32]).max() <= 1


def test_a_window_with_resizing_has_no_border_of_its_own():
    how, target = override(named("strong"), QUIET), field(480, 480)
    for number in range(15):
        whole = degrade(target, 4, how, number).astype(int)
        part = degraded_window(target, 44, 44, 32, 4, how, number).astype(int)
        difference = abs(part - whole[44:76, 44:76])
        border = np.ones((32, 32), bool)
        border[4:-4, 4:-4] = False
        # grids of pixels lie differently, alike at the border and in the middle
        assert difference.max() <= 4
        assert difference[border].mean() <= difference[~border].mean() + 0.5


def test_the_margin_follows_from_what_is_drawn():
    assert margin_of([Resize(1.0, "bicubic"), Resize(1.0, "area")], 4) == MARGIN
    # 12 pixels of the target are 3, a reduction by 8 uses 3 / 0.5, from 0.5 back 3 / 0.5
    drawn = [Anisotropic(3.0, 1.0, 0.0), Resize(0.5, "lanczos"), Resize(1.0, "lanczos"), Sinc(0.5)]
    assert margin_of(drawn, 4) == 3 + 6 + 6 + 10
    assert max(margin_of(steps(named("strong"), n), 4) for n in range(300)) < 40


# Settings


def test_names_stand_for_values_and_single_keys_above_them():
    for name in NAMES:
        how = override(Settings(), {"data.degradation": name}).data.degradation
        assert how == named(name) and how.active == (name != "bicubic")
    changes = {"data.degradation.noise": "0,4", "data.degradation": "strong"}
    for given in (changes, dict(reversed(changes.items()))):
        how = override(Settings(), given).data.degradation
        assert how == override(named("strong"), {"noise": (0, 4)})
    options = CliOptions(
        system="srgan",
        changes=["data.degradation.second.probability=0.5", "data.degradation=mild"],
    )
    how = configure(options)[1].data.degradation
    assert how == override(named("mild"), {"second.probability": 0.5})
    # what is recorded are the values
    recorded = read_json(to_json(override(Settings(), {"data.degradation": "strong"})))["settings"]
    assert validated(Settings, recorded).data.degradation == named("strong")
    assert recorded["data"]["degradation"]["second"]["jpeg"] == [30, 95]


def test_added_settings_leave_old_identities():
    old = {"blur": (0.2, 2.0), "noise": (0.0, 8.0), "jpeg": (40.0, 95.0)}
    for given in ({}, old):
        settings = override(Settings(), {f"data.degradation.{k}": v for k, v in given.items()})
        entered = [key for key in settings.identity(0) if key.startswith("data.degradation")]
        assert entered == [
            f"data.degradation.{key}.{n}" for key in ("blur", "noise", "jpeg") for n in (0, 1)
        ]
    strong = override(Settings(), {"data.degradation": "strong"}).identity(0)
    assert strong["data.degradation.second.blur.1"] == 1.5
    assert strong["data.degradation.last_sinc"] == 0.8


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"": "milt"}, " = 'milt': must be bicubic or mild or strong; did you mean 'mild'?"),
        ({"": "x"}, " = 'x': must be bicubic or mild or strong; single settings are given by"),
        ({".resize": "2,1"}, ".resize.0 = 2.0: must be at most resize.1 (1.0); exchange the two"),
        ({".second.blur": "3,1"}, ".second.blur.0 = 3.0: must be at most blur.1 (1.0); exchange"),
        ({".last_cutoff": "0,1"}, ".last_cutoff.0 = 0.0: must be from 0.1 to 1"),
        ({".webp": "1.5"}, ".webp = '1.5': Input should be less than or equal to 1"),
        ({".second.probability": "-1"}, ".second.probability = '-1': Input should be greater than"),
        (
            {".sinc": "0.6", ".anisotropic": "0.5"},
            ".anisotropic = 0.5: must be at most 1 with sinc",
        ),
        ({".filters": "nearest"}, ".filters.0 = 'nearest': Input should be 'bicubic', 'bilinear'"),
        ({".filters": ()}, ".filters = []: must have at least one; give bicubic"),
        ({"": "mild", ".nose": "0,1"}, None),
    ],
)
def test_mistakes_are_named(changes, line):
    with pytest.raises(SettingsError) as caught:
        override(Settings(), {f"data.degradation{key}": value for key, value in changes.items()})
    found = str(caught.value)
    expected = "unknown setting 'data.degradation.nose'; did you mean 'data.degradation.noise"
    assert found.startswith(f"data.degradation{line}" if line else expected)
    assert len(found.splitlines()) == 1


def test_given_pairs_are_not_degraded():
    with pytest.raises(SettingsError, match=r"given images are not degraded; leave data\.degrad"):
        override(
            Settings(),
            {"data.low_resolution": "a", "data.view": "crop", "data.degradation": "strong"},
        )


def test_ranges_of_recorded_settings_may_be_reversed():
    assert validated(Degradation, {"jpeg": (95, 40)}).jpeg == (95, 40)


def test_each_name_is_complete():
    assert tuple(DEGRADATIONS) == NAMES
    assert named("bicubic") == Degradation() and SecondPass().probability == 0


def test_the_example_draws_a_row_for_each_name(tmp_path):
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "degradations.py"))
    found = example["rows"](field(208, 208), 4)
    assert {name: len(windows) for name, windows in found.items()} == dict(
        zip(NAMES, (1, 4, 4), strict=True)
    )
    assert all(window.shape == (48, 48, 3) for windows in found.values() for window in windows)
    example["sheet"](found).save(tmp_path / "sheet.png")
