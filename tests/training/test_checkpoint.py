"""The store finds all damage, says so, and never takes a damaged state for a good one."""

import json
import logging
import re

import pytest
import torch
from torch import nn

from ganforge.schedule import Position
from ganforge.systems.base import Player, System
from ganforge.training.checkpoint import (
    Damaged,
    Store,
    collect,
    pack,
    restore,
    state_hashes,
)
from ganforge.training.files import MANIFEST, LocalFolders, ObjectFolders
from ganforge.training.loop import Training

FILES = [
    "networks.safetensors",
    "average.net.safetensors",
    "optimizer.net.safetensors",
    MANIFEST,
]


class Toy(System):
    """One player with an average, batch norm and a parameter without dimensions."""

    def __init__(self, seed: int = 0):
        nn.Module.__init__(self)
        torch.manual_seed(seed)
        self.net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), Scale())
        adam = torch.optim.Adam([torch.zeros(())])
        self.players = (Player("net", self.net, adam, lambda p: {"lr": 0.1}, average=nn.Module()),)
        self.to(memory_format=torch.channels_last)
        self.players[0].follow()

    def turn(self) -> "Toy":
        player = self.players[0]
        loss = self.net(torch.randn(4, 2, 5, 5)).square().mean()
        player.step(torch.autograd.grad(loss, player.parameters), Nowhere)  # type: ignore[arg-type]
        return self


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        return x * self.scale


class Nowhere:
    settings = None
    rate = 1.0


def saved(store: Store, index: int, step: int, keep: str = "all", **record) -> str:
    """Store a state whose weights depend on its position; its name."""
    training = Training(Toy(1000 * index + step).turn(), Position(index, step))
    before = set(store.names())
    store.save(training, {"kind": "progress", **record}, keep)
    (name,) = set(store.names()) - before
    return name


def put(store: Store, name: str, file: str, content: bytes | None) -> None:
    """Overwrite or remove a file behind the store's back."""
    folders = store.folders
    if isinstance(folders, LocalFolders):
        path = folders.root / name / file
        if content is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    else:
        assert isinstance(folders, ObjectFolders)
        if content is None:
            folders.files.delete_file(f"{folders.root}/{name}/{file}")
        else:
            folders.write(name, {file: content})


def test_a_state_comes_back_whole(storage):
    store = Store(storage)
    system = Toy(1).turn().turn()
    store.save(Training(system, Position(2, 7)), {"kind": "stage", "stages": [{"a": 1.5}]}, "last")
    snapshot = Store(storage).newest()
    assert snapshot is not None and snapshot.position == Position(2, 7)
    assert snapshot.manifest["stages"] == [{"a": 1.5}]
    other = Toy(2)
    assert state_hashes(other) != state_hashes(system)
    restore(other, snapshot.groups)
    assert state_hashes(other) == state_hashes(system)
    torch.manual_seed(5)
    system.turn()
    torch.manual_seed(5)
    assert state_hashes(other.turn()) == state_hashes(system)


def test_layouts_come_back(storage):
    """Moments lie in memory like their parameter, or the next step would round differently."""
    store = Store(storage)
    system = Toy(1).turn()
    store.save(Training(system, Position(0, 1)), {}, "last")
    other = Toy(2)
    snapshot = store.newest()
    assert snapshot is not None
    restore(other, snapshot.groups)
    for mine, theirs in ((system, other),):
        for a, b in zip(mine.players[0].parameters, theirs.players[0].parameters, strict=True):
            assert a.stride() == b.stride()
            for key, value in mine.players[0].optimizer.state[a].items():
                assert value.stride() == theirs.players[0].optimizer.state[b][key].stride()


def test_a_state_before_the_first_turn_is_stored(storage):
    store = Store(storage)
    system = Toy(3)
    store.save(Training(system, Position(0, 1)), {}, "last")
    snapshot = store.newest()
    assert snapshot is not None
    other = Toy(4).turn()
    restore(other, snapshot.groups)
    assert state_hashes(other) == state_hashes(system)


def test_a_state_of_other_networks_is_refused():
    groups = collect(Toy(1).turn())
    del groups["networks"]["net.2.scale"]
    with pytest.raises(RuntimeError, match=r"Missing key.*net\.2\.scale"):
        restore(Toy(2), groups)


def test_files_are_loadable_without_running_anything(tmp_path):
    store = Store(str(tmp_path))
    name = saved(store, 0, 1)
    from safetensors.torch import load_file

    for file in FILES[:-1]:
        assert load_file(tmp_path / name / file) or "optimizer" in file
    assert sorted(p.name for p in (tmp_path / name).iterdir()) == sorted(FILES)


def changed(content: bytes, how: str) -> bytes:
    kind, _, place = how.partition(" ")
    at = int(len(content) * float(place) / 100)
    if kind == "cut":
        return content[:at]
    middle = min(at, len(content) - 1)
    return content[:middle] + bytes([content[middle] ^ 0x01]) + content[middle + 1 :]


DAMAGE = ["cut 0", "cut 10", "cut 50", "cut 99", "flip 0", "flip 10", "flip 50", "flip 100"]


@pytest.mark.parametrize("file", FILES)
def test_any_damage_is_found_and_named_and_the_state_before_is_taken(storage, caplog, file):
    store = Store(storage)
    saved(store, 0, 5)
    newest = saved(store, 0, 10)
    content = store.folders.read(newest, file)
    for how in [*DAMAGE, "missing"]:
        put(store, newest, file, None if how == "missing" else changed(content, how))
        with pytest.raises(Damaged, match=re.escape(f"{newest}/{file}")):
            store.load(newest)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "ganforge"):
            snapshot = store.newest()
        assert snapshot is not None and snapshot.position == Position(0, 5), how
        assert f"{newest}/{file}" in caplog.text and "falling back" in caplog.text
        put(store, newest, file, content)
        found = store.newest()
        assert found is not None and found.position == Position(0, 10)


def test_every_flipped_bit_of_a_manifest_is_found(tmp_path):
    """Also those that read the same: other white space, 1E-05 for 1e-05."""
    store = Store(str(tmp_path))
    name = saved(store, 0, 5, score=1e-05, text="ä")
    content = store.folders.read(name, MANIFEST)
    for place in range(len(content)):
        for mask in (1, 4, 7, 32):  # 7 makes a line feed a carriage return, 32 an e an E
            flipped = bytearray(content)
            flipped[place] ^= mask
            put(store, name, MANIFEST, bytes(flipped))
            with pytest.raises(Damaged):
                store.manifest(name)
    put(store, name, MANIFEST, content + b"\n")
    with pytest.raises(Damaged):
        store.manifest(name)


def test_a_manifest_of_something_else_is_no_manifest(storage):
    store = Store(storage)
    name = saved(store, 0, 5)
    for text in ("null", "[]", "{}", '{"sha256": 1}', json.dumps({"index": 0, "step": 1})):
        put(store, name, MANIFEST, text.encode())
        with pytest.raises(Damaged, match=MANIFEST):
            store.load(name)


def test_what_is_not_a_checkpoint_is_left_alone(storage):
    store = Store(storage)
    put(store, "notes", "readme.txt", b"mine")
    put(store, "000-000000099.zz", MANIFEST, b"{}")
    put(store, "run.json", "000-000000001.ab", b"{}")
    good = saved(store, 0, 5, keep="last")
    for step in (6, 7, 8):
        good = saved(store, 0, step, keep="last")
    assert store.names()[0] == good and len(store.names()) == 2
    snapshot = store.newest()
    assert snapshot is not None and snapshot.position == Position(0, 8)
    assert {"notes", "000-000000099.zz", "run.json"} <= set(store.folders.names())


def test_half_written_checkpoints_count_for_nothing(storage, caplog):
    store = Store(storage)
    saved(store, 0, 5)
    put(store, ".writing-000-000000009.ab", "networks.safetensors", b"half")
    put(store, "000-000000010.ab", "networks.safetensors", b"half")  # an object store's way
    with caplog.at_level(logging.WARNING, "ganforge"):
        snapshot = store.newest()
    assert snapshot is not None and snapshot.position == Position(0, 5)
    assert "000-000000010.ab/manifest.json is missing" in caplog.text
    saved(store, 0, 7, keep="last")
    assert "000-000000010.ab" not in store.names()


def test_an_empty_store_has_nothing(storage, caplog):
    assert Store(storage).newest() is None
    assert Store(storage).at(0) is None
    assert not [record for record in caplog.records if record.name == "ganforge"]


def test_a_store_without_a_good_state_says_that_it_starts_again(storage, caplog):
    store = Store(storage)
    put(store, saved(store, 0, 5), MANIFEST, None)
    assert store.newest() is None
    assert "no checkpoint verifies; starting from the beginning" in caplog.text


def places(store: Store) -> list[tuple[int, int]]:
    found = []
    for name in store.names():
        index, step = name.partition(".")[0].split("-")
        found.append((int(index), int(step)))
    return found


def fill(store: Store, keep: str) -> None:
    """Three stages of ends with scores 3, 9, 5 and states between them."""
    for index, score in enumerate((3.0, 9.0, 5.0)):
        for step in (4, 8):
            saved(store, index, step, keep)
        saved(store, index, 10, keep, kind="stage", score=score)


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        ("last", [(2, 10), (2, 8)]),
        ("best:1", [(2, 10), (2, 8), (1, 10)]),
        ("best:3", [(2, 10), (2, 8), (1, 10), (0, 10)]),
        ("all", [(i, s) for i in (2, 1, 0) for s in (10, 8, 4)]),
    ],
)
def test_retention_keeps_what_it_says(storage, keep, expected):
    store = Store(storage)
    fill(store, keep)
    assert places(store) == expected
    for index in range(3):
        found = store.at(index)
        assert (found is not None) == ((index, 10) in expected)
        assert found is None or found.position == Position(index, 10)


def test_equal_scores_keep_the_newest_and_no_score_is_no_best(storage):
    store = Store(storage)
    saved(store, 0, 1, "best:1", kind="stage", score=2.0)
    saved(store, 1, 1, "best:1", kind="stage", score=2.0)
    saved(store, 2, 1, "best:1", kind="stage", score=None)
    for step in (2, 3):
        saved(store, 2, step, "best:1")
    assert places(store) == [(2, 3), (2, 2), (1, 1)]


def test_states_of_several_scores_are_kept_by_what_beats_them(storage):
    """Of (psnr, -distance): two on the front, one that the second beats, one that both do."""
    store = Store(storage)
    scores = ([30.0, -0.3], [31.0, -0.4], [30.5, -0.4], [29.0, -0.5])
    for index, score in enumerate(scores):
        saved(store, index, 1, "all", kind="stage", score=score)
    best = store.best()
    assert best is not None and best.position == Position(1, 1)  # the first score decides
    for step in (2, 3):
        saved(store, 4, step, "best:3")
    assert places(store) == [(4, 3), (4, 2), (2, 1), (1, 1), (0, 1)]
    saved(store, 4, 4, "best:2")
    assert places(store) == [(4, 4), (4, 3), (1, 1), (0, 1)]


def test_scores_by_other_metrics_are_not_compared(storage):
    """A run that was kept by PSNR is resumed with another metric."""
    store = Store(storage)
    saved(store, 0, 1, "best:1", kind="stage", score=31.0)
    saved(store, 1, 1, "best:1", kind="stage", score=0.9, scored_by=["validation/ssim"])
    saved(store, 2, 1, "best:1", kind="stage", score=0.8, scored_by=["validation/ssim"])
    best = store.best()
    assert best is not None and best.position == Position(1, 1)
    saved(store, 2, 2, "best:1")
    saved(store, 2, 3, "best:1")
    assert places(store) == [(2, 3), (2, 2), (1, 1)]


@pytest.mark.parametrize("keep", ["last", "best:2", "all"])
def test_damaged_states_do_not_count_among_those_kept(storage, keep):
    """A run that fell back from (0, 12) and (0, 9) to (0, 5) writes (0, 9) again."""
    store = Store(storage)
    saved(store, 0, 5)
    for step in (9, 12):
        name = saved(store, 0, step)
        put(store, name, "networks.safetensors", b"damaged")
    again = saved_again(store, 9, keep)
    assert places(store) == [(0, 9), (0, 5)]
    snapshot = store.newest()
    assert snapshot is not None and snapshot.position == Position(0, 9)
    put(store, again, MANIFEST, None)
    before = store.newest()
    assert before is not None and before.position == Position(0, 5)


def saved_again(store: Store, step: int, keep: str) -> str:
    store.save(Training(Toy(step).turn(), Position(0, step)), {"kind": "progress"}, keep)
    return store.names()[0]


def test_the_end_of_a_stage_is_found_beside_a_damaged_one(storage, caplog):
    store = Store(storage)
    saved(store, 0, 10, kind="stage")
    bad = saved(store, 0, 11, kind="stage")
    put(store, bad, "networks.safetensors", b"")
    found = store.at(0)
    assert found is not None and found.position == Position(0, 10)
    assert f"{bad}/networks.safetensors" in caplog.text


def test_positions_sort_as_numbers(storage):
    store = Store(storage)
    for name in ("1000-000000001.aa", "999-1000000000.aa", "999-000000002.aa"):
        put(store, name, "x", b"")
    assert [n.split(".")[0] for n in store.names()] == [
        "1000-000000001",
        "999-1000000000",
        "999-000000002",
    ]


def test_hashes_do_not_depend_on_layout_or_gradients():
    first, second = Toy(1).turn(), Toy(1).turn()
    second.to(memory_format=torch.contiguous_format)
    assert state_hashes(first) == state_hashes(second)
    for parameter in second.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert state_hashes(first) == state_hashes(second)


def test_packed_tensors_are_the_same_bytes_for_any_layout():
    wide = torch.randn(2, 3, 4, 4)
    assert pack({"a": wide}) == pack({"a": wide.to(memory_format=torch.channels_last)})
