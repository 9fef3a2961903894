"""Data sets without a source: images and labels are what the files and the source say."""

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SEED, Settings, noise, stages
from PIL import Image
from sklearn.datasets import load_digits

from ganforge.data.base import Data
from ganforge.data.batch import Batch
from ganforge.data.image_dataset import CHUNK
from ganforge.data.prepare import open_data, prepare_data
from ganforge.schedule import Stage
from ganforge.settings import SettingsError

KINDS = ["images", "labelled"]
VIEWS = ["resize", "crop"]
Open = Callable[..., Data]


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Three classes of 6, 5 and 9 images of at least 34 px, one below a folder of its own."""
    root = tmp_path / "classes"
    for label, (name, count) in enumerate([("ant", 6), ("bee", 5), ("cat", 9)]):
        (root / name / "deep").mkdir(parents=True)
        for number in range(count):
            sides = 34 + 7 * number, 40 + 3 * label
            below = root / name / ("deep" if number == 1 else "")
            Image.fromarray(noise(100 * label + number, *sides)).save(below / f"{number}.png")
    return root


@pytest.fixture
def opened(settings: Settings, classes: Path) -> Open:
    def build(
        kind: str, plan: tuple[Stage, ...] | None = None, seed: int = SEED, prefetch: bool = True,
        **data: object,
    ) -> Data:  # fmt: skip
        given = settings(**{"root": str(classes), **data})
        return open_data(kind, given, plan or stages(), 1, seed, prefetch=prefetch)

    return build


def _equal(one: Batch, other: Batch) -> bool:
    a, b = one._tensors(), other._tensors()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("kind", "view"), list(itertools.product(KINDS, VIEWS)))
def test_batches_are_a_function_of_their_position(opened: Open, kind: str, view: str) -> None:
    keys = list(itertools.product((0, 1), range(3), range(4)))
    forth, back = opened(kind, view=view), opened(kind, view=view, prefetch=False, cache_bytes=0)
    one = {key: forth.batch(*key) for key in keys}
    other = {key: back.batch(*key) for key in reversed(keys)}
    assert all(_equal(one[key], other[key]) for key in keys)
    assert not _equal(one[1, 0, 0], opened(kind, view=view, seed=SEED + 1).batch(1, 0, 0))
    for index, side in enumerate((16, 32)):
        batch = one[index, 0, 0]
        assert batch.target.shape == (2, 3, side, side)
        assert batch.target.dtype == torch.float32
        assert batch.source is None
        assert (batch.label is not None) == (kind == "labelled")


@pytest.mark.parametrize("view", VIEWS)
def test_the_number_of_shards_does_not_change_the_global_batch(opened: Open, view: str) -> None:
    cuts = [(opened("labelled", stages(12, shards), view=view), shards) for shards in (1, 3, 4)]
    for step in range(3):
        whole, *others = (
            Batch.cat([data.batch(1, step, k) for k in range(shards)]) for data, shards in cuts
        )
        assert all(_equal(whole, other) for other in others)
        assert whole.index is not None
        assert whole.index.tolist() == list(range(step * 12, step * 12 + 12))


def test_an_epoch_shows_every_training_image_once(opened: Open) -> None:
    data = opened("labelled", stages(1, 1, images=10_000), horizontal_flip=False)
    assert data.num_train == 14
    for epoch in range(3):
        shown = [data.batch(0, epoch * 14 + step, 0) for step in range(14)]
        assert len({batch.target.numpy().tobytes() for batch in shown}) == 14


@pytest.mark.parametrize("view", VIEWS)
def test_labels_are_those_of_the_sub_folders(opened: Open, classes: Path, view: str) -> None:
    owner = {}  # noise: any 8 pixels of a row name their image
    for label, name in enumerate(("ant", "bee", "cat")):
        for path in (classes / name).rglob("*.png"):
            pixels = np.asarray(Image.open(path))
            if view == "resize":
                side = min(pixels.shape[:2])
                top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
                square = Image.fromarray(pixels[top : top + side, left : left + side])
                pixels = np.asarray(square.resize((32, 32), Image.Resampling.BICUBIC))
            for top, left in np.ndindex(pixels.shape[0], pixels.shape[1] - 7):
                owner[pixels[top, left : left + 8].tobytes()] = label
    data = opened("labelled", view=view, horizontal_flip=False)
    batches = [data.batch(1, step, shard) for step in range(8) for shard in range(4)]
    batches += [data.validation(1, 0), data.samples(1)]
    seen = set()
    for batch in batches:
        assert batch.label is not None and batch.label.dtype == torch.int64
        levels = ((batch.target + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        for image, label in zip(levels, batch.label.tolist(), strict=True):
            assert owner[image[0, :8].tobytes()] == label
            seen.add(label)
    assert seen == {0, 1, 2}


def test_of_each_class_the_same_part_is_held_out(opened: Open, classes: Path) -> None:
    data = opened("labelled")  # a fraction of 0.3 of 6, 5 and 9 images
    label = data.validation(0, 0).label
    assert label is not None
    assert Counter(label.tolist()) == {0: 2, 1: 1, 2: 3} or Counter(label.tolist()) == {
        0: 2, 1: 2, 2: 2,
    }  # fmt: skip
    assert (data.num_train, data.num_measured, data.num_validation) == (14, 6, 1)


def test_the_grid_repeats_the_labels_in_turn(opened: Open) -> None:
    data = opened("labelled", held_out={"samples": 8})
    grid = data.samples(1)
    assert grid.label is not None and grid.index is not None
    assert grid.label.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert grid.index.tolist() == list(range(8))


def test_windows_of_all_stages_have_the_area_of_the_last(opened: Open) -> None:
    data = opened("images", view="crop", horizontal_flip=False)
    assert data.epoch_images[0] == data.epoch_images[1]
    both = [(data.validation(k, 0), data.samples(k)) for k in (0, 1)]
    for small, large in zip(*both, strict=True):
        for reduced, window in zip(small.target, large.target, strict=True):
            levels = ((window + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
            expected = Image.fromarray(levels).resize((16, 16), Image.Resampling.BICUBIC)
            found = ((reduced + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
            np.testing.assert_array_equal(found, np.asarray(expected))


def test_validation_comes_in_chunks_that_are_numbered_through(opened: Open) -> None:
    data = opened("images", view="crop", held_out={"images": 2 * CHUNK + 3})
    assert (data.num_measured, data.num_validation) == (2 * CHUNK + 3, 3)
    chunks = [data.validation(1, number) for number in range(3)]
    assert [len(chunk) for chunk in chunks] == [CHUNK, CHUNK, 3]
    index = Batch.cat(chunks).index
    assert index is not None and index.tolist() == list(range(2 * CHUNK + 3))
    windows = {image.numpy().tobytes() for chunk in chunks for image in chunk.target}
    assert len(windows) > CHUNK  # six images are held out, each shown through several windows


def test_held_out_images_are_not_trained_on(opened: Open) -> None:
    data = opened("images", horizontal_flip=False)
    held = {image.numpy().tobytes() for image in data.validation(0, 0).target}
    shown = {p.numpy().tobytes() for s in range(20) for p in data.batch(0, s, 0).target}
    assert held and not held & shown


@pytest.fixture
def digits(settings: Settings) -> Callable[..., Data]:
    def build(kind: str = "labelled", side: int = 8, **data: object) -> Data:
        given = settings(channels=1, root=None, source="digits", **data)
        return open_data(kind, given, (Stage(side, 10**6, 0, 1, 1),), 1, SEED, prefetch=False)

    return build


def test_digits_keep_their_own_labels(digits: Callable[..., Data]) -> None:
    real = load_digits()
    levels = np.round(real.data * 255 / 16).astype(np.uint8)
    assert len({row.tobytes() for row in levels}) == 1797  # a digit's pixels name its label
    owner = {row.tobytes(): label for row, label in zip(levels, real.target, strict=True)}
    data = digits(held_out={"fraction": 0.1, "images": 180})
    assert (data.num_train, data.num_measured, data.epoch_images) == (1617, 180, (1617,))
    batches = [data.batch(0, step, 0) for step in range(1617)]  # 8 px: nothing is resized
    batches += [data.validation(0, number) for number in range(data.num_validation)]
    seen = {}
    for batch in batches:
        assert batch.label is not None
        found = ((batch.target + 1) * 127.5).round().to(torch.uint8).reshape(-1, 64).numpy()
        for pixels, label in zip(found, batch.label.tolist(), strict=True):
            seen[pixels.tobytes()] = label
    assert seen == owner  # each of them once, none mirrored


def test_digits_are_enlarged_and_never_mirrored_unless_asked(digits: Callable[..., Data]) -> None:
    plain, asked = digits(side=32), digits(side=32, horizontal_flip=True)
    pairs = [(plain.batch(0, s, 0).target, asked.batch(0, s, 0).target) for s in range(60)]
    assert pairs[0][0].shape == (1, 1, 32, 32)
    mirrored = [torch.equal(a.flip(-1), b) and not torch.equal(a, b) for a, b in pairs]
    assert all(torch.equal(a, b) or torch.equal(a.flip(-1), b) for a, b in pairs)
    assert 15 < sum(mirrored) < 45


def test_photographs_are_mirrored_unless_switched_off(opened: Open) -> None:
    default, never = opened("images"), opened("images", horizontal_flip=False)
    always = opened("images", horizontal_flip=True)
    keys = list(itertools.product((0,), range(6), range(4)))
    assert all(_equal(default.batch(*key), always.batch(*key)) for key in keys)
    assert any(not _equal(default.batch(*key), never.batch(*key)) for key in keys)


def test_facts_name_the_classes(settings: Settings, classes: Path) -> None:
    facts = prepare_data("labelled", settings(root=str(classes)), 1, SEED)
    assert facts.classes == ("ant", "bee", "cat")
    assert facts.epoch_images == (14, 14)
    images = prepare_data("images", settings(root=str(classes)), 1, SEED)
    assert images.classes == ()
    assert images.fingerprint != facts.fingerprint  # labels and a stratified split


def test_a_moved_label_changes_the_fingerprint(settings: Settings, classes: Path) -> None:
    before = prepare_data("labelled", settings(root=str(classes)), 1, SEED).fingerprint
    (classes / "ant" / "5.png").rename(classes / "ant" / "zz.png")
    (classes / "cat").rename(classes / "aa")  # other numbers for all classes
    assert prepare_data("labelled", settings(root=str(classes)), 1, SEED).fingerprint != before


def test_an_unknown_kind_is_named(settings: Settings) -> None:
    with pytest.raises(SettingsError, match=r"'video': there is no such kind .* images, labelled"):
        prepare_data("video", settings(), 1, SEED)
