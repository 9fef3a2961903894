"""Rungs inside stages: where they are, what a search decides there, and that no bit changes."""

import asyncio
import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from driven import drive, opened, prepared, story
from ray import tune
from small import METRIC, SYSTEM, tiny

from ganforge.cluster.coordinator import _TrialCoordinator
from ganforge.schedule import Plan, Position, Stage
from ganforge.search.budget import parse_budget, parse_trial_limit
from ganforge.search.by_stage import space_for
from ganforge.search.costs import stage_rates, trial_costs
from ganforge.search.journal import local_file
from ganforge.search.limits import Limits
from ganforge.search.report.collect import row
from ganforge.search.request import SearchRequest, check_header, header
from ganforge.search.strategies.base import Strategy
from ganforge.search.strategies.freeze_thaw import FreezeThaw
from ganforge.search.strategies.halving import Halving, Whole
from ganforge.search.strategies.pbt import PopulationBased
from ganforge.search.study import SearchState
from ganforge.search.trial import Trial, rung_works, stage_work
from ganforge.search.tune_adapter import Rungs
from ganforge.settings import SettingsError
from ganforge.training.checkpoint import Store
from ganforge.training.ledger import Ledger
from ganforge.training.prepare import Prepared, build_plan, prepare
from ganforge.training.report import RungResult, StageResult
from ganforge.training.run import run

RUNGS = 4
#: one stage of eight steps
ONE = tiny(1, rungs=RUNGS, **{"stages.0.epochs": 4})
SPACE = {"generator.learning_rate": tune.loguniform(1e-4, 1e-2)}
SECONDS, WORKERS = 3.0, 2


def result(trial: Trial, rung: int) -> StageResult | RungResult:
    """Each rung takes three seconds."""
    index, part = divmod(rung, trial.plan.rungs)
    metrics = {"score": 20.0}
    if part:
        return RungResult(rung, index, 2 * part, SECONDS * part, WORKERS, metrics)
    return StageResult(index - 1, 8, seconds=SECONDS * RUNGS, workers=WORKERS, metrics=metrics)


# ---- where they are ----


@pytest.mark.parametrize("rungs", [1, 2, 3, 5])
def test_rungs_part_a_stage_and_end_with_it(rungs: int) -> None:
    for steps in range(rungs, 24):
        stages = tuple(Stage(8, 4 * n, 0, 4, 1) for n in (steps, steps + 3))
        plan = Plan(stages, (None, None), 0, rungs=rungs)
        where = [Position(k, step) for k, s in enumerate(stages) for step in range(s.steps + 1)]
        found = {position: plan.rung(position) for position in where}
        ends = [position for position in where if found[position] is not None]
        assert [found[position] for position in ends] == list(range(1, 2 * rungs + 1))
        assert [plan.rung_end(number) for number in range(1, 2 * rungs + 1)] == ends
        assert found[Position(0, steps)] == rungs and found[Position(1, 0)] is None
        own = [end.step for end in ends if end.index == 0]
        lengths = [b - a for a, b in zip([0, *own], own, strict=False)]
        assert max(lengths) - min(lengths) <= 1
        assert all(plan.stores(position) and plan.validates(position) for position in ends)
        assert sum(rung_works(plan)) == pytest.approx(sum(map(stage_work, stages)))


def test_a_stage_too_short_for_them_is_refused() -> None:
    with pytest.raises(SettingsError, match="rungs = 9: stage 0 has 8 steps; must be at most"):
        build_plan(tiny(1, rungs=9, **{"stages.0.epochs": 4}), (8,))


def test_what_continues_from_stage_ends_knows_none() -> None:
    with pytest.raises(SettingsError, match=r"rungs = 4: .*leave --rungs out"):
        space_for(PopulationBased(4), SPACE, ONE)


# ---- what they change: no bit ----


def states(settings: object, folder: Path) -> dict[Position, str]:
    found = {}
    with closing(run(made(settings), store=str(folder))) as reports:
        for report in reports:
            if report.state is not None:
                found[report.position] = report.state["state_sha256"]
    return found


def made(settings: object) -> Prepared:
    return prepare(SYSTEM, settings)  # pyright: ignore


def test_no_bit_and_no_identity_changes(tmp_path: Path) -> None:
    changes = {"stages.0.epochs": 2, "stages.1.epochs": 2}
    plain, cut = tiny(2, **changes), tiny(2, rungs=4, **changes)
    assert made(plain).lineage().stage_ids == made(cut).lineage().stage_ids
    whole, parted = states(plain, tmp_path / "plain"), states(cut, tmp_path / "cut")
    assert whole.items() <= parted.items()
    assert len(parted) == 8


def test_a_run_that_pauses_at_each_rung_ends_in_the_same_bits(tmp_path: Path) -> None:
    expected = states(ONE, tmp_path / "whole")
    folder, seen, ends = str(tmp_path / "paused"), {}, []
    for number in range(1, RUNGS + 1):
        with closing(run(made(ONE), store=folder, resume=True)) as reports:
            for report in reports:
                seen |= {rung.rung: rung for rung in report.rungs}
                if (at := made(ONE).plan().rung(report.position)) is not None and at >= number:
                    ends.append((report.position, report.state))
                    break
    assert {position: state["state_sha256"] for position, state in ends if state} == expected
    assert sorted(seen) == [1, 2, 3]
    assert [seen[k].steps for k in sorted(seen)] == [2, 4, 6]
    seconds = [seen[k].seconds for k in sorted(seen)]
    assert seconds == sorted(seconds), "those of the stage so far, over all of its processes"
    newest = Store(folder).manifest(Store(folder).names()[0])
    assert [rung["rung"] for rung in newest["rungs"]] == [1, 2, 3]


# ---- the ledger ----


def train(settings: object, storage: Path, name: str) -> list[tuple[bool, list[int]]]:
    """Of each stage whether it was taken from the ledger, and the rungs that came with it."""
    found, rungs = [], []
    ledger = Ledger(str(storage))
    for report in run(made(settings), store=str(storage / name), ledger=ledger):
        rungs += [rung.rung for rung in report.rungs]
        if report.stage is not None:
            found.append((report.stage.reused, rungs))
            rungs = []
    return found


def test_a_stage_from_the_ledger_brings_its_rungs(tmp_path: Path) -> None:
    plain = tiny(1, **{"stages.0.epochs": 4})
    assert train(plain, tmp_path, "a") == [(False, [])]
    # without the scores inside it would be compared otherwise than a trained one
    assert train(ONE, tmp_path, "b") == [(False, [1, 2, 3])]
    assert train(ONE, tmp_path, "c") == [(True, [1, 2, 3])]
    assert train(plain, tmp_path, "d") == [(True, [])]
    assert train(tiny(1, rungs=2, **{"stages.0.epochs": 4}), tmp_path, "e") == [(False, [1])]


# ---- what a search does there ----


@pytest.mark.parametrize(
    "strategy", [Halving(), FreezeThaw(startup=4)], ids=["halving", "freeze-thaw"]
)
def test_a_system_of_one_stage_is_searched_with_rungs(tmp_path: Path, strategy: Strategy) -> None:
    # under a strategy that pauses patience ends the search with paused trials
    state = opened(tmp_path, SPACE, strategy, Limits(20, patience=3), settings=ONE)
    drive(state, result=result)
    reached = sorted(trial.rungs_done for trial in state.trials.values())
    assert reached[0] < RUNGS and reached[-1] == RUNGS, reached
    best = max(state.trials.values(), key=lambda trial: trial.last_score or 0.0)
    assert best.state == "finished"
    part = next(trial for trial in state.trials.values() if 0 < trial.rungs_done < RUNGS)
    ending = "stopped early at" if part.state == "stopped" else "paused after"
    assert part.outcome == f"{ending} rung {part.rungs_done} of 4 of stage 0"


@pytest.mark.parametrize(
    "strategy", [Halving(), FreezeThaw(startup=4)], ids=["halving", "freeze-thaw"]
)
def test_interrupted_anywhere_it_decides_the_same(tmp_path: Path, strategy: Strategy) -> None:
    whole = opened(tmp_path / "whole", SPACE, strategy, Limits(6), settings=ONE)
    drive(whole, result=result)
    lines = local_file(str(tmp_path / "whole"), "search").read_text().splitlines(keepends=True)
    for cut in range(2, len(lines)):
        path = local_file(str(tmp_path / f"cut-{cut}"), "search")
        path.parent.mkdir(parents=True)
        path.write_text("".join(lines[:cut]))
        again = opened(tmp_path / f"cut-{cut}", SPACE, strategy, Limits(6), settings=ONE)
        drive(again, result=result)
        assert points(again) == points(whole)
        assert sorted(map(str, decisions(again))) == sorted(map(str, decisions(whole)))
        again.journal.close()


def points(state: object) -> list[object]:
    return [e["params"] for e in story(state) if e["event"] == "suggested"]  # pyright: ignore


def decisions(state: object) -> list[object]:
    return [e for e in story(state) if e["event"] == "decided"]  # pyright: ignore


def test_what_a_part_cost_is_counted(tmp_path: Path) -> None:
    state = opened(tmp_path, SPACE, Halving(), Limits(8), settings=ONE)
    drive(state, result=result)
    rungs = sum(trial.rungs_done for trial in state.trials.values())
    assert rungs < 8 * RUNGS
    assert state.spent.device_seconds == pytest.approx(rungs * SECONDS * WORKERS)
    rates = stage_rates(state.trials.values())
    costs = [trial_costs(trial, rates) for trial in state.trials.values()]
    assert sum(c.used for c in costs) == pytest.approx(rungs * SECONDS * WORKERS)
    assert sum(c.used + c.spared for c in costs) == pytest.approx(8 * RUNGS * SECONDS * WORKERS)
    state.journal.close()
    again = opened(tmp_path, SPACE, Halving(), Limits(8), settings=ONE)
    assert again.spent.device_seconds == pytest.approx(rungs * SECONDS * WORKERS)


def test_a_limit_of_one_trial_holds_inside_a_stage(tmp_path: Path) -> None:
    limits = replace(Limits(2), trial_limit=parse_trial_limit("5s"))
    state = opened(tmp_path, SPACE, Whole(), limits, settings=ONE)
    drive(state, result=result)
    assert {trial.rungs_done for trial in state.trials.values()} == {2}


def test_the_report_has_scores_inside_stages(tmp_path: Path) -> None:
    state = opened(tmp_path, SPACE, Halving(), Limits(8), settings=ONE)
    drive(state, result=result)
    for trial in state.trials.values():
        shown = row(trial, "score")
        assert shown.score is not None
        assert sorted(shown.scores) == list(range(1, trial.rungs_done + 1))


# ---- several rungs at once: of a stage that came from the ledger ----


class Told:
    """What the coordinator is told, in place of an actor."""

    def __init__(self) -> None:
        self.decisions: list[tuple[int, int, bool]] = []

    def decide(self, trial: int, rung: int, proceed: bool) -> None:
        self.decisions.append((trial, rung, proceed))


def summary(scores: list[float]) -> dict[str, Any]:
    """A report of all rungs of a stage that took 4,000 seconds elsewhere."""
    inside = [
        RungResult(k, 0, 2 * k, 1000.0 * k, 1, {"score": scores[k - 1]}, reused=True)
        for k in range(1, RUNGS)
    ]
    whole = StageResult(0, 8, seconds=4000.0, metrics={"score": scores[-1]}, reused=True)
    return {"rungs": [rung.to_json() for rung in inside], "stages": [whole.to_json()]}


def told(state: SearchState, scores: list[float]) -> tuple[Trial, list[tuple[int, int, bool]]]:
    trial, coordinator = state.suggest(), Told()
    assert trial is not None
    trial.start()
    scheduler = Rungs(state, coordinator)  # pyright: ignore[reportArgumentType]
    scheduler.on_trial_result(
        None, SimpleNamespace(config={"trial": trial.number}), summary(scores)
    )
    return trial, coordinator.decisions


def test_a_stage_from_the_ledger_is_left_where_a_trained_one_would_be(tmp_path: Path) -> None:
    """It brings four rungs at once; whatever comes after the one that stops it is not looked at."""
    state = opened(tmp_path, SPACE, Halving(), Limits(4), settings=ONE)
    trial, decisions = told(state, [10.0] * RUNGS)
    assert decisions == [(trial.number, rung, True) for rung in range(1, RUNGS + 1)]
    for scores in ([9.0] * RUNGS, [1.0, 20.0, 20.0, 20.0]):
        trial, decisions = told(state, scores)
        # the worker stands at the last of them, and asks about that
        assert decisions == [(trial.number, RUNGS, False)]
        assert sorted(trial.scores) == [1] and state.state_of(trial.number) == "stopped"
    assert state.spent.device_seconds == 0


@pytest.mark.parametrize(
    "limits",
    [
        replace(Limits(2), trial_limit=parse_trial_limit("500s")),
        Limits(2, parse_budget("0.2cpu-hours")),
    ],
    ids=["trial", "search"],
)
def test_what_was_there_already_counts_for_no_limit(tmp_path: Path, limits: Limits) -> None:
    state = opened(tmp_path / "a", SPACE, Whole(), limits, settings=ONE)
    trial, _ = told(state, [10.0] * RUNGS)
    assert trial.whole and not trial.over_limit and state.spent.device_seconds == 0
    lines = local_file(str(tmp_path / "a"), "search").read_text().splitlines(keepends=True)
    for cut in range(3, len(lines)):  # killed between two of its rungs
        path = local_file(str(tmp_path / f"cut-{cut}"), "search")
        path.parent.mkdir(parents=True)
        path.write_text("".join(lines[:cut]))
        again = opened(tmp_path / f"cut-{cut}", SPACE, Whole(), limits, settings=ONE)
        assert again.spent.device_seconds == 0
        assert not again.trials[0].over_limit and not again.trials[0].paused
        again.journal.close()


def test_a_paused_trial_is_asked_about_its_later_rungs_again() -> None:
    """A decision about rung 4 from before the pause must not answer for the one after it."""
    actor = _TrialCoordinator()

    async def story() -> list[tuple[int, int]]:
        for rung, proceed in ((1, True), (4, False)):
            await actor.decide(0, rung, proceed)
        await actor.decide(1, 4, False)
        await actor.resume(0, 1)
        return sorted((trial, rung) for trial, mine in actor._decisions.items() for rung in mine)

    assert asyncio.run(story()) == [(0, 1), (1, 4)]


def test_rungs_that_were_measured_otherwise_are_not_compared(tmp_path: Path) -> None:
    """Validation settings are in no stage_id; scores on other images are other scores."""
    base = {"stages.0.epochs": 4, "rungs": 2}
    one, other = tiny(1, **base), tiny(1, **base, **{"validation.max_side": 64})
    assert train(one, tmp_path, "a") == [(False, [1])]
    assert train(other, tmp_path, "b") == [(False, [1])]
    assert train(one, tmp_path, "c") == [(True, [1])]
    # without rungs inside the end alone is compared, and that is measured anew
    assert train(tiny(1, **{"stages.0.epochs": 4, "validation.max_side": 64}), tmp_path, "d") == [
        (True, [])
    ]


def test_searches_begun_before_a_setting_was_are_resumed() -> None:
    """The journal's first line has no word of settings that came later, nor of rungs."""
    request = SearchRequest(
        prepared(), SPACE, METRIC, "storage", "sqlite:///m.db", "e", limits=Limits(3)
    )
    present = header(request)
    later = re.compile(
        r"schedule|clip_norm|growth|initial_weights|iterations|penalty_sigma|average_images"
    )
    known = {k: v for k, v in present["settings"].items() if not later.search(k)}
    assert len(known) < len(present["settings"])
    old = {k: v for k, v in present.items() if k != "rungs"} | {"settings": known}
    journal = SimpleNamespace(events=[{"event": "opened", **old}], search_id="s")
    assert check_header(journal, present, prepared())["rungs"] == 1  # pyright: ignore
    journal.events[0]["settings"] = known | {"width": "8"}
    with pytest.raises(SettingsError, match="width = 4, was 8"):
        check_header(journal, present, prepared())  # pyright: ignore
    cut = replace(request, prepared=replace(prepared(), settings=tiny(rungs=2)))
    with pytest.raises(SettingsError, match="rungs = 2, was 1"):
        check_header(journal, header(cut), prepared())  # pyright: ignore
