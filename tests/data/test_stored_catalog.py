"""What a machine has verified is opened again without reading it, and is what was verified."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import SCALE, SEED, Settings, stages
from PIL import Image

from ganforge.data import prepare as prepare_module
from ganforge.data.cache import cache_directory
from ganforge.data.folders import find_images
from ganforge.data.prepare import open_data, prepare_data
from ganforge.data.split import open_catalog
from ganforge.data.stored_catalog import store_catalog, stored_catalog, stored_digests
from ganforge.settings import SettingsError, override
from ganforge.systems.catalog import load_system

KIND = "super_resolution"


def _never(*given: object, **named: object) -> None:
    raise AssertionError("the images were read again")


def test_a_worker_reads_no_image_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = prepare_data(KIND, settings(), SCALE, SEED)
    first = open_data(KIND, settings(), stages(), SCALE, SEED)
    monkeypatch.setattr(prepare_module, "find_images", _never)
    data = open_data(KIND, settings(), stages(), SCALE, SEED, facts.fingerprint)
    for step in (0, 1, 7):
        one, other = data.batch(1, step, 0), first.batch(1, step, 0)
        assert one.target is not None and other.target is not None
        np.testing.assert_array_equal(one.target, other.target)


def test_packed_pixels_are_trained_on_though_a_file_has_changed_since(
    settings: Settings, folder: Path
) -> None:
    facts = prepare_data(KIND, settings(), SCALE, SEED)
    before = open_data(KIND, settings(), stages(), SCALE, SEED, facts.fingerprint).batch(1, 0, 0)
    for file in folder.glob("*.png"):
        Image.new("RGB", (64, 64)).save(file)
    after = open_data(KIND, settings(), stages(), SCALE, SEED, facts.fingerprint).batch(1, 0, 0)
    np.testing.assert_array_equal(before.target, after.target)  # pyright: ignore
    assert prepare_data(KIND, settings(), SCALE, SEED).fingerprint != facts.fingerprint


def test_an_image_that_has_changed_since_is_refused_when_it_is_decoded(
    settings: Settings, folder: Path
) -> None:
    on_demand = settings(cache_bytes=0)
    facts = prepare_data(KIND, on_demand, SCALE, SEED)
    for file in folder.rglob("*.*"):
        Image.new("RGB", (64, 64)).save(file)
    data = open_data(KIND, on_demand, stages(), SCALE, SEED, facts.fingerprint, prefetch=False)
    with pytest.raises(SettingsError, match="has changed since this run began"):
        data.batch(1, 0, 0)


def _labelled(folder: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("b/1.png", "a/2.png", "a/1.jpg", "b/ü\n.png", "a/3.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (40, 40 + len(name), 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)


@pytest.mark.parametrize("roots", [1, 2])
def test_a_stored_catalog_is_the_one_that_was_made(tmp_path: Path, roots: int) -> None:
    """Names, paths, scenes, labels, sides, hashes, split and folders."""
    folders = [tmp_path / str(number) for number in range(roots)]
    for folder in folders:
        _labelled(folder)
    names = {"data.root": str(folders[0])}
    if roots > 1:
        names = {"data.roots": [str(folder) for folder in folders]}
    system = load_system("conditional_gan")
    changes = {**names, "num_classes": 2, "channels": 3, "stages.0.resolution": 32}
    settings = override(system.Settings(), {**changes, "data.cache_directory": str(tmp_path / "c")})
    directory = cache_directory(settings.data)
    made = open_catalog(find_images("labelled", settings), 0.3, 1, directory)
    assert stored_catalog(made.fingerprint, "labelled", settings, directory) is None
    store_catalog(made, "labelled", settings, directory)
    found = stored_catalog(made.fingerprint, "labelled", settings, directory)
    assert found is not None and found == made
    for one, other in zip(found.images, made.images, strict=True):
        assert one == other and str(one.image.path) == str(other.image.path)
    assert found.images.labels.tolist() == made.images.labels.tolist()
    assert found.images.sizes[0] == made.images.sizes[0]
    assert stored_digests(made.fingerprint, directory) == {
        known.image.name: known.digest for known in made.images
    }
    # of other folders, another kind or another fingerprint there is none
    elsewhere = override(settings, {"validation.root": str(tmp_path)})
    assert stored_catalog(made.fingerprint, "labelled", elsewhere, directory) is None
    assert stored_catalog(made.fingerprint, "images", settings, directory) is None
    assert stored_digests("0" * 64, directory) == stored_digests("../..", directory) == {}


def test_files_that_are_called_otherwise_now_are_found(settings: Settings, folder: Path) -> None:
    """Names are no part of the fingerprint, and a worker reads by them."""
    on_demand = settings(cache_bytes=0)
    before = prepare_data(KIND, on_demand, SCALE, SEED)
    for file in [*folder.glob("p*.png")]:
        file.rename(file.with_stem(f"{file.stem}-renamed"))
    after = prepare_data(KIND, on_demand, SCALE, SEED)
    assert after.fingerprint == before.fingerprint
    data = open_data(KIND, on_demand, stages(), SCALE, SEED, after.fingerprint, prefetch=False)
    for step in range(8):
        data.batch(1, step, 0)


def test_a_catalog_without_one_of_its_files_is_made_again(settings: Settings) -> None:
    fingerprint, stored = _stored(settings)
    (stored / "digests.npy").unlink()
    assert prepare_data(KIND, settings(), SCALE, SEED).fingerprint == fingerprint
    assert (stored / "digests.npy").exists()


def _stored(settings: Settings) -> tuple[str, Path]:
    facts = prepare_data(KIND, settings(), SCALE, SEED)
    (folder,) = (cache_directory(settings().data) / "catalogs").iterdir()
    return facts.fingerprint, folder


@pytest.mark.parametrize("file", ["digests.npy", "names.npy", "train.npy", "catalog.json"])
def test_a_damaged_catalog_is_made_again_from_the_images(
    settings: Settings, caplog: pytest.LogCaptureFixture, file: str
) -> None:
    fingerprint, folder = _stored(settings)
    content = bytearray((folder / file).read_bytes())
    content[-2] ^= 1
    (folder / file).write_bytes(content)
    data = open_data(KIND, settings(), stages(), SCALE, SEED, fingerprint)
    assert data.fingerprint == fingerprint
    assert "is damaged" in caplog.text and "all images are read again" in caplog.text
    directory = cache_directory(settings().data)
    assert stored_catalog(fingerprint, KIND, settings(), directory) is not None


def test_a_catalog_without_a_column_is_damaged(settings: Settings) -> None:
    fingerprint, folder = _stored(settings)
    head = json.loads((folder / "catalog.json").read_text())
    del head["sha256"]["heights"]
    (folder / "catalog.json").write_text(json.dumps(head))
    directory = cache_directory(settings().data)
    assert stored_catalog(fingerprint, KIND, settings(), directory) is None
    assert not folder.exists()


def test_of_many_images_neither_names_nor_hashes_travel_with_a_run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = prepare_data(KIND, settings(), SCALE, SEED)
    monkeypatch.setattr(prepare_module, "MOST_NAMED", 6)
    many = prepare_data(KIND, settings(), SCALE, SEED)
    assert len(few.digests) == 7 and many.digests == many.held_out == ()
    assert stored_digests(many.fingerprint, cache_directory(settings().data)) == dict(few.digests)
