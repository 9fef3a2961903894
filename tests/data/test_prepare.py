"""The driver prepares, the workers open the same images; threads end with their owner."""

import dataclasses
import gc
import json
import pickle
import threading
import time
from pathlib import Path

import pytest
from conftest import SCALE, SEED, Open, Settings, stages

from ganforge.data.cache import cache_directory
from ganforge.data.prepare import open_data, prepare_data
from ganforge.data.settings import DataSettings
from ganforge.data.super_resolution import SuperResolutionData
from ganforge.settings import SettingsError

KIND = "super_resolution"


def test_facts_are_plain_and_say_what_there_is(settings: Settings) -> None:
    facts = prepare_data(KIND, settings(view="crop"), SCALE, SEED)
    assert pickle.loads(pickle.dumps(facts)) == facts
    found = json.loads(json.dumps(dataclasses.asdict(facts)))
    assert found["fingerprint"] == facts.fingerprint
    assert found["epoch_images"] == list(facts.epoch_images)
    assert (facts.num_images, facts.num_train, facts.num_validation) == (7, 5, 2)
    assert len(facts.held_out) == 2
    assert (facts.smallest, facts.largest) == ((43, 41), (130, 90))
    resize = prepare_data(KIND, settings(), SCALE, SEED)
    assert resize.fingerprint == facts.fingerprint
    assert resize.epoch_images == (5, 5)


def test_an_epoch_of_crops_tiles_the_training_images(settings: Settings) -> None:
    facts = prepare_data(KIND, settings(view="crop"), SCALE, SEED)
    sides = {"p0.png": (40, 61), "p1.png": (50, 50), "p2.png": (97, 45), "p3.png": (64, 64)}
    sides |= {"p4.png": (41, 43), "p5.png": (90, 130), "below/q.PNG": (48, 52)}
    train = [size for name, size in sides.items() if name not in facts.held_out]
    assert facts.epoch_images == tuple(
        sum((h // side) * (w // side) for h, w in train) for side in (16, 32)
    )


def test_a_worker_reuses_what_the_driver_packed(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = prepare_data(KIND, settings(), SCALE, SEED)
    monkeypatch.setattr("ganforge.data.packed._write", None)
    monkeypatch.setattr("ganforge.data.cache.decode", None)
    data = open_data(KIND, settings(), stages(), SCALE, SEED, facts.fingerprint)
    assert data.fingerprint == facts.fingerprint
    assert len(list((tmp_path / "cache" / "packed").glob("*.pixels"))) == 3


def test_a_worker_on_a_machine_with_other_images_is_refused(
    settings: Settings, folder: Path, tmp_path: Path
) -> None:
    facts = prepare_data(KIND, settings(), SCALE, SEED)
    (folder / "p1.png").unlink()
    there = settings(cache_directory=str(tmp_path / "cache of another machine"))
    with pytest.raises(SettingsError, match=rf"data\.root = {folder}: .* are not the driver's"):
        open_data(KIND, there, stages(), SCALE, SEED, facts.fingerprint)


def test_an_image_that_ends_early_is_named_by_the_driver(settings: Settings, folder: Path) -> None:
    path = folder / "p5.png"
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(SettingsError, match=r"p5\.png: cannot be read"):
        prepare_data(KIND, settings(), SCALE, SEED)


def test_a_resolution_that_is_not_a_multiple_of_the_scale(settings: Settings) -> None:
    with pytest.raises(SettingsError, match=r"stages\.0\.resolution = 16: .* scale \(3\)"):
        prepare_data(KIND, settings(), 3, SEED)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "set"))
    assert cache_directory(DataSettings(cache_directory="/else")) == Path("/else")
    assert cache_directory(DataSettings()) == tmp_path / "set"
    monkeypatch.delenv("GANFORGE_CACHE")
    assert cache_directory(DataSettings()) == Path.home() / ".cache" / "ganforge"


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_the_prefetching_thread_ends_with_its_object(opened: Open) -> None:
    before = len(_threads())
    data = opened()
    assert len(_threads()) == before  # none before the first batch
    data.batch(0, 0, 0)
    assert len(_threads()) == before + 1
    data.close()
    assert len(_threads()) == before
    data.batch(0, 5, 0)
    gc.disable()  # no cycle keeps it
    try:
        del data
        deadline = time.monotonic() + 5
        while len(_threads()) > before and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        gc.enable()
    assert len(_threads()) == before


def test_prefetching_holds_at_most_the_next_step(opened: Open) -> None:
    data = opened()
    for step in range(6):
        for shard in range(4):
            data.batch(0, step, shard)
    data.batch(1, 0, 2)
    assert isinstance(data, SuperResolutionData)
    assert list(data._batches._ahead) == [(1, 1, 2)]
    data.close()
