"""A run begins at nothing or at any stored state, and stages keep their identity."""

import pytest
import torch

from ganforge.schedule import Position
from ganforge.settings import SettingsError, override
from ganforge.systems.settings import ladder
from ganforge.training.checkpoint import Snapshot, Store, state_hashes
from ganforge.training.loop import Training, train
from ganforge.training.prepare import prepare
from ganforge.training.report import StageResult
from ganforge.training.run import begin, choose_device, run
from tests.training.test_resume import NAME, facts, hashes, interrupted, small, whole

__all__ = ["small"]  # a fixture


@pytest.fixture(scope="module")
def three() -> dict:
    return {"stages": ladder(4, 32, epochs=2, fade_epochs=1)}


def stage_end(settings, folder, index: int) -> Snapshot:
    list(run(prepare(NAME, settings), store=str(folder)))
    found = Store(str(folder)).at(index)
    assert found is not None
    return found


def rows(reports) -> list[StageResult]:
    return [report.stage for report in reports if report.stage]


def test_a_run_from_a_stage_end_goes_on_as_the_whole_one(small, tmp_path):
    settings = small(keep="all")
    start = stage_end(settings, tmp_path, 0)
    assert facts(run(prepare(NAME, settings), start=start)) == whole(small())[4:]


def test_a_run_from_the_middle_of_a_stage_goes_on_as_the_whole_one(small, tmp_path):
    settings = small(keep="all")
    list(run(prepare(NAME, settings), store=str(tmp_path)))
    store = Store(str(tmp_path))
    for name in store.names():
        start = store.load(name)
        after = [row for row in whole(small()) if row[0] > start.position]
        assert facts(run(prepare(NAME, settings), start=start)) == after


def test_later_stages_may_have_other_settings(small, tmp_path):
    settings = small(keep="all")
    start = stage_end(settings, tmp_path / "parent", 0)
    changed = override(settings, {"stages.1.generator.learning_rate": 0.01})
    branch = rows(run(prepare(NAME, changed), start=start, store=str(tmp_path / "branch")))
    plain = whole(small())
    assert [row.index for row in branch] == [1]
    assert branch[0].parent == [plain[3][4].stage_id, 6]
    assert branch[0].stage_id != plain[-1][4].stage_id
    assert branch[0].state_sha256 != plain[-1][4].state_sha256
    # the same as a whole run under the changed settings, whose first stage is the same
    other = rows(run(prepare(NAME, changed)))
    assert hashes(other[0]) == hashes(plain[3][4])
    assert hashes(other[1]) == hashes(branch[0])
    # the branch's own books tell of the stages before it
    newest = Store(str(tmp_path / "branch")).newest()
    assert newest is not None
    assert [row["index"] for row in newest.manifest["stages"]] == [0, 1]
    assert newest.manifest["start"] == {"stage_ids": [plain[3][4].stage_id], "step": 6}


def test_stages_that_are_over_keep_their_ids_whatever_the_settings_say(small, tmp_path):
    """A branch into settings other everywhere: only what is trained under them is other."""
    settings = small(keep="all")
    start = stage_end(settings, tmp_path, 0)
    changed = prepare(NAME, override(settings, {"gradient_penalty_weight": 5.0}))
    (row,) = rows(run(changed, start=start))
    plain = whole(small())
    assert row.parent == [plain[3][4].stage_id, 6]
    assert row.stage_id not in {plain[-1][4].stage_id, changed.lineage().stage_ids[1]}


def test_a_branch_is_resumed_as_a_branch(small, tmp_path):
    settings = small(keep="all")
    start = stage_end(settings, tmp_path / "parent", 0)
    changed = prepare(NAME, override(settings, {"gradient_penalty_weight": 5.0}))
    expected = facts(run(changed, start=start))
    place = str(tmp_path / "branch")
    interrupted(changed, place, 2, start=start)
    # with the start named again or not: the states remember it
    interrupted(changed, place, 2, start=start, resume=True)
    assert facts(run(changed, store=place, resume=True)) == expected[2:]
    later = Store(str(tmp_path / "parent")).at(1)
    with pytest.raises(SettingsError, match="began at another state"):
        list(run(changed, store=place, resume=True, start=later))
    with pytest.raises(SettingsError, match="gradient_penalty_weight"):
        list(run(prepare(NAME, settings), store=place, resume=True))


def test_resume_without_a_state_begins_at_the_start_and_tells_nothing_twice(small, tmp_path):
    settings = small(keep="all")
    start = stage_end(settings, tmp_path / "parent", 0)
    found = facts(run(prepare(NAME, settings), store=str(tmp_path / "b"), resume=True, start=start))
    assert found == whole(small())[4:]


def test_a_stage_in_its_middle_does_not_go_on_under_other_settings(small, tmp_path):
    settings = small(keep="all")
    interrupted(prepare(NAME, settings), str(tmp_path), 3)
    start = Store(str(tmp_path)).newest()
    changed = override(settings, {"critic_steps": 1})
    with pytest.raises(SettingsError, match=r"step 4 of 6.*\n.*critic_steps: recorded 2, here 1"):
        list(run(prepare(NAME, changed), start=start))
    later = override(settings, {"stages.1.critic_steps": 1})
    assert len(rows(run(prepare(NAME, later), start=start))) == 2


def test_a_state_that_does_not_fit_is_refused_in_words(small, three, tmp_path):
    start = stage_end(small(keep="all"), tmp_path, 1)
    with pytest.raises(SettingsError, match="does not fit the networks"):
        list(run(prepare(NAME, small(width=8, **three)), start=start))
    one = small(stages=ladder(4, 8, epochs=2))
    with pytest.raises(SettingsError, match="is of stage 1, but the settings have 1 stages"):
        list(run(prepare(NAME, one), start=start))


def test_a_run_with_more_stages_begins_at_the_end_of_one_with_fewer(small, three, tmp_path):
    """Runs with two and three stages share the first two, so that one may go on from the other."""
    start = stage_end(small(keep="all"), tmp_path, 1)
    more = prepare(NAME, small(**three))
    whole_run = rows(run(more))
    whole_ends = [hashes(row[4]) for row in whole(small()) if row[4]]
    assert [hashes(r) for r in whole_run[:2]] == whole_ends
    (last,) = rows(run(more, start=start))
    assert hashes(last) == hashes(whole_run[2])


def test_a_short_run_is_a_prefix_of_a_long_one(small, tmp_path):
    """2 epochs of a stage are the first 2 of 4, when the fade is as long."""
    long = small(
        keep="all", stages=ladder(4, 16, epochs=(2, 4), fade_epochs=1), reports_per_stage=6
    )
    list(run(prepare(NAME, long), store=str(tmp_path)))
    store = Store(str(tmp_path))
    (name,) = [n for n in store.names() if n.startswith("001-000000006.")]
    prepared = prepare(NAME, long)
    at_two = begin(prepared, prepared.plan(), store.load(name))
    ends = [row[4] for row in whole(small()) if row[4]]
    assert state_hashes(at_two.system) == ends[1].hashes
    assert store.load(name).manifest["stage_id"] == ends[1].stage_id


@pytest.mark.parametrize(
    "changes",
    [
        {"reports_per_stage": 5, "validation__images": 1, "validation__every_epochs": 1},
        {"data__cache_bytes": 0, "checkpoint_every": 1, "keep": "best:1"},
        {"validation__sliced_wasserstein": False, "validation__max_side": 48, "workers": 2},
    ],
)
def test_settings_marked_without_weights_leave_the_bits(small, tmp_path, changes):
    ends = rows(run(prepare(NAME, small(**changes)), store=str(tmp_path)))
    assert [hashes(r) for r in ends] == [hashes(row[4]) for row in whole(small()) if row[4]]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"shards": 4},
        {"generator__betas.0": 0.5},
        {"stages.1.average_decay": 0.5},
    ],
)
def test_settings_marked_with_weights_change_the_bits(small, changes):
    ends = rows(run(prepare(NAME, small(**changes))))
    plain = [row[4] for row in whole(small()) if row[4]]
    assert ends[1].state_sha256 != plain[1].state_sha256
    assert ends[1].stage_id != plain[1].stage_id


def test_a_value_per_stage_gives_the_bits_of_the_global_one(small):
    everywhere = rows(run(prepare(NAME, small(pixel_weight=2.0))))
    each = {"stages.0.pixel_weight": 2.0, "stages.1.pixel_weight": 2.0}
    apart = rows(run(prepare(NAME, small(pixel_weight=7.0, **each))))
    assert [hashes(row) for row in everywhere] == [hashes(row) for row in apart]


def test_rows_say_what_their_ids_are_made_of(small):
    first, second = (row[4] for row in whole(small()) if row[4])
    assert first.parent is None
    assert second.parent == [first.stage_id, first.steps]
    assert first.settings and first.data and first.code and first.environment


def test_stored_states_are_those_reported(small, tmp_path):
    """At each report the store holds the state that the report tells of, and the rows so far."""
    prepared = prepare(NAME, small(keep="all"))
    store = Store(str(tmp_path))
    for report in run(prepared, store=str(tmp_path)):
        if report.position.step == 0:
            continue
        newest = store.newest()
        assert newest is not None and newest.position == report.position
        assert newest.manifest["kind"] == report.kind
        assert newest.manifest["metrics"] == report.metrics
        if report.stage:
            assert newest.manifest["stages"][-1]["state_sha256"] == report.stage.state_sha256


def test_a_run_leaves_the_process_as_it_needs_it(small, monkeypatch):
    """Flags that decide bits are those of the settings, whatever was set before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.set_float32_matmul_precision("medium")
    torch.use_deterministic_algorithms(True)
    try:
        ends = rows(run(prepare(NAME, small())))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision("highest")
        torch.use_deterministic_algorithms(False)
    assert [hashes(r) for r in ends] == [hashes(row[4]) for row in whole(small()) if row[4]]


def test_a_gpu_that_is_not_there_is_an_error_in_words(small, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(small(device="auto")).type == "cpu"
    with pytest.raises(SettingsError, match="device = cuda: this machine has no CUDA device"):
        choose_device(small(device="cuda"))


def test_the_loop_alone_does_what_run_does(small):
    """run() adds books and a store around the loop, and no arithmetic."""
    from ganforge.data.prepare import open_data
    from ganforge.training.workers import Workers

    prepared = prepare(NAME, small())
    plan = prepared.plan()
    training = Training(begin(prepared, plan, None).system, Position())
    data = open_data("super_resolution", prepared.settings, plan.stages, 2, prepared.settings.seed)
    for _ in train(training, plan, data, Workers()):
        pass
    data.close()
    ends = [row[4] for row in whole(small()) if row[4]]
    assert state_hashes(training.system)["state_sha256"] == ends[-1].state_sha256
