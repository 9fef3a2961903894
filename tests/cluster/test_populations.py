"""Population based training on Train workers: branches are the stages they were taken from."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from ray import tune
from small import METRIC, SYSTEM, tiny

from ganforge.search.journal import Journal
from ganforge.search.limits import Limits
from ganforge.search.request import SearchRequest
from ganforge.search.result import SearchResult
from ganforge.search.search import search
from ganforge.tracking.client import open_client
from ganforge.training.checkpoint import Store
from ganforge.training.prepare import prepare
from ganforge.training.report import StageResult, read_stages
from ganforge.training.run import run

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
MEMBERS = 3
SPACE = {"generator.learning_rate": tune.loguniform(1e-4, 1e-2)}


@dataclass
class Searched:
    result: SearchResult
    uri: str
    storage: str


@pytest.fixture(scope="module")
def searched(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    place = tmp_path_factory.mktemp("population")
    request = SearchRequest(
        prepare(SYSTEM, tiny(stages=2)),
        SPACE,
        METRIC,
        str(place / "storage"),
        f"sqlite:///{place}/mlflow.db",
        "population",
        limits=Limits(5),
        strategy="pbt",
        population=MEMBERS,
        concurrent=1,
        seed=3,
    )
    return Searched(search(request), request.tracking_uri, request.storage)


def stages(folder: str) -> list[StageResult]:
    """What a trial's worker stored."""
    newest = Store(folder).newest()
    assert newest is not None
    return [row for _, row in sorted(read_stages(newest.manifest["stages"]).items())]


def test_the_weakest_was_replaced_by_a_branch_of_the_best(searched: Searched) -> None:
    trials = searched.result.trials
    assert not searched.result.interrupted and not searched.result.ended_early
    assert [t.state for t in trials].count("finished") == MEMBERS
    [branch] = [t for t in trials if t.branch is not None]
    scores = {t.number: t.scores[1] for t in trials[:MEMBERS]}
    sign = 1 if METRIC.mode == "max" else -1
    ranked = sorted(scores, key=lambda number: sign * scores[number])
    assert (branch.branch.replaces, branch.branch.parent) == (ranked[0], ranked[-1])
    assert trials[ranked[0]].state == "stopped"
    own = "stages.1.generator.learning_rate"
    assert branch.params[own] != trials[ranked[-1]].params[own]


def test_the_branch_took_the_first_stage_over_and_nothing_was_trained_twice(
    searched: Searched,
) -> None:
    trials = searched.result.trials
    rows = {t.number: stages(t.folder) for t in trials}
    branch = next(t for t in trials if t.branch is not None)
    first, parent = rows[branch.number][0], rows[branch.branch.parent][0]
    assert first.reused and first.stage_id == parent.stage_id and first.hashes == parent.hashes
    trained = [row.stage_id for found in rows.values() for row in found if not row.reused]
    # three first stages, and one last stage for each member
    assert len(trained) == len(set(trained)) == 2 * MEMBERS


def test_the_branch_has_the_bits_of_an_unbranched_run(searched: Searched, tmp_path: Path) -> None:
    branch = next(t for t in searched.result.trials if t.branch is not None)
    alone = [r for r in run(prepare(SYSTEM, branch.settings), store=str(tmp_path / "s")) if r.stage]
    assert [r.state for r in alone if r.state] == [row.hashes for row in stages(branch.folder)]


def test_the_lineage_is_in_journal_and_record(searched: Searched) -> None:
    branch = next(t for t in searched.result.trials if t.branch is not None)
    journal = Journal(searched.storage, searched.result.search_id)
    journal.close()
    [event] = [e for e in journal.events if e.get("branch")]
    assert event["trial"] == branch.number and event["branch"]["parent"] == branch.branch.parent
    client = open_client(searched.uri)
    experiment = client.get_experiment_by_name("population")
    assert experiment is not None
    tags = {
        run.data.tags["trial"]: run.data.tags
        for run in client.search_runs([experiment.experiment_id])
        if "trial" in run.data.tags
    }
    from_whom = {n: t["branched_from"] for n, t in tags.items() if "branched_from" in t}
    assert from_whom == {str(branch.number): f"trial {branch.branch.parent} after stage 0"}
    replaced = tags[str(branch.branch.replaces)]
    assert replaced["outcome"] == "stopped early at stage 0"
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
