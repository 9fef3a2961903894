"""Population based training: who is replaced, by whom, and what is recorded of it."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import driven
import numpy as np
import pytest
from ray import tune
from small import SYSTEM, tiny

from ganforge.schedule import Plan
from ganforge.search.by_stage import open_by_stage
from ganforge.search.journal import Journal, local_file
from ganforge.search.limits import Limits
from ganforge.search.mirror import Mirror, load
from ganforge.search.plan import Starts, play
from ganforge.search.report.collect import row
from ganforge.search.report.table import table
from ganforge.search.request import recorded_members
from ganforge.search.result import summary_note
from ganforge.search.sampler import Sampler
from ganforge.search.space import distributions
from ganforge.search.strategies.base import (
    Begin,
    Branch,
    Continue,
    Curve,
    CurveState,
    Nothing,
    Seen,
    Strategy,
)
from ganforge.search.strategies.catalog import load_strategy
from ganforge.search.strategies.pbt import PopulationBased, members
from ganforge.search.study import SearchState
from ganforge.search.trial import Trial
from ganforge.settings import SettingsError, override
from ganforge.systems.base import Metric
from ganforge.training.lineage import lineage
from ganforge.training.prepare import Prepared, build_plan, prepare

WORK = (1.0, 3.0, 12.0)
EIGHT = PopulationBased()


class Later:
    """Points x by stage: a branch adds one from the stage it begins at."""

    def branch(self, point: Any, rung: int, generator: np.random.Generator) -> Any:
        return point | {"x": [*point["x"][:rung], *(x + 1 for x in point["x"][rung:])]}


def curve(number: int, state: CurveState, *scores: float, branch: Branch | None = None) -> Curve:
    return Curve(number, {"x": [number] * 3}, scores, WORK[: len(scores)], state, branch)


def seen(*curves: Curve, decision: int = 7, fresh: bool = True) -> Seen:
    return Seen(curves, 3, WORK, seed=5, decision=decision, fresh=fresh)


def eight(state: CurveState = "paused") -> list[Curve]:
    """Their scores are 3 6 1 4 7 2 5 0."""
    return [curve(k, state, float((3 * k + 3) % 8)) for k in range(8)]


def test_the_last_two_of_eight_are_replaced_by_branches_of_the_first_two() -> None:
    parents: Counter[int] = Counter()
    for number in range(8):
        # it is the next in turn where all others are a stage ahead
        curves = [
            c if c.number == number else curve(c.number, "running", *c.scores, 9.0) for c in eight()
        ]
        for decision in range(20):
            answer = EIGHT.next(seen(*curves, decision=decision), Later())
            if number not in (2, 7):
                assert answer == Continue(number)
                continue
            assert isinstance(answer, Begin) and answer.branch is not None
            parents[answer.branch.parent] += 1
            parent = answer.branch.parent
            assert answer.branch == Branch(parent, 1, replaces=number)
            assert answer.point == {"x": [parent, parent + 1, parent + 1]}
    assert set(parents) == {1, 4} and min(parents.values()) >= 10


@pytest.mark.parametrize(
    ("count", "replaced"), [(1, 0), (2, 1), (3, 1), (4, 1), (5, 2), (8, 2), (9, 3), (16, 4)]
)
def test_a_quarter_of_those_that_came_there_is_replaced(count: int, replaced: int) -> None:
    """Without waiting for others: of two the weaker one."""
    strategy = PopulationBased(count)
    curves = [curve(k, "paused", float(k)) for k in range(count)]
    weak = [k for k in range(count) if not strategy.continues(seen(*curves), k, Later())]
    assert weak == list(range(replaced))


def test_a_population_is_filled_first_and_takes_turns() -> None:
    three = PopulationBased(3)
    assert three.next(seen(), Later()) == Begin()
    assert three.next(seen(curve(0, "paused", 1.0), curve(1, "running")), Later()) == Begin()
    assert not three.continues(seen(curve(0, "running", 1.0)), 0, Later())
    ahead, behind = curve(0, "paused", 1.0, 1.0), curve(1, "paused", 2.0)
    assert three.next(seen(ahead, behind, curve(2, "running")), Later()) == Continue(1)
    assert not three.continues(seen(curve(0, "running", 1.0, 1.0), behind, ahead), 0, Later())


def test_what_has_no_better_one_is_not_replaced() -> None:
    equal = [curve(k, "paused", 1.0) for k in range(8)]
    assert EIGHT.next(seen(*equal), Later()) == Continue(0)
    assert EIGHT.next(seen(*eight(), fresh=False), Later()) == Continue(0)
    assert EIGHT.next(
        seen(curve(7, "paused", 0.0), *eight()[:7], fresh=False), Later()
    ) == Continue(0)
    finished = [curve(k, "finished", 1.0, 1.0, float(k)) for k in range(8)]
    assert EIGHT.next(seen(*finished), Later()) == Nothing()


def test_no_branch_where_all_were_tried() -> None:
    class Exhausted(Later):
        def branch(self, point, rung, generator):
            return None

    curves = [curve(k, "paused", float(k)) for k in range(8)]
    assert EIGHT.next(seen(*curves), Exhausted()) == Continue(0)


def test_a_stage_that_a_branch_took_over_is_not_ranked_again() -> None:
    """Trial 8 has the score of its parent 4, which counts once, and continues there."""
    branch = curve(8, "running", 7.0, branch=Branch(4, 1, 7))
    curves = [*eight()[:7], curve(7, "stopped", 0.0), branch]
    assert EIGHT.continues(seen(*curves), 8, Later())
    pause = curve(8, "paused", 7.0, branch=Branch(4, 1, 7))
    others = [curve(c.number, "running", *c.scores, 9.0) for c in eight()[:7]]
    assert EIGHT.next(seen(*others, curve(7, "stopped", 0.0), pause), Later()) == Continue(8)
    # eight scores at the first stage, not nine: two are weak, 7 and 2, and not 5 as well
    five = [replace(c, state="paused" if c.number == 5 else "running") for c in curves]
    assert EIGHT.next(seen(*five), Later()) == Continue(5)


def test_one_that_failed_is_replaced_by_a_branch_of_the_best() -> None:
    failed = [*eight()[:4], curve(4, "failed", 7.0), *eight()[5:]]
    answer = EIGHT.next(seen(*failed), Later())
    assert isinstance(answer, Begin) and answer.branch is not None
    assert answer.branch == Branch(1, 1, replaces=4)
    branch = curve(8, "running", branch=answer.branch)
    assert not isinstance(EIGHT.next(seen(*failed, branch), Later()), Begin)
    early = [curve(0, "failed"), *eight()[1:]]
    assert EIGHT.next(seen(*early), Later()) == Begin()
    alone = [curve(k, "failed", 1.0) for k in range(8)]
    assert EIGHT.next(seen(*alone), Later()) == Begin()


def test_the_same_is_decided_again() -> None:
    curves = [curve(k, "paused", float(k)) for k in range(8)]
    first, again = (EIGHT.next(seen(*curves), Later()) for _ in range(2))
    assert isinstance(first, Begin) and first == again


@pytest.mark.parametrize(
    ("asked", "trials", "stages", "found"),
    [(None, 16, 3, 8), (None, 10, 3, 6), (None, 3, 2, 2), (5, 5, 3, 5), (None, 3, 3, 2)],
)
def test_how_many_members(asked: int | None, trials: int, stages: int, found: int) -> None:
    assert members(asked, trials, stages) == found


@pytest.mark.parametrize(
    ("asked", "trials", "message"),
    [
        (None, 2, "trials = 2: .* give --trials 3 or more"),
        (1, 8, "population = 1: must be at least 2"),
        (9, 8, "population = 9: must be at most the number of trials"),
    ],
)
def test_a_population_that_cannot_be(asked: int | None, trials: int, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        members(asked, trials, 3)


def test_a_population_of_another_strategy() -> None:
    with pytest.raises(SettingsError, match="'halving' has no population"):
        load_strategy("halving", population=4)
    assert load_strategy("pbt", population=4) == PopulationBased(4)


# ---- searches ----

SETTINGS = tiny(stages=3)
SPACE = {
    "generator.learning_rate": tune.loguniform(1e-4, 1e-2),
    "critic_steps": tune.randint(1, 5),
}
TRIALS = 14
BEST = (3e-4, 1e-3, 3e-3)
PREPARED = prepare(SYSTEM, SETTINGS)
Score = Callable[[Trial, int], float]


def configure(params: dict[str, Any]) -> tuple[Prepared, Plan]:
    if params.get("stages.1.critic_steps") == 4:
        raise SettingsError("critic_steps = 4: not today")
    trial = PREPARED.with_settings(override(SETTINGS, params))
    return trial, build_plan(trial.settings, (8, 8, 8))


def search_state(
    storage: Path, seed: int = 5, mode: str = "max", population: int = 6, trials: int = TRIALS
) -> SearchState:
    space = open_by_stage(SPACE, SETTINGS)
    sampler = Sampler(space, mode, seed, 10, by_stage=True)
    journal = Journal(str(storage), "search")
    if not journal.events:
        journal.append("opened", experiment="an experiment")
    metric = Metric("score", mode)
    limits = Limits(trials)
    strategy = PopulationBased(population)
    return SearchState(sampler, strategy, journal, metric, configure, limits, lambda _: None, seed)


def score(trial: Trial, stages_done: int) -> float:
    """Each stage adds what its learning rate is worth; another one is best at each."""
    rates = [trial.params[f"stages.{k}.generator.learning_rate"] for k in range(stages_done)]
    return -sum(abs(np.log(r / b)) for r, b in zip(rates, BEST, strict=False))


def drive(state: SearchState, score: Score = score) -> None:
    driven.drive(state, score)


def story(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in e.items() if k not in ("seconds", "elapsed")} for e in events]


def test_a_population_is_trained_and_every_branch_is_of_a_better_trial(tmp_path: Path) -> None:
    done = search_state(tmp_path)
    drive(done)
    trials = done.trials
    branches = [t for t in trials.values() if t.branch is not None]
    assert len(branches) >= 3 and done.over and done.refused
    assert len(trials) == 6 + len(branches) <= TRIALS
    states = Counter(t.state for t in trials.values())
    assert states == {"finished": 6, "stopped": len(branches)}
    for trial in branches:
        parent, old = trials[trial.branch.parent], trials[trial.branch.replaces]
        rung = trial.branch.rung
        assert old.state == "stopped" and old.stages_done == rung
        assert parent.scores[rung] > old.scores[rung]
        mine, theirs = (
            lineage(t.settings, t.plan, "data", {"code": "1"}).stage_ids for t in (trial, parent)
        )
        assert mine[:rung] == theirs[:rung] and mine[rung] != theirs[rung]


def test_with_one_worker_all_members_are_compared_at_the_first_stage(tmp_path: Path) -> None:
    done = search_state(tmp_path)
    drive(done)
    first = {n: t.scores[1] for n, t in done.trials.items() if t.branch is None}
    weakest = sorted(first, key=lambda n: first[n])[:2]
    replaced = [t.branch.replaces for t in done.trials.values() if t.branch and t.branch.rung == 1]
    assert sorted(replaced) == sorted(weakest)


def test_smaller_is_better_where_the_metric_says_so(tmp_path: Path) -> None:
    one, other = search_state(tmp_path / "max"), search_state(tmp_path / "min", mode="min")
    drive(one)
    drive(other, lambda trial, stages_done: -score(trial, stages_done))
    assert [t.branch for t in one.trials.values()] == [t.branch for t in other.trials.values()]


def test_a_search_interrupted_after_any_event_continues_as_if_it_was_not(tmp_path: Path) -> None:
    size = {"population": 3, "trials": 5}
    whole = search_state(tmp_path / "whole", **size)
    drive(whole)
    events = whole.journal.events
    assert sum("branch" in event for event in events) >= 2
    lines = local_file(str(tmp_path / "whole"), "search").read_text().splitlines(keepends=True)
    for cut in range(1, len(lines)):
        place = local_file(str(tmp_path / f"cut-{cut}"), "search")
        place.parent.mkdir(parents=True)
        place.write_text("".join(lines[:cut]))
        resumed = search_state(tmp_path / f"cut-{cut}", **size)
        drive(resumed)
        resumed.journal.close()
        assert story(resumed.journal.events) == story(events), f"cut after event {cut}"
        assert [t.branch for t in resumed.trials.values()] == [
            t.branch for t in whole.trials.values()
        ]


@pytest.mark.parametrize(
    "branch",
    [
        [1, 2],
        7,
        {"parent": 0},
        {"parent": "0", "rung": 1},
        {"parent": 0, "rung": 1, "replaces": 99},
    ],
)
def test_a_lineage_that_was_not_written_is_named(tmp_path: Path, branch: Any) -> None:
    drive(search_state(tmp_path, population=3, trials=5))
    path = local_file(str(tmp_path), "search")
    events = [json.loads(line) for line in path.read_text().splitlines()]
    next(event for event in events if "branch" in event)["branch"] = branch
    path.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    with pytest.raises(SettingsError, match="its journal, suggested, is damaged"):
        search_state(tmp_path, population=3, trials=5)


@pytest.mark.parametrize("found", [0, 1, "8", True, [8]])
def test_a_recorded_population_that_is_none_is_named(found: Any) -> None:
    assert recorded_members({}) is None and recorded_members({"members": 8}) == 8
    with pytest.raises(SettingsError, match=r"is damaged \(members = "):
        recorded_members({"members": found})


def test_the_lineage_is_recorded(tmp_path: Path) -> None:
    done = search_state(tmp_path)
    drive(done)
    trials = list(done.trials.values())
    branches = {t.number: t.branch for t in trials if t.branch is not None}
    suggested = [e for e in done.journal.events if e["event"] == "suggested"]
    assert {e["trial"]: e["branch"] for e in suggested if "branch" in e} == {
        number: asdict(branch) for number, branch in branches.items()
    }
    text = {n: f"trial {b.parent} after stage {b.rung - 1}" for n, b in branches.items()}
    shown = table([row(trial, "score") for trial in trials], 3)["branched from"]
    assert {n: shown[n] for n in branches} == text and shown.isna().sum() == 6
    note = summary_note(trials, None, "score", [])
    assert all(f"branched from {line} |" in note for line in text.values())
    assert [t.number for t in done.replaced] == [b.replaces for b in branches.values()]
    mirror = Mirror(
        tmp_path / "optuna.log", "s", done.metric, distributions(open_by_stage(SPACE, SETTINGS))
    )
    mirror.follow(trials)
    found = load(tmp_path / "optuna.log").trials
    recorded = {
        t.number: t.user_attrs["branched_from"] for t in found if "branched_from" in t.user_attrs
    }
    assert recorded == text


def test_where_stages_want_other_settings_it_beats_trials_that_keep_theirs() -> None:
    """Against as many whole trials at random as there are members, at equal cost: the best of
    eight, in the mean of forty seeds."""
    best = 1e-3 * 2.0 ** np.arange(6)
    space = {f"stages.{k}.x": tune.loguniform(1e-4, 1e-1) for k in range(6)}

    def worth(point: Any, stages_done: int) -> float:
        rates = np.array([point[f"stages.{k}.x"] for k in range(stages_done)])
        return -float(np.abs(np.log(rates / best[:stages_done])).sum())

    def search(strategy: Strategy, seed: int) -> float:
        sampler = Sampler(space, "max", seed, kind="random", by_stage=True)
        curves: list[Curve] = []
        for decision in range(1000):
            shown = Seen(tuple(curves), 6, (1.0,) * 6, seed, decision, fresh=len(curves) < 24)
            answer = strategy.next(shown, sampler.candidates)
            if isinstance(answer, Nothing) or len(curves) == 24:
                break
            if isinstance(answer, Begin):
                found = sampler.begin(answer.point) if answer.point else sampler.ask()
                number, rung = len(curves), answer.branch.rung if answer.branch else 0
                taken = tuple(worth(found, k + 1) for k in range(rung))
                curves.append(Curve(number, found, taken, branch=answer.branch))
                if answer.branch:
                    old = answer.branch.replaces
                    curves[old] = replace(curves[old], state="stopped")
            else:
                number = answer.number
            old = curves[number]
            scores = (*old.scores, worth(old.point, old.rung + 1))
            state: CurveState = "finished" if len(scores) == 6 else "paused"
            curves[number] = replace(old, scores=scores, state=state)
        return max(c.scores[-1] for c in curves if c.state == "finished")

    gains = [
        search(EIGHT, seed) - search(PopulationBased(8, quantile=0.0), seed) for seed in range(40)
    ]
    assert np.mean(gains) > 4 * np.std(gains) / np.sqrt(len(gains))


@pytest.mark.parametrize("slots", [1, 3, 8, 20])
def test_any_number_of_workers_ends_and_repeats_itself(slots: int) -> None:
    """`play` is the search on a clock; a branch pays only for the stages after it."""
    space = open_by_stage(SPACE, SETTINGS)
    results = set()
    for _ in range(2):
        sampler = Sampler(space, "max", 1)
        results.add(play(EIGHT, sampler.candidates, WORK, 16, slots, Starts(0.0, 0.0), 3))
    [(held, wall)] = results
    assert 8 * WORK[0] <= held <= 8 * sum(WORK) and held / slots <= wall
    unfilled = play(
        PopulationBased(16),
        Sampler(space, "max", 1).candidates,
        WORK,
        16,
        slots,
        Starts(0.0, 0.0),
        3,
    )
    assert unfilled[0] == 16 * sum(WORK)
