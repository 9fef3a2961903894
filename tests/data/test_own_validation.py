"""A folder of validation images in place of a part that is held out."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SCALE, SEED, Settings, noise, stages
from PIL import Image

from ganforge.data.base import Data
from ganforge.data.folders import find_images
from ganforge.data.prepare import open_data, prepare_data
from ganforge.data.scan import report
from ganforge.data.settings import DataSettings, PairedSettings, ValidationSettings
from ganforge.settings import SettingsError, override, setting
from ganforge.systems.settings import StageSettings, SystemSettings

KINDS = ["super_resolution", "images", "labelled", "paired", "unpaired"]


class OfAnyKind(SystemSettings):
    data: PairedSettings = setting(PairedSettings(), "images")  # pyright: ignore[reportIncompatibleVariableOverride]


def write(root: Path, names: str, first: int = 0) -> Path:
    """Images of noise of 40 × 44, of different pixels for each `first`."""
    for number, name in enumerate(names.split()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(first + number, 40, 44)).save(root / name)
    return root


def moved(root: Path, names: list[str], to: Path) -> Path:
    for name in names:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(root / name, to / name)
    return to


def _settings(root: Path, cache: Path, own: Path | None = None) -> OfAnyKind:
    return OfAnyKind(
        stages=(StageSettings(resolution=16), StageSettings(resolution=32)),
        data=PairedSettings(
            root=str(root), view="crop", pairing="folders", cache_directory=str(cache)
        ),
        validation=ValidationSettings(fraction=0.3, root=None if own is None else str(own)),
    )


def _opened(kind: str, settings: SystemSettings) -> Data:
    return open_data(kind, settings, stages(), SCALE, SEED, prefetch=False)


def _shown(data: Data) -> set[bytes]:
    """Each held-out target, whatever its number."""
    batches = [data.validation(1, number) for number in range(data.num_validation)]
    return {np.asarray(target).tobytes() for batch in batches for target in batch.target}


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_images_in_a_folder_of_their_own_train_to_the_same_batches(
    kind: str, tmp_path: Path
) -> None:
    names = " ".join(f"{side}/{number}.png" for side in ("source", "target") for number in range(6))
    root, cache = write(tmp_path / "images", names), tmp_path / "cache"
    before = _settings(root, cache)
    facts = prepare_data(kind, before, SCALE, SEED)
    data = _opened(kind, before)
    measured = _shown(data)
    batches = [data.batch(1, step, 0) for step in range(5)]
    own = moved(root, list(facts.held_out), tmp_path / "own")

    after = _settings(root, cache, own)
    again = prepare_data(kind, after, SCALE, SEED)
    assert {f"validation.root/{name}" for name in facts.held_out} == set(again.held_out)
    assert (again.num_train, again.epoch_images) == (facts.num_train, facts.epoch_images)
    data = _opened(kind, after)
    for step, batch in enumerate(batches):
        here = data.batch(1, step, 0)
        assert torch.equal(batch.target, here.target)
        assert batch.source is None or (
            here.source is not None and torch.equal(batch.source, here.source)
        )
    if kind == "super_resolution":  # others show windows, which are drawn by number
        assert _shown(data) == measured


def test_its_pixels_enter_the_fingerprint_and_its_path_does_not(tmp_path: Path) -> None:
    root, own = write(tmp_path / "a", "1.png 2.png"), write(tmp_path / "b", "x.png y.png", 9)

    def fingerprint(folder: Path) -> str:
        settings = _settings(root, tmp_path / "cache", folder)
        return prepare_data("images", settings, SCALE, SEED).fingerprint

    first = fingerprint(own)
    assert fingerprint(Path(shutil.copytree(own, tmp_path / "elsewhere"))) == first
    write(own, "y.png", 50)
    assert fingerprint(own) != first
    assert first != prepare_data(
        "images", _settings(root, tmp_path / "cache"), SCALE, SEED
    ).fingerprint  # fmt: skip


def test_one_image_to_train_on_and_one_to_measure_are_enough(tmp_path: Path) -> None:
    settings = _settings(
        write(tmp_path / "a", "1.png"), tmp_path / "c", write(tmp_path / "b", "1.png", 9)
    )
    facts = prepare_data("images", settings, SCALE, SEED)
    assert (facts.num_train, facts.held_out) == (1, ("validation.root/1.png",))


def _refused(settings: SystemSettings, kind: str = "images") -> str:
    with pytest.raises(SettingsError) as caught:
        find_images(kind, settings)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_what_cannot_be_measured_on_is_refused_in_one_line(tmp_path: Path) -> None:
    root, own = write(tmp_path / "a", "s/1.png s/2.png t/1.png t/2.png"), tmp_path / "own"
    settings = _settings(root, tmp_path / "cache", own)
    assert _refused(settings).startswith(f"validation.root = {own}: there is no such folder; give")
    own.mkdir()
    assert _refused(settings).startswith(f"validation.root = {own}: has no images; put PNG")
    Image.fromarray(noise(0, 20, 44)).save(own / "small.png")
    assert f"validation.root = {own}: 1 of 1 images are smaller than" in _refused(settings)
    write(own, "small.png s/1.png", 9)
    assert f"validation.root = {own}: 1 of 2 images lie outside" in _refused(settings, "labelled")
    (own / "small.png").unlink()
    message = _refused(settings, "labelled")
    assert "has the classes s; must have those of the training images (s, t)" in message
    assert "has no folders source/ and target/" in _refused(settings, "paired")
    write(root, "validation.root/1.png")
    assert "rename the folder validation.root/" in _refused(settings)
    with pytest.raises(SettingsError, match=r"validation\.root = '': must be the path of a folder"):
        override(settings, {"validation.root": ""})


def test_images_that_are_trained_on_too_are_named(settings: Settings, tmp_path: Path) -> None:
    given = settings(held_out={"root": str(tmp_path / "own")})
    root = Path(given.data.root or "")
    write(tmp_path / "own", "new.png", 70)
    lines = report(find_images("images", given), given.data)
    assert lines == ["images        8 used", "held out      the 1 images of validation.root"]
    shutil.copy(root / "p3.png", tmp_path / "own" / "again.png")
    lines = report(find_images("images", given), given.data)
    assert len(lines) == 3 and lines[2].startswith(
        "warning: 1 × one file in two folders (validation.root/again.png is p3.png): take each out"
    )
    strict = settings(held_out={"root": str(tmp_path / "own")}, strict=True)
    with pytest.raises(SettingsError, match=r"validation\.root/again\.png is p3\.png"):
        prepare_data("images", strict, SCALE, SEED)
    with Image.open(root / "p3.png") as image:
        image.save(tmp_path / "own" / "again.png", compress_level=0)  # other bytes
    (_, _, line) = report(find_images("images", given), given.data)
    assert line.startswith("warning: look alike: 1 × two images (")


def test_the_built_in_images_may_be_measured_on_ones_own(tmp_path: Path) -> None:
    own = write(tmp_path / "own", "a.png")
    given = SystemSettings(
        stages=(StageSettings(resolution=16),),
        data=DataSettings(cache_directory=str(tmp_path / "cache")),
        validation=ValidationSettings(root=str(own)),
    )
    facts = prepare_data("images", given, SCALE, SEED)
    assert (facts.num_train, facts.held_out) == (11, ("validation.root/a.png",))
