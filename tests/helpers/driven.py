"""A search without Ray: trials run one at a time, and score by a formula."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from ray import tune
from small import SYSTEM, tiny

from ganforge.schedule import Plan
from ganforge.search.journal import Journal
from ganforge.search.limits import Limits
from ganforge.search.recorded_space import to_record
from ganforge.search.sampler import Sampler
from ganforge.search.space import described
from ganforge.search.strategies.base import Strategy
from ganforge.search.study import SearchState
from ganforge.search.trial import Trial
from ganforge.settings import SettingsError, override
from ganforge.systems.base import Metric
from ganforge.systems.settings import SystemSettings
from ganforge.training.prepare import Prepared, build_plan, prepare
from ganforge.training.report import RungResult, StageResult

SPACE = {
    "generator.learning_rate": tune.loguniform(1e-4, 1e-2),
    "critic_steps": tune.randint(1, 4),
    "stages.1.epochs": tune.choice([1, 2]),
}
SETTINGS = tiny()


@cache
def prepared() -> Prepared:
    return prepare(SYSTEM, SETTINGS)


def configure(params: Mapping[str, Any], base: SystemSettings = SETTINGS) -> tuple[Prepared, Plan]:
    settings = override(base, dict(params))
    return replace(prepared(), settings=settings), build_plan(settings, (8, 8, 8))


def refusing(params: Mapping[str, Any]) -> tuple[Prepared, Plan]:
    """The same by way of a whole resolution, where the settings refuse one value of three."""
    if params.get("critic_steps") == 3:
        raise SettingsError("critic_steps = 3: not today")
    trial = prepared().with_settings(override(SETTINGS, dict(params)))
    return trial, build_plan(trial.settings, (8, 8, 8))


def opened(
    storage: Path,
    space: Mapping[str, Any],
    strategy: Strategy,
    limits: Limits,
    kind: str = "tpe",
    settings: SystemSettings = SETTINGS,
    **options: Any,
) -> SearchState:
    """The search in a folder, begun or resumed, with the space that it was begun with."""
    journal = Journal(str(storage), "search")
    if not journal.events:
        record = {"space": described(space), "domains": to_record(space)}
        journal.append("opened", experiment="e", limits=limits.to_record(), **record)
    sampler = Sampler(space, "max", 5, startup_trials=3, kind=kind, partial=strategy.pauses)
    return SearchState(
        sampler, strategy, journal, Metric("score", "max"),
        lambda params: configure(params, settings), limits, lambda trial: None, **options,
    )  # fmt: skip


def score(trial: Trial, rung: int) -> float:
    rate = trial.params["generator.learning_rate"]
    return 20 - abs(rate - 2e-3) * 1000 + rung + trial.settings.seed % 7 / 10


Score = Callable[[Trial, int], float]
Result = Callable[[Trial, int], StageResult | RungResult]


def drive(
    state: SearchState, found: Score = score, most: int = 10**9, result: Result | None = None
) -> None:
    """What Tune does when trials run one at a time; at most so many trials are begun. `result` is
    what a worker reports of a rung, besides the score."""
    for trial in state.decided:
        end(state, trial)
    while len(state.trials) < most and (trial := state.suggest()) is not None:
        trial.start()
        for rung in range(1, trial.plan.num_rungs + 1):
            reported = None if result is None else result(trial, rung)
            if not state.reached(trial.number, rung, found(trial, rung), reported):
                break
        state.returned(trial.number)
        if state.state_of(trial.number) == "paused":
            state.pause(trial.number)
        else:
            end(state, trial)


def end(state: SearchState, trial: Trial) -> None:
    how = state.state_of(trial.number)
    assert how is not None
    if not trial.reported:
        state.report_end(trial.number, how)
    state.end(trial.number, how)


def story(state: SearchState) -> list[dict[str, Any]]:
    """What was suggested, reported and decided; not how long it took."""
    clock = ("seconds", "elapsed")
    return [{k: v for k, v in e.items() if k not in clock} for e in state.journal.events]
