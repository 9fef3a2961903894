"""A search on Ray that pauses trials, continues them, and trains no stage twice."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from small import METRIC, SYSTEM, tiny

from ganforge.search.limits import Limits
from ganforge.search.request import SearchRequest
from ganforge.search.result import SearchResult
from ganforge.search.search import search
from ganforge.tracking.client import open_client
from ganforge.training.checkpoint import Store
from ganforge.training.prepare import prepare
from ganforge.training.report import read_stages
from ganforge.training.run import run

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
TRIALS = 3
SPACE = {
    # of the last stage alone: all trials have the one before it in common
    "stages.1.critic.learning_rate": tune.uniform(1e-3, 5e-3),
}
STRATEGY = """
from ganforge.search.strategies.base import Begin, Continue, Nothing


class RoundRobin:
    pauses = True

    def next(self, seen, candidates):
        if seen.fresh:
            return Begin()
        if seen.paused:
            return Continue(min(seen.paused, key=lambda c: (c.rung, c.number)).number)
        return Nothing()

    def continues(self, seen, number, candidates):
        return False
"""


@dataclass
class Searched:
    result: SearchResult
    uri: str
    events: list[tuple[int, str]]


@pytest.fixture(scope="module")
def searched(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """All trials took turns, a stage each."""
    place = tmp_path_factory.mktemp("turns")
    (place / "turns.py").write_text(STRATEGY)
    uri = f"sqlite:///{place}/mlflow.db"
    events: list[tuple[int, str]] = []
    request = SearchRequest(
        prepare(SYSTEM, tiny(stages=2)),
        SPACE,
        METRIC,
        str(place / "storage"),
        uri,
        "turns",
        limits=Limits(TRIALS),
        strategy=f"{place}/turns.py:RoundRobin",
        seed=3,
    )
    result = search(request, lambda trial, event: events.append((trial.number, event)))
    return Searched(result, uri, events)


def test_every_trial_was_paused_once_and_finished(searched: Searched) -> None:
    assert not searched.result.interrupted
    assert [trial.state for trial in searched.result.trials] == ["finished"] * TRIALS
    for number in range(TRIALS):
        mine = [event for trial, event in searched.events if trial == number]
        assert mine.count("paused") == 1 and mine.count("started") == 2
        assert mine[-1] == "ended"


def test_no_stage_was_trained_twice(searched: Searched) -> None:
    """By what the workers stored: every stage that was not reused has an id of its own."""
    trained: list[tuple[Any, ...]] = []
    for trial in searched.result.trials:
        snapshot = Store(trial.folder).newest()
        assert snapshot is not None
        for row in read_stages(snapshot.manifest["stages"]).values():
            if not row.reused:
                trained.append((row.stage_id, row.environment_id, row.steps))
    assert len(trained) == len(set(trained)) == 1 + TRIALS


def test_a_branch_has_the_bits_of_an_unbranched_run(searched: Searched, tmp_path: Path) -> None:
    best = searched.result.best
    assert best is not None
    stored = Store(best.folder).newest()
    assert stored is not None
    alone = [r for r in run(prepare(SYSTEM, best.settings), store=str(tmp_path / "s")) if r.stage]
    assert [r.state for r in alone if r.state] == [
        row.hashes for _, row in sorted(read_stages(stored.manifest["stages"]).items())
    ]


def test_the_record_has_one_finished_run_for_each_trial(searched: Searched) -> None:
    client = open_client(searched.uri)
    experiment = client.get_experiment_by_name("turns")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * (TRIALS + 1)
    children = [run for run in runs if "trial" in run.data.tags]
    assert len({run.data.tags["trial"] for run in children}) == TRIALS
    for child in children:
        assert child.data.tags["outcome"] == "finished"
        points = client.get_metric_history(child.info.run_id, "stages_done")
        assert sorted(point.value for point in points) == [1.0, 2.0]


def test_trials_take_turns_inside_a_stage(cluster: None, tmp_path: Path) -> None:
    """One stage of four steps in two parts: each trial is paused in the middle, and continued."""
    (tmp_path / "turns.py").write_text(STRATEGY)
    events: list[tuple[int, str]] = []
    request = SearchRequest(
        prepare(SYSTEM, tiny(stages=1, rungs=2, **{"stages.0.epochs": 2})),
        {"critic.learning_rate": tune.uniform(1e-3, 5e-3)},
        METRIC,
        str(tmp_path / "storage"),
        f"sqlite:///{tmp_path}/mlflow.db",
        "inside",
        limits=Limits(2),
        strategy=f"{tmp_path}/turns.py:RoundRobin",
        seed=3,
    )
    result = search(request, lambda trial, event: events.append((trial.number, event)))
    assert [trial.state for trial in result.trials] == ["finished"] * 2
    for trial in result.trials:
        mine = [e for n, e in events if n == trial.number and e not in ("progress", "placed")]
        assert mine == ["started", "rung", "paused", "started", "stage", "ended"]
        assert sorted(trial.scores) == [1, 2] and trial.inside[1].steps == 2
        folder = tmp_path / f"alone-{trial.number}"
        alone = [r for r in run(prepare(SYSTEM, trial.settings), store=str(folder)) if r.stage]
        stored = Store(trial.folder).newest()
        assert stored is not None
        [row] = read_stages(stored.manifest["stages"]).values()
        assert alone[0].state == row.hashes and not row.reused
