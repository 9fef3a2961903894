"""Pairs stay aligned, unpaired sets are paired anew, and mistakes are named."""

import itertools
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SEED, noise
from PIL import Image

from ganforge.data.base import Data
from ganforge.data.batch import Batch
from ganforge.data.folders import find_images
from ganforge.data.paired_sources import DOMAINS
from ganforge.data.prepare import open_data, prepare_data
from ganforge.data.settings import PairedSettings, TranslationSettings, ValidationSettings
from ganforge.data.sources import builtin_photographs
from ganforge.schedule import Stage
from ganforge.settings import SettingsError
from ganforge.systems.settings import StageSettings, SystemSettings

SIDE = 16


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Six pairs in two folders: a target is its source with all levels inverted."""
    root = tmp_path / "pairs"
    for number in range(6):
        pixels = noise(number, 30 + number, 40)
        save(root / "source" / f"p{number}.png", pixels)
        save(root / "target" / f"p{number}.bmp", 255 - pixels)
    return root


@pytest.fixture
def side_by_side(tmp_path: Path) -> Path:
    """The same, side by side, the source on the left."""
    root = tmp_path / "side_by_side"
    for number in range(6):
        pixels = noise(number, 30 + number, 40)
        save(root / f"p{number}.png", np.concatenate([pixels, 255 - pixels], axis=1))
    return root


@pytest.fixture
def domains(tmp_path: Path) -> Path:
    """Nine dark sources and four bright targets, each of one colour."""
    root = tmp_path / "domains"
    for name, count, base in (("source", 9, 10), ("target", 4, 200)):
        for number in range(count):
            pixels = np.full((24, 28, 3), base + number, np.uint8)
            pixels[0, 0] = 0  # a corner, by which a flip is seen
            save(root / name / f"{number}.png", pixels)
    return root


def settings(kind: str, root: Path | None, tmp_path: Path, **data: Any) -> SystemSettings:
    group = PairedSettings if kind == "paired" else TranslationSettings
    folder = None if root is None else str(root)
    return SystemSettings(
        stages=(StageSettings(resolution=SIDE), StageSettings(resolution=2 * SIDE)),
        data=group(root=folder, cache_directory=str(tmp_path / "cache"), **data),
        validation=ValidationSettings(fraction=0.3, samples=3, images=5),
    )


def opened(kind: str, root: Path | None, tmp_path: Path, seed: int = SEED, **data: Any) -> Data:
    plan = tuple(Stage(side, 400, 0, 4, 2) for side in (SIDE, SIDE))
    made = settings(kind, root, tmp_path, **data)
    made = made.model_copy(update={"stages": (StageSettings(resolution=SIDE),) * 2})
    return open_data(kind, made, plan, 1, seed, prefetch=data.get("cache_bytes") != 0)


def source_of(batch: Batch) -> torch.Tensor:
    assert batch.source is not None
    return batch.source


def equal(one: Batch, other: Batch) -> bool:
    return torch.equal(one.target, other.target) and torch.equal(source_of(one), source_of(other))


AUGMENTED = [
    {},
    {"jitter": 20},
    {"view": "crop"},
    {"view": "crop", "rotate": True},
    {"jitter": 22, "rotate": True, "horizontal_flip": False},
]


@pytest.mark.parametrize("data", AUGMENTED, ids=str)
def test_both_sides_of_a_pair_are_cut_mirrored_and_turned_alike(
    pairs, side_by_side, tmp_path, data
):
    for root, more in ((pairs, {}), (side_by_side, {"pairing": "side_by_side"})):
        found = opened("paired", root, tmp_path, **data, **more)
        for index, step, shard in itertools.product((0, 1), range(4), range(2)):
            batch = found.batch(index, step, shard)
            assert batch.target.shape == (2, 3, SIDE, SIDE)
            tolerance = 1e-6 if data.get("view") == "crop" else 0.02  # resizing rounds each side
            assert (batch.target + source_of(batch)).abs().max() < tolerance
        for batch in (found.validation(0, 0), found.samples(1)):
            assert (batch.target + source_of(batch)).abs().max() < 0.02


def test_windows_differ_from_sample_to_sample(pairs, tmp_path):
    found = opened("paired", pairs, tmp_path, view="crop", rotate=True)
    seen = torch.cat([found.batch(0, step, s).target for step in range(8) for s in range(2)])
    assert len({tuple(image.flatten().tolist()) for image in seen}) == len(seen)


@pytest.mark.parametrize("kind", ["paired", "unpaired"])
@pytest.mark.parametrize("view", ["resize", "crop"])
def test_equal_in_two_objects_in_any_order_packed_or_not(pairs, domains, tmp_path, kind, view):
    root = pairs if kind == "paired" else domains
    keys = list(itertools.product((0, 1), range(5), range(2)))
    one = opened(kind, root, tmp_path, view=view, jitter=18)
    other = opened(kind, root, tmp_path, view=view, jitter=18, cache_bytes=0)
    forth = {key: one.batch(*key) for key in keys}
    assert all(equal(forth[key], other.batch(*key)) for key in reversed(keys))
    assert equal(one.samples(0), other.samples(0))
    assert not equal(
        forth[0, 0, 0], opened(kind, root, tmp_path, SEED + 1, view=view).batch(0, 0, 0)
    )
    one.close()


def test_side_by_side_takes_the_column_and_the_side(side_by_side, tmp_path):
    left = opened("paired", side_by_side, tmp_path, pairing="side_by_side")
    right = opened("paired", side_by_side, tmp_path, pairing="side_by_side", source_side="right")
    for number in range(3):
        one, other = left.batch(0, number, 0), right.batch(0, number, 0)
        assert torch.equal(one.target, source_of(other))
        assert torch.equal(source_of(one), other.target)
    with pytest.raises(SettingsError, match=r"data\.split_column = 80: p0\.png is 80 pixels wide"):
        opened("paired", side_by_side, tmp_path, pairing="side_by_side", split_column=80)
    with pytest.raises(SettingsError, match=r"the halves of data\.view = crop equal"):
        opened(
            "paired", side_by_side, tmp_path, pairing="side_by_side", split_column=30, view="crop"
        )


def test_colours_change_on_sources_alone_and_as_often_as_asked(pairs, tmp_path):
    plain = opened("paired", pairs, tmp_path)
    for share in (0.2, 1.0):
        found, changed = opened("paired", pairs, tmp_path, colour_jitter=share), 0
        for step in range(100):
            one, other = plain.batch(0, step, 0), found.batch(0, step, 0)
            assert torch.equal(one.target, other.target)
            same = [
                torch.equal(a, b) for a, b in zip(source_of(one), source_of(other), strict=True)
            ]
            changed += same.count(False)
        assert abs(changed / 200 - share) < 0.12


def test_edges_of_photographs_are_the_default(tmp_path):
    from skimage.feature import canny

    made = settings("paired", None, tmp_path, view="crop", max_side=128)
    facts = prepare_data("paired", made, 1, SEED)
    assert facts.num_images == 11
    found = opened("paired", None, tmp_path, view="crop", max_side=128)
    batch = found.batch(0, 0, 0)
    assert set(source_of(batch).unique().tolist()) <= {-1.0, 1.0}
    whole = opened("paired", None, tmp_path, horizontal_flip=False)
    shown = whole.samples(0)
    grey = np.asarray(
        Image.fromarray(((shown.target[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())
        .convert("L")
    )  # fmt: skip
    expected = canny(grey / 255, sigma=2.0)
    assert torch.equal(source_of(shown)[0, 0] > 0, torch.from_numpy(expected))


def test_unpaired_epochs_are_those_of_the_larger_set(domains, tmp_path):
    found = opened("unpaired", domains, tmp_path, horizontal_flip=False)
    facts = prepare_data("unpaired", settings("unpaired", domains, tmp_path), 1, SEED)
    held = round(0.3 * 13)
    assert len(facts.held_out) == held and facts.epoch_images[0] == found.num_train
    number = found.num_train
    seen: list[tuple[int, int]] = []
    for step in range(30):
        for shard in range(2):
            batch = found.batch(0, step, shard)
            levels = [((t[0, 5, 5] + 1) * 127.5).round().int() for t in batch.target]
            given = [((t[0, 5, 5] + 1) * 127.5).round().int() for t in source_of(batch)]
            seen += [(int(a), int(b)) for a, b in zip(levels, given, strict=True)]
    targets, sources = ([p[i] for p in seen] for i in (0, 1))
    assert all(200 <= t < 204 for t in targets) and all(10 <= s < 19 for s in sources)
    for start in range(0, 100, number):  # each source once an epoch
        assert set(Counter(sources[start : start + number]).values()) == {1}
    small = len(set(targets))
    for start in range(0, 100, small):  # the smaller set goes round on its own
        assert set(Counter(targets[start : start + small]).values()) == {1}
    partners = {s: {t for t, other in seen if other == s} for s in set(sources)}
    assert all(len(found) == small for found in partners.values())  # the pairing is shuffled


def test_sets_of_equal_size_are_not_paired_for_good(tmp_path):
    for name, base in (("source", 10), ("target", 200)):
        for number in range(5):
            pixels = np.full((20, 20, 3), base + number, np.uint8)
            save(tmp_path / "equal" / name / f"{number}.png", pixels)
    found = opened("unpaired", tmp_path / "equal", tmp_path)
    seen = set()
    for step in range(40):
        batch = found.batch(0, step, 0)
        pair = zip(
            batch.target[:, 0, 0, 0].tolist(), source_of(batch)[:, 0, 0, 0].tolist(), strict=True
        )
        seen |= set(pair)
    assert len(seen) > 10


def test_held_out_images_are_never_trained_on(domains, pairs, tmp_path):
    for kind, root in (("unpaired", domains), ("paired", pairs)):
        found = opened(kind, root, tmp_path, horizontal_flip=False)
        held = found.validation(0, 0)
        assert len(held) == found.num_measured
        trained = torch.cat([found.batch(0, s, k).target for s in range(30) for k in range(2)])
        for image in held.target:
            assert not (trained == image).flatten(1).all(1).any()


def test_both_files_of_a_pair_are_on_one_side_of_the_split(pairs, tmp_path):
    facts = prepare_data("paired", settings("paired", pairs, tmp_path), 1, SEED)
    held = {name.partition("/")[2].partition(".")[0] for name in facts.held_out}
    assert len(facts.held_out) == 2 * len(held)


def test_built_in_domains_are_real_images(tmp_path):
    names = {image.name for image in builtin_photographs()}
    assert {name for domain in DOMAINS.values() for name in domain} <= names
    found = opened("unpaired", None, tmp_path, view="crop", max_side=128)
    assert found.num_train == 3 and found.epoch_images[0] > 50


def test_the_same_images_as_another_kind_have_another_fingerprint(pairs, tmp_path):
    prints = {
        prepare_data("paired", settings("paired", pairs, tmp_path), 1, SEED).fingerprint,
        prepare_data("unpaired", settings("unpaired", pairs, tmp_path), 1, SEED).fingerprint,
    }
    swapped = tmp_path / "swapped"
    shutil.copytree(pairs / "source", swapped / "target")
    shutil.copytree(pairs / "target", swapped / "source")
    prints.add(prepare_data("paired", settings("paired", swapped, tmp_path), 1, SEED).fingerprint)
    assert len(prints) == 3


@pytest.mark.parametrize("kind", ["paired", "unpaired"])
def test_mistakes_are_named(pairs, tmp_path, kind):
    def message(root: Path | None, **data: Any) -> str:
        with pytest.raises(SettingsError) as caught:
            opened(kind, root, tmp_path, **data)
        return str(caught.value)

    empty = tmp_path / "empty"
    empty.mkdir()
    assert "has no folders source/ and target/" in message(empty)
    assert "no such folder" in message(tmp_path / "nowhere")
    (empty / "source").mkdir()
    (empty / "target").mkdir()
    assert "source/ has no images" in message(empty)
    assert "smaller than the windows" in message(pairs, view="crop", max_side=17)
    (pairs / "source" / "p0.png").rename(pairs / "source" / "other.png")
    if kind == "paired":
        found = message(pairs)
        assert "2 images are in only one of source/ and target/" in found
        assert "the first is source/other.png" in found
        assert "needs data.root" in message(None, pairing="folders")
    else:
        for path in sorted((pairs / "target").iterdir())[1:]:
            path.unlink()
        assert "target/ has 1 image; at least 2 are needed" in message(pairs)


def test_windows_need_equal_sides(pairs, tmp_path):
    save(pairs / "target" / "p1.bmp", noise(1, 50, 50))
    opened("paired", pairs, tmp_path)
    with pytest.raises(SettingsError, match=r"windows of data\.view = crop need"):
        opened("paired", pairs, tmp_path, view="crop")


def test_files_of_two_suffixes_are_paired_by_their_whole_name(pairs, tmp_path):
    """Both folders hold 1.jpg and 1.png: each belongs to its own."""
    for part in ("source", "target"):
        for number, suffix in enumerate(("png", "bmp")):
            level = 40 * number + (100 if part == "target" else 0)
            save(pairs / part / f"1.{suffix}", np.full((32, 40, 3), level, np.uint8))
    found = find_images("paired", settings("paired", pairs, tmp_path)).images
    names = [image.name for image in found if image.name.endswith(("/1.png", "/1.bmp"))]
    assert names == ["source/1.bmp", "target/1.bmp", "source/1.png", "target/1.png"]
    assert len({image.group for image in found}) == 8  # pairs, and none of four files
    data = opened("paired", pairs, tmp_path, view="resize", horizontal_flip=False)
    levels = set()
    for step in range(40):
        batch = data.batch(0, step, 0)
        for target, source in zip(batch.target, source_of(batch), strict=True):
            if float(target.std()) < 1e-6:
                levels.add((round(float(source[0, 0, 0] + 1) * 127.5),
                            round(float(target[0, 0, 0] + 1) * 127.5)))  # fmt: skip
    assert levels <= {(0, 100), (40, 140)} and levels


@pytest.mark.parametrize(
    ("sources", "targets"),
    [
        (["1.png", "1.bmp"], ["1.tif"]),
        (["1.png"], ["1.bmp", "1.tif"]),
        (["1.png", "1.bmp"], ["1.png", "1.tif"]),
    ],
)
def test_pairs_that_are_not_clear_are_refused(pairs, tmp_path, sources, targets):
    for part, names in (("source", sources), ("target", targets)):
        for name in names:
            save(pairs / part / name, noise(7, 32, 40))
    with pytest.raises(SettingsError, match=r"could belong to several.*1\.(bmp|png|tif)"):
        find_images("paired", settings("paired", pairs, tmp_path))


def test_sides_are_those_of_upright_images(pairs, tmp_path):
    """A source that is stored lying, with a tag that turns it, has the sides of its target."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = noise(8, 64, 48)
    save(pairs / "target" / "turned.png", pixels)
    Image.fromarray(np.rot90(pixels, 1)).save(pairs / "source" / "turned.png", exif=exif)
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    for number in range(6):
        for part in ("source", "target"):
            for file in (pairs / part).glob(f"p{number}.*"):
                file.unlink()
            save(pairs / part / f"q{number}.png", noise(number, 64, 48))
    found = find_images("paired", settings("paired", pairs, tmp_path, view="crop"))
    assert len(found.images) == 14
