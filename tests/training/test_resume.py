"""Resumed equals uninterrupted, bit for bit; another run's state is refused by name."""

import logging
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from ganforge.schedule import Position
from ganforge.settings import SettingsError, override
from ganforge.systems.progressive_gan_sr import Settings
from ganforge.systems.settings import ladder
from ganforge.training.checkpoint import Store
from ganforge.training.files import MANIFEST
from ganforge.training.lineage import digest
from ganforge.training.multiprocess import run_multiprocess
from ganforge.training.prepare import prepare
from ganforge.training.report import StageResult
from ganforge.training.run import run

NAME = "progressive_gan_sr"


@pytest.fixture
def small(tiny):
    """Two stages of 6 steps, the first half of the second in fade; reports at 2, 4 and 6."""

    def make(**changes) -> Settings:
        base = {
            "width": 4,
            "batch_size": 4,
            "shards": 2,
            "images_per_epoch": 12,
            "reports_per_stage": 3,
            "validation__max_side": 32,
            "validation__samples": 1,
            "threads": 1,
        }
        return tiny(**(base | changes))

    return make


@cache
def uninterrupted(settings_json: str) -> list:
    """All reports of a run, without a store; tests share it."""
    settings = Settings.model_validate_json(settings_json)
    return facts(run(prepare(NAME, settings)))


def whole(settings: Settings) -> list:
    return uninterrupted(settings.model_dump_json())


def facts(reports) -> list:
    """What must not depend on interruptions: (position, kind, images, metrics, row, grid, file)."""
    rows = []
    for report in reports:
        rows.append(
            (
                report.position,
                report.kind,
                report.images,
                plain(report.metrics),
                row_of(report.stage),
                None if report.samples is None else report.samples.tolist(),
                report.averaged,
            )
        )
    return rows


def plain(metrics: dict) -> dict:
    return {name: value for name, value in metrics.items() if not name.startswith("speed/")}


def row_of(stage: StageResult | None) -> StageResult | None:
    if stage is None:
        return None
    return replace(stage, seconds=0.0, workers=1, metrics=plain(stage.metrics))


def interrupted(prepared, store: str, count: int, **how) -> list:
    """The first `count` reports of a run that is left there."""
    taken = []
    with closing(run(prepared, store=store, **how)) as reports:
        for report in reports:
            taken.append(report)
            if len(taken) == count:
                break
    return facts(taken)


#: Reports: 0 start, 1-2 within, 3 end of stage 0, 4 growth, 5 in fade, 6 after it, 7 end.
@pytest.mark.parametrize("left", range(1, 9))
def test_resumed_equals_uninterrupted_wherever_it_was_left(small, tmp_path, left):
    settings = small()
    expected = whole(settings)
    assert [(p.index, p.step) for p, *_ in expected] == [
        *((0, step) for step in (0, 2, 4, 6)),
        *((1, step) for step in (0, 2, 4, 6)),
    ]
    prepared = prepare(NAME, settings)
    assert interrupted(prepared, str(tmp_path), left) == expected[:left]
    resumed = facts(run(prepared, store=str(tmp_path), resume=True))
    # the newest state: the last report that was stored, which is told again
    newest = max((n for n in range(left) if expected[n][0].step), default=None)
    assert resumed == expected[newest if newest is not None else 0 :]


@pytest.mark.parametrize("growth", ["described", "preserving"])
def test_resumed_again_and_again_equals_uninterrupted(small, tmp_path, growth):
    settings = small(growth=growth)
    prepared = prepare(NAME, settings)
    told: dict = {}
    for _ in range(7):
        for row in interrupted(prepared, str(tmp_path), 3, resume=True):
            assert told.setdefault(row[0], row) == row
    assert [told[p] for p in sorted(told)] == whole(settings)


def test_a_finished_run_tells_its_end_again(small, tmp_path):
    settings = small()
    prepared = prepare(NAME, settings)
    ended = facts(run(prepared, store=str(tmp_path)))
    names = Store(str(tmp_path)).names()
    assert facts(run(prepared, store=str(tmp_path), resume=True)) == ended[-1:]
    assert Store(str(tmp_path)).names() == names


def test_an_error_inside_a_step_leaves_a_state_to_resume(small, tmp_path, monkeypatch):
    settings = small()
    prepared = prepare(NAME, settings)
    from ganforge.systems.base import Player

    inner, turns = Player.step, []

    def broken(player, gradients, progress):
        turns.append(player.name)
        if len(turns) == 12:
            raise RuntimeError("out of memory")
        inner(player, gradients, progress)

    with monkeypatch.context() as patch:
        patch.setattr(Player, "step", broken)
        with pytest.raises(RuntimeError, match="out of memory"):
            list(run(prepared, store=str(tmp_path)))
    assert facts(run(prepared, store=str(tmp_path), resume=True)) == whole(settings)[3:]


def test_a_damaged_state_is_made_again(small, tmp_path, caplog):
    settings = small()
    prepared = prepare(NAME, settings)
    interrupted(prepared, str(tmp_path), 7)
    newest = Store(str(tmp_path)).names()[0]
    (tmp_path / newest / "networks.safetensors").write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING, "ganforge"):
        resumed = facts(run(prepared, store=str(tmp_path), resume=True))
    assert resumed == whole(settings)[5:]
    assert f"{newest}/networks.safetensors" in caplog.text
    assert newest not in Store(str(tmp_path)).names()


def test_leftovers_of_a_dead_process_are_swept(small, tmp_path):
    prepared = prepare(NAME, small())
    interrupted(prepared, str(tmp_path), 2)
    (tmp_path / ".writing-000-000000009.ab").mkdir()
    list(run(prepared, store=str(tmp_path), resume=True))
    assert not list(tmp_path.glob(".*"))


def test_changes_that_reach_no_weight_are_accepted(small, tmp_path):
    settings = small()
    expected = whole(settings)
    interrupted(prepare(NAME, settings), str(tmp_path), 2)
    changes = {
        "reports_per_stage": 1,
        "keep": "all",
        "checkpoint_every": 3,
        "validation.samples": 2,
    }
    changed = override(settings, changes)
    resumed = facts(run(prepare(NAME, changed), store=str(tmp_path), resume=True))
    assert [(p.index, p.step) for p, *_ in resumed] == [
        *[(0, 2), (0, 3), (0, 6)],
        *[(1, 0), (1, 3), (1, 6)],
    ]
    assert len(Store(str(tmp_path)).names()) == 5
    ends = [(row, file) for *_, row, _, file in expected if row]
    for (row, file), (theirs, other) in zip(
        [(row, file) for *_, row, _, file in resumed if row], ends, strict=True
    ):
        assert hashes(row) == hashes(theirs) and file == other


def hashes(stage: StageResult) -> dict[str, str]:
    return stage.hashes | {"stage": stage.stage_id, "environment": stage.environment_id}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"critic_steps": 1}, r"stages\.0: critic_steps: recorded 2, here 1"),
        ({"seed": 3}, "seed: recorded 0, here 3"),
        ({"stages.1.generator.learning_rate": 0.5}, r"stages\.1: generator\.learning_rate"),
        ({"width": 8}, r"stages\.1: width: recorded 4, here 8"),
        ({"stages.0.epochs": 3}, r"stages\.0: steps: recorded 6, here 9"),
        ({"stages.1.epochs": 1}, r"stages\.1: the stored state is at step 4, but the stage has 3"),
    ],
)
def test_another_runs_state_is_refused_and_the_difference_named(small, tmp_path, changes, named):
    settings = small()
    interrupted(prepare(NAME, settings), str(tmp_path), 7)
    changed = prepare(NAME, override(settings, changes))
    names = Store(str(tmp_path)).names()
    with pytest.raises(SettingsError, match=named):
        list(run(changed, store=str(tmp_path), resume=True))
    assert Store(str(tmp_path)).names() == names


def other_code(prepared):
    """The same run by code of another text."""
    return replace(prepared, code=prepared.code | {"losses.gradient_penalty": "other"})


def changed_loss(monkeypatch) -> None:
    from ganforge.systems import progressive_gan_sr as system

    real = system.gradient_penalty
    monkeypatch.setattr(system, "gradient_penalty", lambda *given: 1.5 * real(*given))


@pytest.mark.parametrize("left", [2, 3, 4, 6, 8])
def test_other_code_of_equal_bits_continues(small, tmp_path, caplog, left):
    """Wherever it was left; after the first stored state it is trained from the beginning."""
    prepared, expected = prepare(NAME, small()), whole(small())
    interrupted(prepared, str(tmp_path), left)
    newest = Store(str(tmp_path)).newest()
    assert newest is not None
    resumed = list(run(other_code(prepared), store=str(tmp_path), resume=True))
    assert "losses.gradient_penalty: recorded" in caplog.text
    ends = [r.stage for r in resumed if r.stage]
    first = [row[0] for row in expected].index(newest.position)
    assert [r.position for r in resumed] == [row[0] for row in expected[first:]]
    assert ends[-1].hashes == expected[-1][4].hashes
    # the stage in which the code changed keeps its id, and says so
    at = newest.position.index
    kept = next((end for end in ends if end.index == at), None)
    if kept is not None:
        assert kept.stage_id == next(r[4] for r in expected if r[4] and r[4].index == at).stage_id
    last = Store(str(tmp_path)).newest()
    assert last is not None
    if last.position != newest.position:
        codes = last.manifest["equivalent"]["codes"]
        assert codes == [digest(prepared.code), digest(other_code(prepared).code)]
        assert last.manifest["equivalent"]["proven"]
        # resumed once more by the same code: nothing is trained again
        caplog.clear()
        again = list(run(other_code(prepared), store=str(tmp_path), resume=True))
        assert "again to compare" not in caplog.text and len(again) == 1


def test_a_changed_loss_is_refused_and_named(small, tmp_path, monkeypatch, caplog):
    prepared = prepare(NAME, small())
    interrupted(prepared, str(tmp_path), 3)
    changed_loss(monkeypatch)
    names = Store(str(tmp_path)).names()
    with pytest.raises(SettingsError) as refused:
        list(run(other_code(prepared), store=str(tmp_path), resume=True))
    text = str(refused.value)
    assert "other bits at stage 0, step 4" in text and "state differ" in text
    assert "code losses.gradient_penalty: recorded" in text and "--accept code" in text
    assert Store(str(tmp_path)).names() == names
    accepted = replace(other_code(prepared), accept_code=True)
    ends = [r.stage for r in run(accepted, store=str(tmp_path), resume=True) if r.stage]
    assert len(ends) == 2 and ends[0].stage_id != prepared.lineage().stage_ids[0]
    last = Store(str(tmp_path)).newest()
    assert last is not None and not last.manifest["equivalent"]["proven"]


def test_what_cannot_be_tried_is_said(small, tmp_path):
    prepared = prepare(NAME, small())
    interrupted(prepared, str(tmp_path), 4)
    store = Store(str(tmp_path))
    for name in store.names()[1:]:
        store.folders.delete(name)
    with pytest.raises(SettingsError, match="no stored state before it is kept"):
        list(run(other_code(prepared), store=str(tmp_path), resume=True))


def part_by_other_code(rank, world, settings, store, left):
    prepared = other_code(prepare(NAME, settings))
    with closing(run(prepared, store=store, resume=True, rank=rank, world=world)) as reports:
        return facts(report for report, _ in zip(reports, range(left), strict=False))


def test_every_rank_takes_part_in_the_comparison(small, tmp_path):
    expected = whole(small())
    place = str(tmp_path / "store")
    interrupted(prepare(NAME, small()), place, 4)
    first, second = run_multiprocess(2, part_by_other_code, small(workers=2), place, 2)
    assert [row[0] for row in first] == [row[0] for row in expected[3:5]]
    assert first[1][3] == expected[4][3] == second[1][3]


def test_other_data_is_refused_and_named(small, tmp_path, images):
    import shutil

    from PIL import Image

    mine = tmp_path / "images"
    shutil.copytree(images, mine)
    settings = small(data__root=str(mine))
    prepared = prepare(NAME, settings)
    store = str(tmp_path / "store")
    interrupted(prepared, store, 2)
    image = Image.open(mine / "3.png")
    image.putpixel((5, 5), (1, 2, 3))
    image.save(mine / "3.png")
    shutil.copy(mine / "2.png", mine / "added.png")
    (mine / "7.png").unlink()
    with pytest.raises(SettingsError, match="data: recorded") as refused:
        list(run(prepare(NAME, settings), store=store, resume=True))
    for line in ("3.png: changed", "added.png: not in the record", "7.png: missing"):
        assert f"\n  image {line}" in str(refused.value)


def test_a_place_that_holds_a_run_is_not_begun_in(small, tmp_path):
    prepared = prepare(NAME, small())
    interrupted(prepared, str(tmp_path), 2)
    with pytest.raises(SettingsError, match="holds the states of a run already"):
        list(run(prepared, store=str(tmp_path)))


def test_the_last_stage_may_become_longer(small, tmp_path):
    """Own length is not in a stage's identity: the longer run goes on from the shorter's end."""
    short, long = small(), small()
    long = override(long, {"stages.1.epochs": 3})
    expected = whole(long)
    list(run(prepare(NAME, short), store=str(tmp_path)))
    resumed = facts(run(prepare(NAME, long), store=str(tmp_path), resume=True))
    assert resumed[0][0] == Position(1, 6) and resumed[0][1] == "checkpoint"
    assert "stages_done" not in resumed[0][3] and resumed[0][4] is None
    assert resumed[-1][4] is not None and hashes(resumed[-1][4]) == hashes(expected[-1][4])
    newest = Store(str(tmp_path)).newest()
    assert newest is not None and [r["index"] for r in newest.manifest["stages"]] == [0, 1]


def test_another_environment_is_said_aloud_and_recorded(small, tmp_path, caplog):
    one = prepare(NAME, small())
    interrupted(one, str(tmp_path), 4)
    two = prepare(NAME, small(threads=2))
    threads = torch.get_num_threads()
    try:
        rows = [r.stage for r in run(two, store=str(tmp_path), resume=True) if r.stage]
        again = [r.stage for r in run(two, store=str(tmp_path), resume=True) if r.stage]
        pure = [r.stage for r in run(two) if r.stage]
    finally:
        torch.set_num_threads(threads)
    assert "another environment" in caplog.text and "threads: recorded 1, here 2" in caplog.text
    ids = [row.environment_id for row in rows]
    assert again[-1].environment_id == ids[1]
    # begun in one and gone on in two is neither one nor two
    assert len({*ids, pure[1].environment_id}) == 3
    assert rows[1].environment["before"] == ids[0]


def test_seconds_of_a_stage_go_on(small, tmp_path, monkeypatch):
    from ganforge.training import run_record

    now = [100.0]
    monkeypatch.setattr(run_record.time, "monotonic", lambda: now[0])
    prepared = prepare(NAME, small())
    for count in (2, 3):  # each leaves the run 10 s after it began, at (0, 2), then at (0, 4)
        with closing(run(prepared, store=str(tmp_path), resume=True)) as reports:
            for number, _ in enumerate(reports, 1):
                if number == count - 1:
                    now[0] += 10
                if number == count:
                    break
        now[0] += 1000
    rows = [r.stage for r in run(prepared, store=str(tmp_path), resume=True) if r.stage]
    assert rows[0].seconds >= 10
    assert rows[0].seconds < 1000


def part(rank, world, settings, store, left):
    prepared = prepare(NAME, settings)
    with closing(run(prepared, store=store, resume=True, rank=rank, world=world)) as reports:
        return facts(report for report, _ in zip(reports, range(left), strict=False))


def test_two_workers_for_the_first_stage_and_one_afterwards(small, tmp_path):
    expected = whole(small())
    place = str(tmp_path / "store")
    first, second = run_multiprocess(2, part, small(workers=2), place, 4)
    assert first == expected[:4]
    # the other rank tells the same, but for the files that are rank 0's to make
    assert [row[:5] for row in second] == [row[:5] for row in expected[:4]]
    newest = Store(place).newest()
    assert newest is not None and newest.position == Position(0, 6)
    assert facts(run(prepare(NAME, small()), store=place, resume=True)) == expected[3:]


def apart(rank, world, settings, places):
    with pytest.raises(SettingsError, match="do not see the same states"):
        list(run(prepare(NAME, settings), store=places[rank], resume=True, rank=rank, world=world))


def test_workers_that_see_different_states_stop(small, tmp_path):
    interrupted(prepare(NAME, small()), str(tmp_path / "0"), 2)
    run_multiprocess(2, apart, small(workers=2), [str(tmp_path / "0"), str(tmp_path / "1")])


def test_a_run_lives_in_an_object_store(small, storage):
    settings = small(stages=ladder(4, 8, epochs=1))
    prepared = prepare(NAME, settings)
    expected = whole(settings)
    interrupted(prepared, storage, 2)
    assert facts(run(prepared, store=storage, resume=True)) == expected[1:]
    store = Store(storage)
    for name in store.names():
        assert store.folders.read(name, MANIFEST)
    assert Path(storage).exists() != storage.startswith("s3://")
