"""A search that is interrupted anywhere and resumed is the search that was not."""

import json
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from small import tiny

from ganforge.search.journal import Journal, latest, local_file
from ganforge.search.strategies.halving import Halving
from ganforge.search.study import SearchState
from ganforge.search.trial import Trial
from ganforge.search.tune_adapter import SeededSearch
from ganforge.settings import SettingsError, override
from ganforge.training.prepare import build_plan

SPACE = {
    "generator.learning_rate": tune.loguniform(1e-4, 1e-2),
    "critic_steps": tune.randint(1, 4),
    "stages.1.epochs": tune.choice([1, 2]),
}
SETTINGS = tiny()
TRIALS = 7


def settle(params: dict[str, Any]) -> Any:
    if params.get("critic_steps") == 3:
        raise SettingsError("critic_steps = 3: not today")
    settings = override(SETTINGS, params)
    return settings, build_plan(settings, (8, 8, 8))


def search_state(storage: Path, seed: int = 5) -> SearchState:
    searcher = SeededSearch(SPACE, "score", "max", seed, startup_trials=3)
    journal = Journal(str(storage), "search")
    if not journal.events:
        journal.append("opened", experiment="an experiment")
    halving = Halving(3, "max")
    return SearchState(
        searcher.study, searcher.distributions, halving, journal, settle, TRIALS, lambda trial: None
    )


def score(trial: Trial, stages_done: int) -> float:
    return 20 - abs(trial.params["generator.learning_rate"] - 2e-3) * 1000 + stages_done


def drive(search_state: SearchState) -> None:
    """What Tune does when trials run one at a time; a resumed trial tells all its stages again."""
    for trial in search_state.over:
        state = search_state.state_of(trial.number)
        assert state is not None
        if not trial.told:
            search_state.tell(trial.number, state)
        search_state.end(trial.number, state)
    while (trial := search_state.suggest()) is not None:
        for stages_done in range(1, 4):
            if not search_state.reached(trial.number, stages_done, score(trial, stages_done)):
                break
        state = search_state.state_of(trial.number)
        assert state is not None
        search_state.tell(trial.number, state)
        search_state.end(trial.number, state)


def story(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was suggested, seen, decided and told; not how long it took."""
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


def test_a_stopped_trial_is_told_to_optuna_as_pruned_with_its_last_value(tmp_path: Path) -> None:
    done = search_state(tmp_path)
    drive(done)
    for trial, told in zip(done.trials.values(), done.study.trials, strict=True):
        if trial.state == "stopped":
            assert told.state.name == "PRUNED"
            assert told.value == trial.last_score
            assert told.intermediate_values == trial.scores
        elif trial.state == "failed":
            assert told.state.name == "FAIL" and trial.reason == "critic_steps = 3: not today"
        else:
            assert told.state.name == "COMPLETE" and told.value == trial.last_score


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
        "told",
        "ended",
    }
