"""What MLflow shows of trials: from what the driver heard, and from what was recorded before."""

import io
import json
from pathlib import Path

import optuna
import pandas as pd
import pytest
from PIL import Image
from small import METRIC, SYSTEM, tiny

from ganforge.search.pages import search_page, search_view, trial_page
from ganforge.search.report.collect import Store, report_files, row
from ganforge.search.trial import Trial
from ganforge.tracking.artifacts import log_files
from ganforge.tracking.queries import fetch_file, list_files
from ganforge.tracking.run_ref import RunRef
from ganforge.tracking.runs import Opening, open_run
from ganforge.training.prepare import Prepared, build_plan, prepare
from ganforge.training.report import read_stages

ROWS = [
    {
        "index": index,
        "seconds": 10.0 + index,
        "workers": 2,
        "metrics": {METRIC.name: 20.0 + index, f"{METRIC.name}_bicubic": 19.0},
    }
    for index in range(2)
]


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(SYSTEM, tiny())


def trial(number: int, run: RunRef | None = None) -> Trial:
    """A trial that ended two of three stages, as a resumed search finds it in its journal."""
    settings = tiny()
    made = Trial(number, {"critic_steps": 2}, settings, build_plan(settings, (8, 8, 8)), run=run)
    made.scores = {1: 20.0, 2: 21.0}
    made.finish("stopped")
    made.seconds = 60.0
    return made


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (80, 60), (shade, shade, 90)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> RunRef:
    """A trial's run with the rows of its stages and three sample grids."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    run = open_run(uri, "pages", Opening("trial", "trial 0", tiny()))
    files = {"stages.json": json.dumps(ROWS).encode()}
    grids = ("stage-0-000000.png", "stage-0-000002.png", "stage-1-000001.png")
    files |= {f"grids/{name}": png(60 * k) for k, name in enumerate(grids)}
    log_files(run, files)
    return run


def test_seconds_heard_and_seconds_read_back_are_the_same(recorded: RunRef) -> None:
    heard = trial(0, recorded)
    heard.stages = read_stages(ROWS)
    resumed, store = trial(0, recorded), Store()
    assert row(heard, METRIC.name, store) == row(resumed, METRIC.name, store)
    assert [stage.seconds for stage in row(resumed, METRIC.name, store).stages] == [10.0, 11.0]
    assert [stage.bicubic(METRIC.name) for stage in row(resumed, METRIC.name, store).stages] == [
        19.0,
        19.0,
    ]
    assert row(trial(1), METRIC.name, store).stages[0].seconds == 0.0  # it never had a record


def test_a_report_lies_in_the_run_of_its_search(recorded: RunRef, tmp_path: Path) -> None:
    parent = open_run(recorded.uri, "pages", Opening("search", "s", tiny()))
    trials = [trial(0, recorded), trial(1)]
    study = optuna.create_study(direction="maximize")
    files, left_out = report_files("Search s", trials, trials[0], study, METRIC, [])
    log_files(parent, files)
    assert len(left_out) == 1 and left_out[0].startswith("importance: ")
    names = {Path(path).name for path in list_files(recorded.uri, parent.run_id, "report")}
    tables = {"trials.csv", "trials.parquet"}
    images = {"optimization_history.png", "stage_ranks.png", "parallel_coordinates.png"}
    assert names == tables | images | {"film.webp", "report.html"}
    found = fetch_file(recorded.uri, parent.run_id, "report/trials.csv", tmp_path)
    assert pd.read_csv(found)["stage 1 device-seconds"].iloc[0] == 22.0
    shown = Image.open(fetch_file(recorded.uri, parent.run_id, "report/film.webp", tmp_path))
    assert shown.n_frames == 3 and shown.size[0] == 80


def test_a_store_that_cannot_be_read_costs_the_film_and_the_seconds_alone(tmp_path: Path) -> None:
    gone = trial(0, RunRef(f"sqlite:///{tmp_path}/none/mlflow.db", "abc"))
    study = optuna.create_study(direction="maximize")
    files, left_out = report_files("Search s", [gone, gone], gone, study, METRIC, [])
    assert any(line.startswith("film: ") for line in left_out)
    assert "report/stage_ranks.png" in files and "report/film.webp" not in files


def test_pages_name_the_best_trial_and_how_to_get_it_again(prepared: Prepared) -> None:
    best = trial(3, RunRef("sqlite:///x.db", "abc"))
    best.stages = read_stages(ROWS)
    space = {"critic_steps": "1 to 3"}
    begun = search_page(prepared, "s", METRIC.name, space)
    assert "Outcome: running." in begun and "| `critic_steps` | 1 to 3 |" in begun
    over = search_page(prepared, "s", METRIC.name, space, outcome="finished", best=best)
    line = f"finished, trial 3 is the best. **{METRIC.name} 21.000** (bicubic 19.000)."
    assert line in over
    page = trial_page(prepared, "s", METRIC.name, best, best.outcome)
    assert "Outcome: stopped early at stage 1." in page
    for text in (over, page):
        assert "ganforge reproduce --run abc --tracking-uri sqlite:///x.db" in text
        assert "built-in photographs, fingerprint `" in text


def test_a_view_without_a_setting_over_decades_shows_the_settings_as_they_are() -> None:
    domain = optuna.distributions.FloatDistribution(1e-3, 1e-2, log=True)
    assert search_view("s", METRIC.name, METRIC.mode, {"rate": domain}).axes == ["rate"]
