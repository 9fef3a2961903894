"""What MLflow shows of trials, from what the driver holds."""

import io
import json
from pathlib import Path

import optuna
import pandas as pd
import pytest
from PIL import Image
from run_files import log_files
from small import METRIC, SYSTEM, tiny

from ganforge.search.costs import NO_COSTS
from ganforge.search.pages import search_page, search_view, trial_page
from ganforge.search.report.build import build_report
from ganforge.search.report.collect import row, study_facts
from ganforge.search.trial import Trial
from ganforge.tracking.queries import fetch_file, list_files
from ganforge.tracking.run_ref import RunRef
from ganforge.tracking.runs import Opening, open_run
from ganforge.training.prepare import Prepared, prepare
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
    prepared = prepare(SYSTEM, tiny())
    made = Trial(number, {"critic_steps": 2}, prepared, prepared.plan(), run=run)
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


def test_a_row_has_the_seconds_and_the_bicubic_score_of_each_stage(recorded: RunRef) -> None:
    reported = trial(0, recorded)
    reported.stages = read_stages(ROWS)
    stages = row(reported, METRIC.name).stages
    assert [stage.seconds for stage in stages] == [10.0, 11.0]
    assert all(stage.bicubic(METRIC.name) is not None for stage in stages)
    assert row(trial(1), METRIC.name).stages[0].seconds == 0.0  # only its score is known


def test_a_report_lies_in_the_run_of_its_search(recorded: RunRef, tmp_path: Path) -> None:
    parent = open_run(recorded.uri, "pages", Opening("search", "s", tiny()))
    trials = [trial(0, recorded), trial(1)]
    trials[0].stages = read_stages(ROWS)
    study = optuna.create_study(direction="maximize")
    files, left_out = build_report(
        study_facts("Search s", trials, trials[0], study, METRIC, [], NO_COSTS)
    )
    log_files(parent, files)
    assert len(left_out) == 1 and left_out[0].startswith("importance: ")
    names = {Path(path).name for path in list_files(recorded.uri, parent.run_id, "report")}
    tables = {"trials.csv", "trials.parquet"}
    images = {"optimization_history.png", "stage_ranks.png", "parallel_coordinates.png"}
    assert names == tables | images | {"animation.webp", "report.html"}
    found = fetch_file(recorded.uri, parent.run_id, "report/trials.csv", tmp_path)
    assert pd.read_csv(found)["stage 1 device-seconds"].iloc[0] == 22.0
    shown = Image.open(fetch_file(recorded.uri, parent.run_id, "report/animation.webp", tmp_path))
    assert shown.n_frames == 3 and shown.size[0] == 80


def test_a_store_that_cannot_be_read_costs_the_animation_alone(tmp_path: Path) -> None:
    gone = trial(0, RunRef(f"sqlite:///{tmp_path}/none/mlflow.db", "abc"))
    study = optuna.create_study(direction="maximize")
    files, left_out = build_report(
        study_facts(
            "Search s",
            [gone, gone],
            gone,
            study,
            METRIC,
            [],
            NO_COSTS,
            compare="ganforge compare s",
        )
    )
    assert b"next to each other: ganforge compare s</p>" in files["report/report.html"]
    assert any(line.startswith("animation: ") for line in left_out)
    assert "report/stage_ranks.png" in files and "report/animation.webp" not in files


def test_pages_name_the_best_trial_and_how_to_get_it_again(prepared: Prepared) -> None:
    best = trial(3, RunRef("sqlite:///x.db", "abc"))
    best.stages = read_stages(ROWS)
    space = {"critic_steps": "1 to 3"}
    begun = search_page(prepared, "s", METRIC.name, space, uri="sqlite:///x.db")
    assert "ganforge compare s --serve --tracking-uri sqlite:///x.db" in begun
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
