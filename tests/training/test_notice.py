"""A state stored between two batches, because the process may end soon, leaves no trace: where it
lies changes no bit, no metric, no id and no report."""

from contextlib import closing
from pathlib import Path

import pytest

from ganforge.training.checkpoint import Store
from ganforge.training.multiprocess import run_multiprocess
from ganforge.training.prepare import prepare
from ganforge.training.report import NOTICES
from ganforge.training.run import run
from tests.training.test_resume import NAME, facts, small, whole

__all__ = ["small"]  # a fixture


class After:
    """Asks for a state at the boundary number `count` between two batches, and at no other."""

    def __init__(self, count: int, what: int):
        self.count, self.what = count, what

    def __call__(self) -> int:
        self.count -= 1
        return self.what if self.count == 0 else 0


def departed(prepared, store: str, count: int) -> list:
    """The reports up to a departure, which is left out."""
    taken = []
    with closing(run(prepared, store=store, noticed=After(count, 2))) as reports:
        for report in reports:
            if report.kind == "departure":
                return facts(taken)
            taken.append(report)
    raise AssertionError("it did not depart")


#: Reports are at steps 0, 2, 4 and 6 of both stages: boundaries without one at 1, 3 and 5.
@pytest.mark.parametrize("count", range(1, 7))
def test_resumed_from_between_two_batches_equals_uninterrupted(small, tmp_path: Path, count: int):
    settings = small()
    prepared, store = prepare(NAME, settings), str(tmp_path)
    first = departed(prepared, store, count)
    stored = Store(store).newest()
    assert stored.manifest["kind"] == "departure"
    assert (stored.position.index, stored.position.step) == divmod(2 * count - 1, 6)
    assert "means.safetensors" in stored.manifest["files"]
    resumed = facts(run(prepared, store=store, resume=True))
    # nothing is reported twice, nothing is left out, and every metric is the one it would have been
    assert first + resumed == whole(settings)


def test_a_notice_is_stored_and_the_training_continues(small, tmp_path: Path):
    settings = small(keep="all")
    found = list(run(prepare(NAME, settings), store=str(tmp_path), noticed=After(2, 1)))
    (notice,) = [report for report in found if report.kind in NOTICES]
    assert (notice.kind, notice.position.step) == ("notice", 3)
    assert facts(r for r in found if r.kind not in NOTICES) == whole(small())
    kinds = [Store(str(tmp_path)).manifest(name)["kind"] for name in Store(str(tmp_path)).names()]
    assert kinds.count("notice") == 1


def one_is_asked(rank: int, world: int, prepared, store: str) -> list:
    """Only the last worker is asked to depart."""
    asked = After(2, 2 if rank == world - 1 else 0)
    seen = []
    with closing(run(prepared, store=store, rank=rank, world=world, noticed=asked)) as reports:
        for report in reports:
            if report.kind == "departure":
                return [*seen, "departure", report.position.step]
            seen.append(report.position.step)
    return seen


def test_all_workers_depart_at_the_same_batch_where_one_is_asked(small, tmp_path: Path):
    prepared, store = prepare(NAME, small()), str(tmp_path)
    left = run_multiprocess(2, one_is_asked, prepared, store)
    assert left == [[0, 2, "departure", 3]] * 2
    # one worker finishes what two began
    assert facts(run(prepared, store=store, resume=True)) == whole(small())[2:]


def ended(rank: int, world: int, prepared, store: str) -> list:
    """The results of the stages, with the number of workers at each report."""
    reports = list(run(prepared, store=store, resume=True, rank=rank, world=world))
    workers = [(r.images, r.metrics["speed/workers"]) for r in reports]
    return [[report.stage for report in reports if report.stage is not None], workers]


def test_seconds_are_counted_by_the_workers_of_the_moment(small, tmp_path: Path):
    prepared = prepare(NAME, small(workers=2, workers_at_least=1))
    departed(prepared, str(tmp_path), 2)
    (first, second), workers = run_multiprocess(2, ended, prepared, str(tmp_path))[0]
    assert {number for _, number in workers} == {2.0}
    # begun by one and ended by two; all by two
    assert first.seconds < first.devices < 2 * first.seconds
    assert second.devices == pytest.approx(2 * second.seconds, abs=0.01)
    assert (first.workers, second.workers) == (2, 2)
    alone = [report.stage for report in run(prepare(NAME, small())) if report.stage is not None]
    assert [s.state_sha256 for s in alone] == [first.state_sha256, second.state_sha256]
    assert alone[0].device_seconds is None and alone[0].devices == alone[0].seconds
