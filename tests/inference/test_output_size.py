"""Results have exactly the sides that were asked for, by the filter that was named."""

import numpy as np
import pytest
import torch
from PIL import Image

from ganforge.inference.images import photo_of
from ganforge.inference.output_size import (
    FILTERS,
    OutputSize,
    check_room,
    resized,
    resized_planes,
)
from ganforge.settings import SettingsError


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        (OutputSize(), (80, 120)),
        (OutputSize(outscale=3.5), (140, 210)),
        (OutputSize(outscale=1.1), (44, 66)),
        (OutputSize(outscale=0.01), (1, 1)),
        (OutputSize(width=1000), (667, 1000)),
        (OutputSize(height=33), (33, 50)),
        (OutputSize(width=7, height=900), (900, 7)),
        (OutputSize(max_side=120), (80, 120)),
        (OutputSize(max_side=100), (67, 100)),
        (OutputSize(max_side=121), (80, 120)),
    ],
)
def test_sides_of_a_result_of_40_by_60(size, sides):
    size.check()
    assert size.sides(40, 60, 2) == sides


def test_halves_are_rounded_up_as_they_are_written():
    assert OutputSize(outscale=1.15).sides(10, 30, 2) == (12, 35)  # 11.5 and 34.5


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (OutputSize(outscale=2, width=3), "--outscale and --width: give one of --outscale, --wid"),
        (OutputSize(max_side=2, height=3), "--height and --max-side: give one"),
        (OutputSize(outscale=0), "--outscale 0: must be a factor above 0"),
        (OutputSize(outscale=65), "--outscale 65: must be a factor above 0 and at most 64"),
        (OutputSize(width=0), "--width 0: must be a whole number of pixels from 1 on"),
        (OutputSize(filter="cubic"), "--filter cubic: must be lanczos, bicubic"),
    ],
)
def test_what_contradicts_itself_is_refused(size, message):
    with pytest.raises(SettingsError) as refused:
        size.check()
    assert message in str(refused.value)


@pytest.mark.parametrize("name", FILTERS)
def test_each_channel_is_resized_by_itself_as_pillow_does(name):
    levels = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    made = resized(levels, (33, 17), name)
    for channel in range(4):  # alpha multiplies no colour
        expected = Image.fromarray(levels[..., channel]).resize((17, 33), FILTERS[name])
        assert (made[..., channel] == np.asarray(expected)).all()
    deep = levels.astype(np.uint16) * 257
    off = np.abs(resized(deep, (33, 17), name) / 257 - made.astype(float))
    assert off.max() <= 2  # 8 bits are rounded between the two passes, too
    planes = torch.from_numpy(levels.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)
    tensor = (resized_planes(planes, (33, 17), name) + 1) * 127.5
    assert (tensor.permute(1, 2, 0).numpy() - made).__abs__().max() <= 2


def test_equal_sides_are_left_alone():
    levels = np.zeros((4, 6, 3), np.uint8)
    assert resized(levels, (4, 6), "lanczos") is levels
    planes = torch.zeros(3, 4, 6)
    assert resized_planes(planes, (4, 6), "box") is planes


def test_sixteen_bits_stay_inside_their_range():
    levels = np.where(np.arange(40)[:, None, None] < 20, 0, 65535).astype(np.uint16)
    levels = np.broadcast_to(levels, (40, 40, 1)).copy()
    made = resized(levels, (90, 90), "lanczos")  # lanczos overshoots at an edge
    assert made.dtype == np.uint16 and made.min() == 0 and made.max() == 65535
    assert (made[:10] < 2000).all() and (made[-10:] > 63000).all()


def test_a_size_beyond_memory_is_refused_before_any_work(monkeypatch):
    from ganforge.inference import output_size

    monkeypatch.setattr(output_size, "machine_bytes", lambda: 2**20)
    photo = photo_of(np.zeros((8, 8, 3), np.uint8), 8)
    check_room((16, 16), (32, 32), photo, "a.png")
    with pytest.raises(
        SettingsError, match=r"a\.png: 9000 × 9000 pixels would take about 0\.7 GiB"
    ):
        check_room((16, 16), (9000, 9000), photo, "a.png")
