"""A search on Ray with two objectives, and its continuation: the front, everywhere it is shown."""

import io
import math
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from ray import tune
from small import METRIC, SYSTEM, tiny

from ganforge.search.journal import local_file
from ganforge.search.limits import Limits
from ganforge.search.mirror import FILE, load
from ganforge.search.objectives import PARAMETERS
from ganforge.search.pareto import dominates
from ganforge.search.request import SearchRequest
from ganforge.search.result import SearchResult
from ganforge.search.search import search
from ganforge.search.trial import Trial
from ganforge.tracking.client import open_client
from ganforge.tracking.queries import fetch_file
from ganforge.training.checkpoint import Store
from ganforge.training.prepare import prepare

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
SPACE = {"width": tune.choice([4, 8, 16]), "critic.learning_rate": tune.uniform(1e-3, 5e-3)}


@dataclass
class Searched:
    first: SearchResult
    second: SearchResult
    uri: str
    storage: Path


@pytest.fixture(scope="module")
def searched(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """Three trials; then the same search with a fourth."""
    place = tmp_path_factory.mktemp("objectives")
    request = SearchRequest(
        prepare(SYSTEM, tiny(stages=1)),
        SPACE,
        METRIC,
        str(place / "storage"),
        f"sqlite:///{place}/mlflow.db",
        "objectives",
        limits=Limits(3),
        seed=3,
        further=(PARAMETERS,),
    )
    first = search(request)
    second = search(replace(request, limits=Limits(4), resume=True))
    return Searched(first, second, request.tracking_uri, place / "storage")


def larger(trial: Trial) -> tuple[float, float]:
    assert trial.last_values is not None
    return trial.last_values[0], -trial.last_values[1]


def test_every_trial_has_both_values_and_the_front_is_theirs(searched: Searched) -> None:
    for result, count in ((searched.first, 3), (searched.second, 4)):
        assert [trial.state for trial in result.trials] == ["finished"] * count
        mine = [larger(trial) for trial in result.trials]
        wanted = {
            trial.number
            for trial, values in zip(result.trials, mine, strict=True)
            if not any(dominates(other, values) for other in mine)
        }
        assert {trial.number for trial in result.front} == wanted
        assert result.best is result.front[0]
        assert result.best.last_score == max(trial.last_score or 0.0 for trial in result.trials)


def test_parameters_are_those_of_the_stored_generator(searched: Searched) -> None:
    for trial in searched.second.trials:
        stored = Store(trial.folder).newest()
        assert stored is not None
        average = [v for k, v in stored.groups.items() if "average" in k and "generator" in k]
        assert len(average) == 1, list(stored.groups)
        sizes = [math.prod(tensor.shape) for tensor in average[0].values()]
        assert trial.last_values is not None and trial.last_values[1] in (
            sum(sizes),
            sum(sizes) - sizes.count(1),  # buffers
        )
    assert len({trial.last_values and trial.last_values[1] for trial in searched.second.trials}) > 1


def test_the_record_says_which_trials_are_on_the_front(searched: Searched) -> None:
    client = open_client(searched.uri)
    experiment = client.get_experiment_by_name("objectives")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    children = {int(r.data.tags["trial"]): r for r in runs if "trial" in r.data.tags}
    front = {trial.number for trial in searched.second.front}
    for trial in searched.second.trials:
        data = children[trial.number].data
        assert data.tags["pareto"] == str(trial.number in front).lower()
        assert trial.last_values is not None
        assert data.metrics["model/parameters"] == trial.last_values[1]
    (parent,) = [run for run in runs if "trial" not in run.data.tags]
    note = parent.data.tags["mlflow.note.content"]
    assert f"{len(front)} of 4 trials are on the front" in note and "model/parameters" in note
    assert parent.data.metrics[METRIC.name] == searched.second.front[0].last_score


def test_the_report_and_the_mirror_have_the_front(searched: Searched, tmp_path: Path) -> None:
    parent = searched.second.parent
    assert parent is not None
    place = tmp_path / "report"
    place.mkdir()
    image = fetch_file(searched.uri, parent.run_id, "report/pareto_front.png", place)
    assert Image.open(io.BytesIO(image.read_bytes())).size[0] > 500
    table = pd.read_csv(fetch_file(searched.uri, parent.run_id, "report/trials.csv", place))
    front = {trial.number for trial in searched.second.front}
    assert set(table["trial"][table["front"]]) == front
    study = load(local_file(str(searched.storage), searched.second.search_id).with_name(FILE))
    assert {found.number for found in study.best_trials} == front
    assert study.metric_names == [METRIC.name, "model/parameters"]
