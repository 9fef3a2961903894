"""The fingerprint changes with what is learned from, and with nothing else."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from image_folder import find_images
from PIL import Image

from ganforge.data.catalog import Catalog
from ganforge.data.sources import Source, builtin_photographs
from ganforge.data.split import open_catalog, split


def _catalog(root: Path, cache: Path, fraction: float = 0.3, seed: int = 3) -> Catalog:
    return open_catalog(Source(tuple(find_images(str(root)))), fraction, seed, cache)


def test_it_is_the_same_again_with_and_without_the_cache(folder: Path, tmp_path: Path) -> None:
    first = _catalog(folder, tmp_path / "cache")
    assert _catalog(folder, tmp_path / "cache") == first
    assert _catalog(folder, tmp_path / "other") == first


def test_a_moved_folder_and_a_lossless_copy_keep_it(folder: Path, tmp_path: Path) -> None:
    first = _catalog(folder, tmp_path / "cache").fingerprint
    moved = tmp_path / "elsewhere" / "moved"
    shutil.copytree(folder, moved)
    with Image.open(moved / "p3.png") as image:
        pixels = np.asarray(image)
    Image.fromarray(pixels).save(moved / "p3.png", compress_level=0)
    assert (moved / "p3.png").read_bytes() != (folder / "p3.png").read_bytes()
    assert _catalog(moved, tmp_path / "cache").fingerprint == first


def test_one_changed_pixel_changes_it_whatever_the_time_of_the_file(
    folder: Path, tmp_path: Path
) -> None:
    first = _catalog(folder, tmp_path / "cache").fingerprint
    path = folder / "p3.png"
    before = path.stat()
    with Image.open(path) as image:
        pixels = np.array(image)
    pixels[-1, -1, 2] ^= 1
    Image.fromarray(pixels).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert _catalog(folder, tmp_path / "cache").fingerprint != first


def test_order_and_split_change_it(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = _catalog(folder, cache)
    assert _catalog(folder, cache, seed=4).fingerprint != first.fingerprint
    assert _catalog(folder, cache, fraction=0.5).fingerprint != first.fingerprint
    (folder / "p0.png").rename(folder / "x.png")
    assert _catalog(folder, cache).fingerprint != first.fingerprint


def test_a_record_cut_short_by_a_crash_is_not_believed(folder: Path, tmp_path: Path) -> None:
    first = _catalog(folder, tmp_path / "cache")
    notes = [path for path in (tmp_path / "cache" / "decoded").rglob("*") if path.is_file()]
    assert len(notes) == 7
    for length, note in enumerate(notes):
        note.write_text(note.read_text()[: 66 + length])
    notes[0].write_bytes(b"\0" * 75)
    assert _catalog(folder, tmp_path / "cache") == first


@pytest.mark.parametrize(("count", "fraction"), [(2, 0.01), (2, 0.99), (7, 0.3), (40, 0.1)])
def test_the_split_is_disjoint_and_complete(count: int, fraction: float) -> None:
    train, held_out = split([str(n) for n in range(count)], fraction, 0)
    assert sorted(train + held_out) == list(range(count))
    assert len(held_out) == min(max(1, round(fraction * count)), count - 1)


def test_groups_are_never_divided() -> None:
    groups = ["a", "a", "b", "c", "c", "c", "d", "e", "e"]
    sizes = set()
    for seed in range(60):
        train, held_out = split(groups, 0.5, seed)
        assert not {groups[n] for n in train} & {groups[n] for n in held_out}
        assert train and held_out
        sizes.add(len(held_out))
    assert max(sizes) <= round(0.5 * len(groups))


def test_the_motorcycles_stay_together() -> None:
    images = builtin_photographs()
    sides = {
        sum(images[n].scene == "motorcycle" for n in split([p.group for p in images], 0.4, s)[1])
        for s in range(30)
    }
    assert sides == {0, 2}
