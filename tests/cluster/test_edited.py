"""A search on Ray that is continued by its id, edited, and whose best is confirmed."""

import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from ray import tune
from small import METRIC, SYSTEM, tiny

from ganforge.search.journal import latest, local_file, read_events
from ganforge.search.limits import Limits
from ganforge.search.mirror import FILE, load
from ganforge.search.request import SearchRequest
from ganforge.search.search import search
from ganforge.settings import SettingsError
from ganforge.tracking.client import open_client
from ganforge.tracking.queries import fetch_file
from ganforge.training.prepare import prepare

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]
KEY = "stages.1.critic.learning_rate"


def test_a_named_search_is_edited_and_its_best_is_confirmed(cluster: None, tmp_path: Path) -> None:
    storage, uri = str(tmp_path / "storage"), f"sqlite:///{tmp_path}/mlflow.db"
    first = SearchRequest(
        prepare(SYSTEM, tiny(stages=2)),
        {KEY: tune.uniform(1e-3, 2e-3)},
        METRIC,
        storage,
        uri,
        "edited",
        limits=Limits(1),
        strategy="tpe",
        seed=3,
    )
    begun = search(first)
    newer = local_file(storage, "29990101T000000Z-ab12")
    newer.parent.mkdir()
    newer.write_text('{"event": "opened", "experiment": "edited"}\n')
    assert latest(storage, "edited") == "29990101T000000Z-ab12"
    more = replace(
        first,
        space={KEY: tune.uniform(4e-3, 5e-3)},
        points=({KEY: 4.5e-3},),
        limits=Limits(2, confirm=1, confirm_seeds=2),
        resume=True,
        search_id=begun.search_id,
        reason="it hit the upper end",
    )
    with pytest.raises(SettingsError, match="seeds = 2, was 1"):
        search(replace(more, seeds=2))
    result = search(more)
    assert result.search_id == begun.search_id and not result.interrupted
    trials = result.trials
    assert [t.state for t in trials] == ["finished"] * 4
    assert [t.params for t in trials[:1]] == [t.params for t in begun.trials]
    assert trials[1].params == {KEY: 4.5e-3}
    events = read_events(storage, begun.search_id)
    (edit,) = [event for event in events if event["event"] == "edited"]
    assert {change[0] for change in edit["changes"]} == {
        KEY, "points", "trials", "confirm",
    }  # fmt: skip
    assert edit["reason"] == "it hit the upper end"
    # the best, with two further seeds: other weights of the same configuration
    (standing,) = result.standings
    again = trials[2:]
    assert [t.repeats for t in again] == [standing.number] * 2
    assert [t.settings.seed for t in again] == [first.prepared.settings.seed + n for n in (1, 2)]
    assert all(t.params == trials[standing.number].params for t in again)
    scores = [t.last_score for t in (trials[standing.number], *again)]
    assert len(set(scores)) == 3 and standing.scores == tuple(scores)
    best_first = max(trials[:2], key=lambda t: (t.last_score or 0) * _sign())
    assert standing.number == best_first.number
    # MLflow has it with each of them, and with none of the others
    client = open_client(uri)
    for trial in trials:
        assert trial.run is not None
        data = client.get_run(trial.run.run_id).data
        if trial in (best_first, *again):
            assert data.metrics["seeds/mean"] == pytest.approx(standing.mean)
            assert data.metrics["seeds/std"] == pytest.approx(statistics.stdev(standing.scores))
            assert data.tags["seeds"] == standing.line
        else:
            assert "seeds/mean" not in data.metrics
    assert client.get_run(again[1].run.run_id).data.params["seed"] == str(again[1].settings.seed)
    assert client.get_run(again[1].run.run_id).data.tags["repeats"] == str(standing.number)
    assert result.parent is not None
    report = fetch_file(uri, result.parent.run_id, "report/report.html", tmp_path).read_text()
    assert f"With several seeds: {standing.line}." in report
    mirror = load(local_file(storage, begun.search_id).with_name(FILE))
    assert [t.params for t in mirror.trials] == [t.params for t in trials]
    # asked for the same once more it is over, and nothing is trained or edited
    same = search(more)
    assert [t.number for t in same.trials] == list(range(4)) and same.standings == result.standings
    assert read_events(storage, begun.search_id) == events


def _sign() -> int:
    return 1 if METRIC.mode == "max" else -1
