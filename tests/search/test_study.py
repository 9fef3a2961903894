"""A search that is interrupted anywhere and resumed is the search that was not."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import driven
import pytest
from driven import SPACE, opened, refusing, story
from ray import tune
from small import tiny

from ganforge.search.budget import parse_budget
from ganforge.search.journal import Journal, latest, local_file
from ganforge.search.limits import Limits
from ganforge.search.sampler import Sampler
from ganforge.search.strategies.base import Begin, Continue, Decision, Nothing, Seen, Strategy
from ganforge.search.strategies.freeze_thaw import FreezeThaw
from ganforge.search.strategies.halving import Halving, Whole
from ganforge.search.study import SearchState
from ganforge.search.trial import Trial
from ganforge.settings import SettingsError
from ganforge.systems.base import Metric
from ganforge.training.report import StageResult

SETTINGS = tiny()
TRIALS = 7


HALVING = Halving()
#: looks at few points, so that it is quick
FREEZE_THAW = FreezeThaw(startup=3, drawn=10, near=2, parents=2, looked_at=4, fit_scores=10)


@dataclass(frozen=True)
class Pausing:
    """Begins three trials, pauses each at every rung, and continues the best that is paused."""

    pauses = True

    def next(self, seen: Seen, candidates: Any) -> Decision:
        if len(seen.curves) < 3 and seen.fresh:
            return Begin(candidates.draw(seen.generator(), 1)[0])
        if seen.paused:
            return Continue(max(seen.paused, key=lambda curve: curve.scores[-1]).number)
        return Begin() if seen.fresh else Nothing()

    def continues(self, seen: Seen, number: int, candidates: Any) -> bool:
        return False


def search_state(
    storage: Path,
    seed: int = 5,
    strategy: Strategy = HALVING,
    limits: Limits = Limits(TRIALS),  # noqa: B008 (it cannot change)
) -> SearchState:
    metric = Metric("score", "max")
    sampler = Sampler(SPACE, metric.mode, seed, startup_trials=3, partial=strategy.pauses)
    journal = Journal(str(storage), "search")
    if not journal.events:
        journal.append("opened", experiment="an experiment")
    return SearchState(
        sampler,
        strategy,
        journal,
        metric,
        refusing,
        limits,
        lambda trial: None,
    )


def score(trial: Trial, stages_done: int) -> float:
    return 20 - abs(trial.params["generator.learning_rate"] - 2e-3) * 1000 + stages_done


def drive(search_state: SearchState) -> None:
    driven.drive(search_state, score)


def test_a_point_of_the_sampler_joins_the_trial_that_has_its_first_stage(tmp_path: Path) -> None:
    space = {"stages.1.epochs": tune.choice([1, 2, 3, 4])}
    state = opened(tmp_path, space, FreezeThaw(startup=9), Limits(4))
    driven.drive(state, lambda trial, rung: trial.params["stages.1.epochs"])
    state.journal.close()
    begun = [e for e in state.journal.events if e["event"] == "suggested"]
    assert len(begun) == 4 and not any("given" in event for event in begun)
    assert "branch" not in begun[0]
    assert [e["branch"] for e in begun[1:]] == 3 * [{"parent": 0, "rung": 1, "replaces": None}]


@pytest.mark.parametrize(
    "strategy", [HALVING, Whole(), Pausing(), FREEZE_THAW], ids=lambda s: type(s).__name__
)
def test_a_search_interrupted_after_any_event_continues_as_if_it_was_not(
    tmp_path: Path, strategy: Strategy
) -> None:
    whole = search_state(tmp_path / "whole", strategy=strategy)
    drive(whole)
    whole.journal.close()
    events = whole.journal.events
    states = {trial.state for trial in whole.trials.values()}
    # all of them were seen here
    assert states == {"finished"} | ({"stopped"} if strategy is HALVING else set())
    assert len(whole.trials) == TRIALS and (whole.refused or strategy is FREEZE_THAW)
    if isinstance(strategy, Pausing):
        assert sum(event["event"] == "continued" for event in events) >= 6
    if strategy is FREEZE_THAW:
        assert any("branch" in event for event in events)
    lines = local_file(str(tmp_path / "whole"), "search").read_text().splitlines(keepends=True)
    for cut in range(1, len(lines)):
        place = local_file(str(tmp_path / f"cut-{cut}"), "search")
        place.parent.mkdir(parents=True)
        # and a line that was being written
        place.write_text("".join(lines[:cut]) + lines[cut][: len(lines[cut]) // 2])
        resumed = search_state(tmp_path / f"cut-{cut}", strategy=strategy)
        drive(resumed)
        resumed.journal.close()
        assert story(resumed) == story(whole), f"cut after event {cut}"


def test_a_stopped_trial_is_reported_to_optuna_as_pruned_with_its_last_value(
    tmp_path: Path,
) -> None:
    done = search_state(tmp_path)
    drive(done)
    asked = [t for t in done.sampler.study.trials if "refused" not in t.user_attrs]
    for trial, found in zip(done.trials.values(), asked, strict=True):
        assert found.params == trial.params
        assert found.intermediate_values == trial.scores
        assert found.value == trial.last_score
        assert found.state.name == {"stopped": "PRUNED", "finished": "COMPLETE"}[trial.state]


def test_what_settings_refuse_is_no_trial(tmp_path: Path) -> None:
    done = search_state(tmp_path)
    drive(done)
    assert len(done.trials) == TRIALS
    assert set(done.refused) == {"critic_steps = 3: not today"}
    assert all(trial.params["critic_steps"] != 3 for trial in done.trials.values())
    refused = [e for e in done.journal.events if e["event"] == "refused"]
    assert [e["reason"] for e in refused] == done.refused


def test_another_seed_is_another_search_and_cannot_resume_this_one(tmp_path: Path) -> None:
    drive(search_state(tmp_path))
    with pytest.raises(SettingsError, match="would now be"):
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
        "refused",
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


def test_a_trial_that_a_limit_paused_is_continued_when_there_is_more(tmp_path: Path) -> None:
    """The budget is used up at once: the trial that runs is paused at its next rung."""
    budget = parse_budget("0.1s")
    first = search_state(tmp_path, limits=Limits(TRIALS))
    begun = first.suggest()
    assert begun is not None
    first.limits = Limits(TRIALS, replace(budget, amount=0.0))
    assert not first.reached(begun.number, 1, 20.0)
    assert first.state_of(begun.number) == "paused"
    first.returned(begun.number)
    first.pause(begun.number)
    assert first.suggest() is None and first.over
    first.journal.close()
    again = search_state(tmp_path, limits=Limits(TRIALS, parse_budget("1h")))
    assert again.trials[begun.number].state == "paused" and not again.over
    trial = again.suggest()
    assert trial is not None and trial.number == begun.number
    assert trial.stages_done == 1 and trial.resumed
    assert again.reached(begun.number, 1, 20.0), "what it has reported already is no rung any more"
    assert again.spent.seconds >= 0


def test_patience_ends_a_search_that_finds_nothing_better(tmp_path: Path) -> None:
    state = search_state(tmp_path, strategy=Whole(), limits=Limits(60, None, 3))
    drive(state)
    ended = [trial for _, trial in sorted(state.trials.items())]
    assert 4 <= len(ended) < 60 and state.over
    scores = [t.last_score if t.state == "finished" else float("-inf") for t in ended]
    assert max(scores[:-3]) >= max(scores[-3:])
    earlier = [max(scores[: n + 1]) for n in range(len(scores))]
    assert not any(earlier[n] == earlier[n + 3] for n in range(len(scores) - 4))


def test_a_search_is_extended(tmp_path: Path) -> None:
    first = search_state(tmp_path, limits=Limits(3))
    drive(first)
    assert first.over and len(first.trials) == 3
    first.journal.close()
    more = search_state(tmp_path, limits=Limits(TRIALS))
    drive(more)
    whole = search_state(tmp_path / "whole", limits=Limits(TRIALS))
    drive(whole)
    assert story(more) == story(whole)


def test_a_search_of_an_earlier_version_is_named(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path), "search")
    journal.append("opened", experiment="an experiment")
    journal.append("suggested", trial=0, params={"critic_steps": 3}, refused="not today")
    journal.close()
    with pytest.raises(SettingsError, match="begun with an earlier version of ganforge"):
        search_state(tmp_path)
