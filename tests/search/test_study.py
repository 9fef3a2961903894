"""A search that is interrupted anywhere and resumed is the search that was not."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import TPESampler
from ray import tune
from small import SYSTEM, tiny

from ganforge.schedule import Plan
from ganforge.search.journal import Journal, latest, local_file
from ganforge.search.space import distributions
from ganforge.search.strategies.halving import Halving
from ganforge.search.study import SearchState, new_study
from ganforge.search.trial import Trial
from ganforge.settings import SettingsError, override
from ganforge.systems.base import Metric
from ganforge.training.prepare import Prepared, build_plan, prepare
from ganforge.training.report import StageResult

SPACE = {
    "generator.learning_rate": tune.loguniform(1e-4, 1e-2),
    "critic_steps": tune.randint(1, 4),
    "stages.1.epochs": tune.choice([1, 2]),
}
SETTINGS = tiny()
TRIALS = 7


@cache
def prepared() -> Prepared:
    return prepare(SYSTEM, SETTINGS)


def configure(params: dict[str, Any]) -> tuple[Prepared, Plan]:
    if params.get("critic_steps") == 3:
        raise SettingsError("critic_steps = 3: not today")
    trial = prepared().with_settings(override(SETTINGS, params))
    return trial, build_plan(trial.settings, (8, 8, 8))


def search_state(storage: Path, seed: int = 5) -> SearchState:
    metric = Metric("score", "max")
    study = new_study(metric, seed, startup_trials=3)
    journal = Journal(str(storage), "search")
    if not journal.events:
        journal.append("opened", experiment="an experiment")
    halving = Halving(3, "max")
    return SearchState(
        study, distributions(SPACE), halving, journal, metric, configure, TRIALS, lambda trial: None
    )


def score(trial: Trial, stages_done: int) -> float:
    return 20 - abs(trial.params["generator.learning_rate"] - 2e-3) * 1000 + stages_done


def drive(search_state: SearchState) -> None:
    """What Tune does when trials run one at a time; a resumed trial tells all its stages again."""
    for trial in search_state.decided:
        state = search_state.state_of(trial.number)
        assert state is not None
        if not trial.reported:
            search_state.report_end(trial.number, state)
        search_state.end(trial.number, state)
    while (trial := search_state.suggest()) is not None:
        for stages_done in range(1, 4):
            if not search_state.reached(trial.number, stages_done, score(trial, stages_done)):
                break
        state = search_state.state_of(trial.number)
        assert state is not None
        search_state.report_end(trial.number, state)
        search_state.end(trial.number, state)


def story(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was suggested, reported and decided; not how long it took."""
    return [{k: v for k, v in e.items() if k != "seconds"} for e in events]


def test_a_search_interrupted_after_any_event_continues_as_if_it_was_not(tmp_path: Path) -> None:
    whole = search_state(tmp_path / "whole")
    drive(whole)
    whole.journal.close()
    events = whole.journal.events
    states = {trial.state for trial in whole.trials.values()}
    assert states == {"finished", "stopped", "failed"}  # all three were seen here
    lines = local_file(str(tmp_path / "whole"), "search").read_text().splitlines(keepends=True)
    for cut in range(1, len(lines)):
        place = local_file(str(tmp_path / f"cut-{cut}"), "search")
        place.parent.mkdir(parents=True)
        # and a line that was being written
        place.write_text("".join(lines[:cut]) + lines[cut][: len(lines[cut]) // 2])
        resumed = search_state(tmp_path / f"cut-{cut}")
        drive(resumed)
        resumed.journal.close()
        assert story(resumed.journal.events) == story(events), f"cut after event {cut}"


def test_a_stopped_trial_is_reported_to_optuna_as_pruned_with_its_last_value(
    tmp_path: Path,
) -> None:
    done = search_state(tmp_path)
    drive(done)
    for trial, asked in zip(done.trials.values(), done.study.trials, strict=True):
        if trial.state == "stopped":
            assert asked.state.name == "PRUNED"
            assert asked.value == trial.last_score
            assert asked.intermediate_values == trial.scores
        elif trial.state == "failed":
            assert asked.state.name == "FAIL" and trial.reason == "critic_steps = 3: not today"
        else:
            assert asked.state.name == "COMPLETE" and asked.value == trial.last_score


def test_another_seed_is_another_search_and_cannot_resume_this_one(tmp_path: Path) -> None:
    drive(search_state(tmp_path))
    with pytest.raises(SettingsError, match="would now be suggested"):
        search_state(tmp_path, seed=99)


def test_one_process_at_a_time_and_the_newest_search_is_found(tmp_path: Path) -> None:
    held = search_state(tmp_path)
    with pytest.raises(SettingsError, match="running in another process"):
        search_state(tmp_path)
    held.journal.close()
    assert latest(str(tmp_path), "an experiment") == "search"
    with pytest.raises(SettingsError, match="nothing to resume"):
        latest(str(tmp_path), "another")


def test_the_journal_is_lines_of_json(tmp_path: Path) -> None:
    drive(search_state(tmp_path))
    lines = local_file(str(tmp_path), "search").read_text().splitlines()
    assert {json.loads(line)["event"] for line in lines} == {
        "opened",
        "suggested",
        "reported",
        "decided",
        "reported end",
        "ended",
    }


def test_a_resumed_search_knows_what_stages_took(tmp_path: Path) -> None:
    first = search_state(tmp_path)
    trial = first.suggest()
    assert trial is not None
    metrics = {"score": 20.0, "score_bicubic": 19.0}
    result = StageResult(0, 8, seconds=12.5, workers=2, metrics=metrics)
    first.reached(trial.number, 1, 20.0, result)
    first.journal.close()
    again = search_state(tmp_path).trials[trial.number].results("score")[0]
    assert (again.seconds, again.workers, again.resolution) == (12.5, 2, 8)
    assert (again.score("score"), again.bicubic("score")) == (20.0, 19.0)


def test_suggestions_are_those_of_a_seeded_tpe_sampler(tmp_path: Path) -> None:
    plain = optuna.create_study(sampler=TPESampler(seed=5, n_startup_trials=3))
    wanted = [plain.ask(distributions(SPACE)).params for _ in range(3)]
    searched = search_state(tmp_path)
    assert [searched.study.ask(distributions(SPACE)).params for _ in range(3)] == wanted


@pytest.mark.parametrize("event", ["suggested", "reported", "reported end", "ended"])
@pytest.mark.parametrize("damage", ["emptied", "removed", "of another kind"])
def test_a_journal_damaged_in_the_middle_gets_one_line(
    tmp_path: Path, event: str, damage: str
) -> None:
    """Its lines are JSON still: keys are gone, an event is gone, a value is of another kind."""
    drive(search_state(tmp_path))
    path = local_file(str(tmp_path), "search")
    lines = path.read_text().splitlines()
    number = next(n for n, line in enumerate(lines) if json.loads(line)["event"] == event)
    if damage == "emptied":
        lines[number] = json.dumps({"event": event})
    elif damage == "removed":
        del lines[number]
    else:
        lines[number] = json.dumps(
            {key: [7] for key in json.loads(lines[number])} | {"event": event}
        )
    path.write_text("\n".join(lines) + "\n")
    try:
        search_state(tmp_path)
    except SettingsError as error:
        assert str(error).startswith("cannot resume search search: ")
    else:  # what is gone may be done again: an end that was not reported, a decision
        assert damage == "removed"
