"""Batches are a function of (seed, stage, step, shard), and show what they should."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SCALE, SEED, Open, Settings, stages
from PIL import Image

from ganforge.data.batch import Batch
from ganforge.data.cache import cache_directory
from ganforge.data.catalog import Catalog
from ganforge.data.sources import find_source
from ganforge.data.split import open_catalog
from ganforge.data.super_resolution import SuperResolutionData, open_sets
from ganforge.systems.settings import SystemSettings

VIEWS = ["resize", "crop"]


def _equal(one: Batch, other: Batch) -> bool:
    pairs = [(one.target, other.target), (one.source, other.source), (one.index, other.index)]
    return all(a is not None and b is not None and torch.equal(a, b) for a, b in pairs)


def _catalog(settings: SystemSettings) -> Catalog:
    source = find_source(settings.data)
    return open_catalog(source, settings.validation.fraction, SEED, cache_directory(settings.data))


def _pairs(settings: SystemSettings) -> tuple[Catalog, list, SuperResolutionData]:
    catalog = _catalog(settings)
    sets, _ = open_sets(catalog, settings, [16, 32], SCALE)
    return catalog, sets, SuperResolutionData(catalog, settings, stages(), SCALE, SEED)


@pytest.mark.parametrize("view", VIEWS)
def test_equal_in_two_objects_in_any_order_with_and_without_prefetch(
    opened: Open, view: str
) -> None:
    keys = list(itertools.product((0, 1), range(4), range(4)))
    forth, back = opened(view=view), opened(view=view, prefetch=False)
    one = {key: forth.batch(*key) for key in keys}
    other = {key: back.batch(*key) for key in reversed(keys)}
    jumps = opened(view=view)
    for key in keys[::5] + keys[::-3]:
        assert _equal(one[key], jumps.batch(*key))
    assert all(_equal(one[key], other[key]) for key in keys)
    assert not _equal(one[1, 0, 0], opened(view=view, seed=SEED + 1).batch(1, 0, 0))


@pytest.mark.parametrize("view", VIEWS)
def test_packed_or_decoded_on_demand_the_batches_are_equal(opened: Open, view: str) -> None:
    one, other = opened(view=view), opened(view=view, cache_bytes=0)
    for key in itertools.product((0, 1), range(2), range(4)):
        assert _equal(one.batch(*key), other.batch(*key))
    assert _equal(one.samples(1), other.samples(1))
    assert _equal(one.validation(0, 1), other.validation(0, 1))


@pytest.mark.parametrize("view", VIEWS)
def test_the_number_of_shards_does_not_change_the_global_batch(opened: Open, view: str) -> None:
    cuts = [opened(stages(12, shards), view=view) for shards in (1, 3, 4)]
    for step in range(3):
        whole, *others = (
            Batch.cat([data.batch(1, step, k) for k in range(shards)])
            for data, shards in zip(cuts, (1, 3, 4), strict=True)
        )
        assert all(_equal(whole, other) for other in others)
        assert whole.index is not None
        assert whole.index.tolist() == list(range(step * 12, step * 12 + 12))


def test_an_epoch_shows_every_image_once_across_batches(settings: Settings) -> None:
    catalog, sets, pairs = _pairs(settings(horizontal_flip=False))
    names = {sets[0][n][0].tobytes(): n for n in range(7)}
    for epoch in range(3):
        count = len(catalog.train)
        shown = [
            names[pairs.sample(0, s)[0].tobytes()]
            for s in range(epoch * count, (epoch + 1) * count)
        ]
        assert sorted(shown) == list(catalog.train)


def test_an_epoch_shows_large_images_by_their_area(settings: Settings) -> None:
    catalog, sets, pairs = _pairs(settings(view="crop", horizontal_flip=False))
    heights = {n: sets[0][n][0].shape[:2] for n in catalog.train}
    expected = {n: (h // 16) * (w // 16) for n, (h, w) in heights.items()}
    owner = {}  # noise: any window of 16 bytes names its image
    for n in catalog.train:
        plane = sets[0][n][0]
        for top, left in np.ndindex(plane.shape[0], plane.shape[1] - 7):
            owner[plane[top, left : left + 8].tobytes()] = n
    shown = Counter(
        owner[pairs.sample(0, s)[0][0, :8].tobytes()] for s in range(sum(expected.values()))
    )
    assert shown == expected


def test_crops_differ_from_epoch_to_epoch_and_from_stage_to_stage(settings: Settings) -> None:
    _, _, pairs = _pairs(settings(view="crop"))
    seen = {pairs.sample(0, s)[0].tobytes() for s in range(200)}
    assert len(seen) > 150
    assert pairs.sample(0, 0)[0].tobytes() != pairs.sample(1, 0)[0][:16, :16].tobytes()


def test_about_half_of_the_samples_are_mirrored(settings: Settings) -> None:
    _, sets, pairs = _pairs(settings())
    plain = {sets[0][n][0].tobytes() for n in range(7)}
    flipped = {sets[0][n][0][:, ::-1].tobytes() for n in range(7)}
    shown = [pairs.sample(0, s)[0].tobytes() for s in range(400)]
    assert set(shown) <= plain | flipped
    assert 160 < sum(one in flipped for one in shown) < 240


@pytest.mark.parametrize("scale", [2, 4])
def test_a_source_window_is_that_of_the_whole_image(settings: Settings, scale: int) -> None:
    given = settings(view="crop", horizontal_flip=False)
    catalog = _catalog(given)
    pairs = SuperResolutionData(catalog, given, stages(), scale, SEED)
    low = 32 // scale
    windows = {}  # noise: the bytes of a target name its position
    for n in catalog.train:
        with Image.open(catalog.images[n].image.path) as image:
            height, width = image.height // scale, image.width // scale
            whole = image.crop((0, 0, width * scale, height * scale))
        small = np.asarray(whole.resize((width, height), Image.Resampling.BICUBIC))
        for top, left in np.ndindex(height - low + 1, width - low + 1):
            here = np.asarray(whole)[top * scale :, left * scale :][:32, :32]
            windows[here.tobytes()] = small[top : top + low, left : left + low]
    for number in range(60):
        target, source = pairs.sample(1, number)
        np.testing.assert_array_equal(source, windows[target.tobytes()])


def test_source_and_target_are_mirrored_together(settings: Settings) -> None:
    _, _, plain = _pairs(settings(view="crop", horizontal_flip=False))
    _, _, flipping = _pairs(settings(view="crop"))
    mirrored = 0
    for number in range(40):
        one, other = plain.sample(1, number), flipping.sample(1, number)
        flips = [np.array_equal(a[:, ::-1], b) for a, b in zip(one, other, strict=True)]
        same = [np.array_equal(a, b) for a, b in zip(one, other, strict=True)]
        assert all(flips) or all(same)
        mirrored += all(flips)
    assert 10 < mirrored < 30


def test_a_set_smaller_than_a_batch(opened: Open) -> None:
    batch = Batch.cat([opened(stages(32, 4)).batch(0, 0, k) for k in range(4)])
    assert batch.target.shape == (32, 3, 16, 16)
    assert batch.source is not None
    assert batch.source.shape == (32, 3, 8, 8)


def test_the_range_is_exactly_minus_one_to_one(opened: Open, folder: Path) -> None:
    halves = np.zeros((32, 32, 3), np.uint8)  # of the stage's size: nothing is resized
    halves[:, 16:] = 255
    for path in folder.rglob("*.[pP]*"):
        Image.fromarray(halves).save(path)
    target = opened().batch(1, 0, 0).target
    assert target.dtype == torch.float32
    assert target.is_contiguous()
    assert target.unique().tolist() == [-1.0, 1.0]


def test_grey_images_have_one_channel(opened: Open) -> None:
    assert opened(channels=1).batch(1, 0, 0).target.shape == (2, 1, 32, 32)


@pytest.mark.parametrize("view", VIEWS)
def test_validation_shows_held_out_images_only(opened: Open, settings: Settings, view: str) -> None:
    data = opened(view=view, held_out={"max_side": 64})
    catalog = _catalog(settings())
    assert (data.num_train, data.num_validation) == (5, 2)
    for number in range(data.num_validation):
        batch = data.validation(0, number)
        with Image.open(catalog.images[catalog.validation[number]].image.path) as image:
            height, width = batch.target.shape[2:]
            assert max(height, width) <= 64
            left, top = (image.width - width) // 2, (image.height - height) // 2
            cut = image.crop((left, top, left + width, top + height))
            low = cut.resize((width // 2, height // 2), Image.Resampling.BICUBIC)
        for tensor, expected in ((batch.target, cut), (batch.source, low)):
            assert tensor is not None
            bytes_ = ((tensor[0].permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8)
            np.testing.assert_array_equal(bytes_.numpy(), np.asarray(expected))
    assert opened(view=view, held_out={"images": 1}).num_validation == 1


def test_the_grid_repeats_no_image_and_shows_one_part_at_all_stages(opened: Open) -> None:
    data = opened(view="crop")
    first, last = data.samples(0), data.samples(1)
    assert _equal(first, last)
    assert first.target.shape == (2, 3, 32, 32)  # three were asked for, two are held out
    assert not torch.equal(first.target[0], first.target[1])
    whole = opened()
    assert [whole.samples(k).target.shape[-1] for k in (0, 1)] == [16, 32]
