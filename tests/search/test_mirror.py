"""What Optuna reads in the mirror file is the search."""

from pathlib import Path

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from optuna.distributions import CategoricalDistribution, FloatDistribution

from ganforge.schedule import Plan, Stage
from ganforge.search.mirror import ARTIFACTS, Mirror, load
from ganforge.search.trial import State, Trial
from ganforge.systems.base import Metric

SPACE = {
    "critic.learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    "critic_steps": CategoricalDistribution([1, 2]),
}
PLAN = Plan((Stage(16, 80, 0, 8, 4), Stage(32, 80, 0, 8, 4)), (), 0)
METRIC = Metric("validation/psnr", "max")


def trial(number: int, state: State, *scores: float) -> Trial:
    params = {"critic.learning_rate": 1e-3 * (number + 1), "critic_steps": 1 + number % 2}
    made = Trial(number, params, None, PLAN, state=state)  # pyright: ignore (nothing looks at it)
    made.scores = dict(enumerate(scores, 1))
    return made


def followed(path: Path) -> list[Trial]:
    trials = [
        trial(0, "running"),
        trial(1, "finished", 20.0, 30.0),
        trial(2, "stopped", 19.0),
        trial(3, "failed"),
        trial(4, "paused", 25.0),
    ]
    mirror = Mirror(path, "a search", METRIC, SPACE)
    mirror.follow(trials)
    trials[0].scores[1] = 21.0
    mirror.follow(trials)
    trials[0].scores[2], trials[0].state = 31.0, "finished"
    mirror.follow(trials)
    mirror.follow(trials)
    assert not mirror.trouble
    return trials


def test_optuna_reads_every_trial(tmp_path: Path) -> None:
    trials = followed(tmp_path / "optuna.log")
    study = load(tmp_path / "optuna.log")
    assert study.study_name == "a search"
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert study.metric_names == ["validation/psnr"]
    assert [found.params for found in study.trials] == [made.params for made in trials]
    assert [found.intermediate_values for found in study.trials] == [made.scores for made in trials]
    states = [found.state.name for found in study.trials]
    assert states == ["COMPLETE", "COMPLETE", "PRUNED", "FAIL", "RUNNING"]
    assert study.best_trial.number == 0 and study.best_value == 31.0
    assert study.trials[4].user_attrs["outcome"] == "paused after stage 0"
    assert [trial(9, state).outcome for state in ("waiting", "running")] == ["waiting", "running"]
    frame = study.trials_dataframe()
    assert list(frame["value_validation/psnr"].dropna()) == [31.0, 30.0, 19.0]


def test_it_is_made_anew(tmp_path: Path) -> None:
    followed(tmp_path / "optuna.log")
    followed(tmp_path / "optuna.log")
    assert len(load(tmp_path / "optuna.log").trials) == 5


def test_a_file_that_cannot_be_written_stops_no_search(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "optuna.log").mkdir()
    mirror = Mirror(tmp_path / "optuna.log", "a search", METRIC, SPACE)
    mirror.follow([trial(0, "running")])
    assert mirror.trouble and "not written for Optuna" in caplog.text


def test_a_link_in_its_place_leads_nowhere(tmp_path: Path) -> None:
    path, victim = tmp_path / "optuna.log", tmp_path / "victim"
    victim.write_text("mine\n")
    mirror = Mirror(path, "a search", METRIC, SPACE)
    path.unlink()
    path.symlink_to(victim)
    (tmp_path / "optuna.log.lock").symlink_to("/nonexistent")  # nobody waits for it
    mirror.follow([trial(0, "running")])
    assert victim.read_text() == "mine\n" and not mirror.trouble
    Mirror(path, "a search", METRIC, SPACE).follow([trial(0, "running")])
    assert victim.read_text() == "mine\n" and not path.is_symlink()
    (tmp_path / "optuna.log.lock").unlink()
    assert len(load(path).trials) == 1


def test_numbers_are_those_of_the_search_whichever_trial_starts_first(tmp_path: Path) -> None:
    path = tmp_path / "optuna.log"
    mirror = Mirror(path, "a search", METRIC, SPACE)
    mirror.follow([trial(1, "running")])
    mirror.follow([trial(2, "finished", 1.0, 2.0)])
    assert not load(path).trials
    first = trial(0, "finished", 1.0, 3.0)
    first.seconds = 90.0  # of a search that is resumed
    mirror.follow([first])
    found = load(path).trials
    assert [t.user_attrs["trial"] for t in found] == [t.number for t in found] == [0, 1, 2]
    assert found[2].value == 2.0
    duration = found[0].duration
    assert duration is not None and 90 <= duration.total_seconds() < 120


def test_a_grid_is_an_artifact_of_its_trial(tmp_path: Path) -> None:
    file = tmp_path / "optuna.log"
    over = trial(0, "finished", 20.0, 30.0)
    mirror = Mirror(file, "a search", METRIC, SPACE)
    mirror.follow([over, trial(1, "failed")])
    mirror.add_grid(over, b"a picture")
    assert not mirror.trouble
    study = load(file)
    storage = study._storage  # pyright: ignore (how Optuna's own functions come to it)
    kept = FileSystemArtifactStore(tmp_path / ARTIFACTS)
    [meta] = get_all_artifact_meta(study_or_trial=study.trials[0], storage=storage)
    assert meta.mimetype == "image/png"
    with kept.open_reader(meta.artifact_id) as stored:
        assert stored.read() == b"a picture"
    assert not get_all_artifact_meta(study_or_trial=study.trials[1], storage=storage)


def test_a_planted_link_gets_no_grid(tmp_path: Path) -> None:
    over = trial(0, "finished", 20.0, 30.0)
    mirror = Mirror(tmp_path / "optuna.log", "a search", METRIC, SPACE)
    mirror.follow([over])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ARTIFACTS).symlink_to(tmp_path / "elsewhere")
    mirror.add_grid(over, b"a picture")
    assert mirror.trouble and not list((tmp_path / "elsewhere").iterdir())
