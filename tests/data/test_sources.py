"""Where images come from, and what is said when they are unavailable."""

import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import SEED, Settings
from PIL import Image

from ganforge.data.folders import find_images
from ganforge.data.prepare import open_data, prepare_data
from ganforge.data.settings import DataSettings
from ganforge.data.sources import _faces, find_source, usable_source
from ganforge.data.split import split
from ganforge.schedule import Stage
from ganforge.settings import SettingsError, setting, validated
from ganforge.systems.settings import StageSettings, SystemSettings


class Conditional(SystemSettings):
    num_classes: int = setting(10, "classes", ge=1)


def conditional(tmp_path: Path, num_classes: int = 10, **data: object) -> Conditional:
    given = DataSettings(cache_directory=str(tmp_path / "cache"), **data)  # pyright: ignore
    stages = (StageSettings(resolution=16),)
    return Conditional(num_classes=num_classes, stages=stages, data=given, channels=1)


def said(settings: SystemSettings, kind: str = "labelled") -> str:
    with pytest.raises(SettingsError) as caught:
        find_images(kind, settings)
    assert ";" in str(caught.value)
    return str(caught.value)


def test_images_outside_of_sub_folders(folder: Path, tmp_path: Path) -> None:
    message = said(conditional(tmp_path, root=str(folder)))
    assert "6 of 7 images lie outside of sub-folders (the first is p0.png)" in message


def test_more_and_fewer_classes_than_the_system_has(tmp_path: Path) -> None:
    for wanted in (9, 11):
        message = said(conditional(tmp_path, wanted, source="digits"))
        assert f"num_classes = {wanted}: data.source = digits has 10 classes" in message
    assert len(find_images("labelled", conditional(tmp_path, source="digits")).images) == 1797


def test_a_class_of_one_image(folder: Path, tmp_path: Path) -> None:
    (folder / "other").mkdir()
    for path in folder.glob("*.png"):
        path.rename(folder / "other" / path.name)
    assert "class below has 1 usable images" in said(conditional(tmp_path, 2, root=str(folder)))


def test_photographs_have_no_classes(tmp_path: Path) -> None:
    assert "have no classes" in said(conditional(tmp_path, source="photographs"))


def test_a_folder_comes_before_the_source(folder: Path) -> None:
    found = find_source(DataSettings(root=str(folder), source="digits"))
    assert len(found.images) == 7 and found.mirror and not found.enlarge


def test_small_images_are_enlarged_where_asked_and_never_cropped(folder: Path) -> None:
    given = DataSettings(root=str(folder), smaller="enlarge")
    assert len(usable_source(given, 3, 512).images) == 7
    with pytest.raises(SettingsError, match="smaller than the target side"):
        usable_source(given.model_copy(update={"view": "crop"}), 3, 512)
    with pytest.raises(SettingsError, match=r"data\.source = digits: 1797 of 1797 images"):
        usable_source(DataSettings(source="digits", view="crop"), 1, 32)


@pytest.mark.parametrize(("fraction", "sizes"), [(0.1, (50, 30, 20)), (0.5, (3, 2, 2))])
def test_the_split_is_stratified(fraction: float, sizes: tuple[int, ...]) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    for seed in range(20):
        train, held = split([str(n) for n in range(len(labels))], fraction, seed, labels)
        assert sorted(train + held) == list(range(len(labels)))
        assert abs(len(held) - fraction * len(labels)) <= 1
        for label, size in enumerate(sizes):
            mine = sum(labels[n] == label for n in held)
            assert abs(mine - fraction * size) < 1 and 0 < mine < size


def test_the_split_draws_anew_from_each_seed() -> None:
    labels = [n % 10 for n in range(1797)]
    names = [str(n) for n in range(1797)]
    one, other = (split(names, 0.1, seed, labels)[1] for seed in (0, 1))
    assert one == split(names, 0.1, 0, labels)[1]
    assert set(one) != set(other)
    first = {labels[n] for n in one[:60]}
    assert first == set(range(10))  # the first few are a fair sample


def idx(path: Path, values: np.ndarray) -> None:
    """A file in the format of MNIST."""
    head = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + values.tobytes())


def test_torchvision_sets_are_read_from_where_they_are_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 28, 28), np.uint8)
    labels = np.arange(40, dtype=np.uint8) % 10
    raw = tmp_path / "cache" / "torchvision" / "MNIST" / "raw"
    for part in ("train", "t10k"):
        idx(raw / f"{part}-images-idx3-ubyte", pixels)
        idx(raw / f"{part}-labels-idx1-ubyte", labels)
    settings = conditional(tmp_path, source="torchvision:MNIST")
    facts = prepare_data("labelled", settings, 1, SEED)
    assert facts.num_images == 40
    assert facts.classes[3] == "3 - three"
    given = settings.model_copy(update={"stages": (StageSettings(resolution=28),)})
    data = open_data("labelled", given, (Stage(28, 400, 0, 8, 4),), 1, SEED, prefetch=False)
    owner = {one.tobytes(): label for one, label in zip(pixels, labels, strict=True)}
    for step in range(5):
        batch = data.batch(0, step, 1)
        assert batch.label is not None
        found = ((batch.target + 1) * 127.5).round().to(torch.uint8)[:, 0].numpy()
        for one, label in zip(found, batch.label.tolist(), strict=True):
            assert owner[one.tobytes()] == label


def test_eurosat_is_read_from_its_folders(tmp_path: Path) -> None:
    root = tmp_path / "cache" / "torchvision"
    for label, name in enumerate(("Forest", "River")):
        (root / "eurosat" / "2750" / name).mkdir(parents=True)
        for number in range(3):
            image = Image.new("RGB", (64, 64), (label, number, 0))
            image.save(root / "eurosat" / "2750" / name / f"{name}_{number}.png")
    found = find_source(
        DataSettings(source="torchvision:EuroSAT", cache_directory=str(tmp_path / "cache")),
        labelled=True,
    )
    assert found.classes == ("Forest", "River")
    assert [one.label for one in found.images] == [0, 0, 0, 1, 1, 1]
    assert found.mirror


def test_celeba_needs_its_own_lists(tmp_path: Path) -> None:
    base = tmp_path / "cache" / "torchvision" / "celeba"
    (base / "img_align_celeba").mkdir(parents=True)
    (base / "list_eval_partition.txt").write_text("000001.jpg 0\n")  # not the published list
    message = said(conditional(tmp_path, source="torchvision:CelebA"), "images")
    assert "not found or corrupted" in message


def test_a_part_of_faces_is_read_as_images_without_labels(tmp_path: Path) -> None:
    part = SimpleNamespace(root=tmp_path, base_folder="celeba", filename=["2.jpg", "1.jpg"])
    found = _faces(part, "CelebA")
    assert [one.name for one in found] == ["CelebA/1.jpg", "CelebA/2.jpg"]
    assert found[0].path == tmp_path / "celeba" / "img_align_celeba" / "1.jpg"
    assert found[0].label is None


@pytest.mark.parametrize(
    ("name", "files"),
    [("MNIST", "MNIST/raw"), ("CIFAR10", "cifar-10-batches-py"), ("CelebA", "celeba")],
)
def test_a_set_that_is_not_here_names_its_folder_and_the_fix(
    tmp_path: Path, name: str, files: str
) -> None:
    message = said(conditional(tmp_path, source=f"torchvision:{name}"), "images")
    assert str(tmp_path / "cache" / "torchvision" / files) in message
    assert "set data.download = true" in message


def test_an_unknown_source_is_refused_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match=r"source = 'imagenet'.*digits"):
        validated(DataSettings, {"source": "imagenet"})


def test_both_kinds_see_the_same_digits(settings: Settings) -> None:
    given = settings(channels=1, root=None, source="digits")
    one, other = (prepare_data(kind, given, 1, SEED) for kind in ("images", "labelled"))
    assert one.fingerprint == other.fingerprint


def test_the_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    found = find_source(DataSettings(source="digits"), labelled=True)
    real = load_digits()
    assert [one.label for one in found.images] == real.target.tolist()
    levels = np.stack([p.pixels for p in found.images if p.pixels is not None])
    np.testing.assert_array_equal(levels, np.round(real.images * 255 / 16).astype(np.uint8))
