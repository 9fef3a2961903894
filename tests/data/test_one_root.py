"""One folder, and a part of it held out, is what it was before there could be several folders, a
folder of validation images and pairs: the hashes here were made by the commit before them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from conftest import SCALE, SEED, noise, stages
from PIL import Image

from ganforge.data.base import Data
from ganforge.data.prepare import open_data, prepare_data
from ganforge.data.settings import PairedSettings, ValidationSettings
from ganforge.settings import setting
from ganforge.systems.settings import StageSettings, SystemSettings
from ganforge.training.lineage import digest

#: of each kind: the data fingerprint, and the first 16 digits of a sha256 over batches
BEFORE = {
    "super_resolution": (
        "1700e1593bc024d815b0552a5fca06ac3c8e539c4765db735159fc1fec90c362",
        "f7c7e6e9f9768302",
    ),
    "images": (
        "1700e1593bc024d815b0552a5fca06ac3c8e539c4765db735159fc1fec90c362",
        "f6292513d1d24ca1",
    ),
    "labelled": (
        "4d5b4e594c65bb2809c9b52260d5d094b9379f5e5d4e397c817f73987fdb72b1",
        "e125f448b9ef265f",
    ),
    "paired": (
        "3f1f0279c177a40421bb8dff0f43dbe939385b34f43f3c4bb16baa105541be1e",
        "d6957a6ff228d554",
    ),
    "unpaired": (
        "4d5b4e594c65bb2809c9b52260d5d094b9379f5e5d4e397c817f73987fdb72b1",
        "1334dbb5b36fa1d6",
    ),
}


IDENTITY_BEFORE = "a159ad249bcf8852def5eb21119ca85ad3bf6fc996f8e055365af99ae61e6a89"


class OfAnyKind(SystemSettings):
    data: PairedSettings = setting(PairedSettings(), "images")  # pyright: ignore[reportIncompatibleVariableOverride]
    num_classes: int = setting(2, "classes")


def _settings(root: Path, **data: object) -> OfAnyKind:
    return OfAnyKind(
        stages=(StageSettings(resolution=16), StageSettings(resolution=32)),
        data=PairedSettings(root=str(root), view="crop", pairing="folders", **data),  # pyright: ignore
        validation=ValidationSettings(fraction=0.3, samples=3),
    )


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Six images of one size in each of source/ and target/."""
    for number in range(12):
        path = tmp_path / "pairs" / ("source", "target")[number % 2] / f"{number // 2}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        side = 40 + number // 2
        Image.fromarray(noise(number, side, 44)).save(path)
    return tmp_path / "pairs"


def _bits(data: Data) -> str:
    """Of the targets, which no resize touches, and of labels; windows, flips and order included."""
    found = hashlib.sha256()
    for index, step, shard in ((1, 0, 0), (1, 7, 3)):
        _add(found, (data.batch(index, step, shard).target, data.batch(index, step, shard).label))
    _add(found, (data.validation(1, 0).target, data.samples(1).target))
    return found.hexdigest()[:16]


def _add(found: "hashlib._Hash", tensors: Iterable[object]) -> None:
    for tensor in tensors:
        if tensor is not None:
            found.update(np.asarray(tensor).tobytes())


@pytest.mark.parametrize("kind", ["super_resolution", "images", "labelled", "paired", "unpaired"])
def test_fingerprint_and_bits_are_those_of_before(kind: str, pairs: Path, tmp_path: Path) -> None:
    settings = _settings(pairs, cache_directory=str(tmp_path / "cache"))
    facts = prepare_data(kind, settings, SCALE, SEED)
    data = open_data(kind, settings, stages(), SCALE, SEED, facts.fingerprint, prefetch=False)
    assert (facts.fingerprint, _bits(data)) == BEFORE.get(kind)


def test_the_settings_of_a_stage_are_those_of_before(pairs: Path) -> None:
    identity = _settings(pairs).identity(1)
    assert digest(identity) == IDENTITY_BEFORE
