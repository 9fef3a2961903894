"""A search with several objectives: what it may have, its front, its decisions, and its replay."""

import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from driven import prepared, refusing, story
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import NSGAIISampler, TPESampler
from optuna.trial import create_trial
from PIL import Image
from ray import tune
from small import METRIC, SYSTEM, tiny

from ganforge.commands.search_options import choose_metrics
from ganforge.commands.search_result import print_front
from ganforge.console import Console
from ganforge.schedule import Plan, Stage
from ganforge.search.budget import Spent
from ganforge.search.costs import NO_COSTS
from ganforge.search.journal import Journal, local_file
from ganforge.search.ledger_size import LedgerSize, entries_of
from ganforge.search.limits import Limits
from ganforge.search.mirror import Mirror, load
from ganforge.search.model_size import parameters
from ganforge.search.objectives import (
    PARAMETERS,
    WORK,
    Objectives,
    check_several,
    choose_objectives,
)
from ganforge.search.report.build import build_report
from ganforge.search.report.collect import study_facts
from ganforge.search.report.figure import Omitted
from ganforge.search.request import SearchRequest, check_header, header
from ganforge.search.result import SearchResult, summary_note
from ganforge.search.sampler import Sampler
from ganforge.search.space import distributions
from ganforge.search.strategies.base import Strategy
from ganforge.search.strategies.catalog import sampler_of
from ganforge.search.strategies.halving import Halving, Whole
from ganforge.search.study import SearchState
from ganforge.search.trial import State, Trial, stage_work
from ganforge.settings import SettingsError, override
from ganforge.systems.base import Metric
from ganforge.systems.catalog import load_system
from ganforge.systems.progressive_gan_sr import ProgressiveGANSR
from ganforge.training.prepare import prepare
from ganforge.training.report import StageResult

SCORE, LOSS = Metric("score", "max"), Metric("loss", "min")
PLAN = Plan((Stage(16, 80, 0, 8, 4), Stage(32, 80, 0, 8, 4)), (), 0)
SPACE = {
    "generator.learning_rate": tune.loguniform(1e-4, 1e-2),
    "critic_steps": tune.randint(1, 4),
    "stages.2.epochs": tune.choice([1, 2, 3]),
}
SETTINGS = tiny()
TRIALS = 9


def uncounted(trial: Trial, stages_done: int) -> int:
    raise AssertionError("nobody asked for it")


BOTH = Objectives((SCORE, LOSS), uncounted)


def trial(number: int, state: State, *values: tuple[float, ...]) -> Trial:
    made = Trial(number, {"rate": 0.1 * number}, None, PLAN, state=state)  # pyright: ignore
    made.values = dict(enumerate(values, 1))
    made.scores = {stage: found[0] for stage, found in made.values.items()}
    return made


TRADE = [
    trial(0, "finished", (1.0, 5.0), (3.0, 5.0)),
    trial(1, "finished", (1.0, 5.0), (2.0, 4.0)),
    trial(2, "finished", (1.0, 5.0), (2.0, 4.5)),  # behind 1
    trial(3, "stopped", (9.0, 1.0)),  # better in everything, and not finished
    trial(4, "failed", (9.0, 1.0), (9.0, 1.0)),
    trial(5, "finished", (1.0, 5.0), (1.0, 1.0)),
    trial(6, "finished", (1.0, 5.0), (3.0, 6.0)),  # behind 0, with the same score
]


# ---- which ----


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["validation/psnr", "validation/ssmi"], "did you mean validation/ssim? There are"),
        (["validation/psnr", "nothing"], "choose from validation/psnr, validation/ssim"),
        (["validation/psnr", "validation/swd"], "metric = validation/swd: is not measured under"),
        (["validation/psnr", "validation/psnr"], "metric = validation/psnr: is given twice"),
        (["cost/work", "validation/ssim"], "first must be a measured one"),
        (["validation/psnr", "validation/ssim", "cost/work", "model/parameters"], "at most 3"),
    ],
)
def test_what_cannot_be_an_objective_is_one_line(names: list[str], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        choose_metrics(ProgressiveGANSR, names, SETTINGS)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_measured_and_computed_ones_with_their_directions() -> None:
    known = [METRIC, *ProgressiveGANSR.metrics]
    found = choose_objectives(known, ["validation/psnr", "model/parameters", "validation/ssim"])
    assert found == (METRIC, PARAMETERS, Metric("validation/ssim", "max"))
    assert Objectives(found, uncounted).measured == (METRIC, Metric("validation/ssim", "max"))


@pytest.mark.parametrize(
    ("strategy", "sampler", "message"),
    [
        ("freeze-thaw", "tpe", "use halving, tpe, random, grid or nsga2, or give one --metric"),
        ("mine.py:Mine", "tpe", "compares trials by one metric"),
        ("tpe", "cmaes", "use tpe, nsga2, gp, random or qmc"),
    ],
)
def test_what_compares_by_one_number_is_refused(strategy: str, sampler: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_several(strategy, sampler)


def test_means_over_seeds_are_of_one_metric() -> None:
    for changes in ({"seeds": 2}, {"confirm": 1}):
        (name,) = changes
        with pytest.raises(SettingsError, match=f"leave --{name} out, or give one --metric"):
            check_several("tpe", "tpe", **changes)


def test_earlier_studies_guide_by_one_metric() -> None:
    with pytest.raises(SettingsError, match="give --points instead, or one --metric"):
        check_several("tpe", "tpe", warm_start=["faces"])


def test_nsga2_is_a_strategy_with_its_sampler() -> None:
    check_several("nsga2", "tpe")
    assert sampler_of("nsga2", "tpe") == "nsga2" and sampler_of("tpe", "nsga2") == "nsga2"


# ---- values ----


def test_work_is_that_of_the_stages_so_far() -> None:
    both = Objectives((SCORE, WORK), uncounted)
    result = StageResult(0, metrics={"score": 2.0, "loss": 7.0})
    first, second = map(stage_work, PLAN.stages)
    assert both.values(TRADE[0], 1, result) == (2.0, first)
    assert both.values(TRADE[0], 2, result) == (2.0, first + second)
    assert BOTH.values(TRADE[0], 1, result) == (2.0, 7.0)


@pytest.mark.parametrize("system", ["progressive_gan_sr", "srgan"])
def test_parameters_are_those_that_are_deployed(system: str) -> None:
    """Counted at each stage, and against the network's own shapes."""
    kind = load_system(system)
    if system == SYSTEM:
        ready = prepare(system, SETTINGS)
    else:
        changes = {"perceptual.network": "none", "perceptual.weight": 0.0, "blocks": 2, "width": 8}
        known = {
            k: v for k, v in changes.items() if k.partition(".")[0] in kind.Settings.model_fields
        }
        ready = prepare(system, override(kind.Settings(), known))
    plan = ready.plan()
    counts = [parameters(ready, plan, done) for done in range(1, len(plan.stages) + 1)]
    made = kind(ready.settings, ready.assets)
    for index in range(len(plan.stages)):
        made.grow(index)
        for player in made.players:
            player.follow()
    network = made.deploy(plan.progress(len(plan.stages) - 1, plan.stages[-1].steps))
    buffers = dict(network.named_buffers())
    stored = {name: v for name, v in network.state_dict().items() if name not in buffers}
    assert counts[-1] == sum(math.prod(tensor.shape) for tensor in stored.values())
    assert counts == sorted(counts) and counts[0] > 0
    assert (counts[0] < counts[-1]) is (system == SYSTEM), "the flagship grows"


# ---- the front ----


def test_the_front_is_of_finished_trials_best_by_the_first_objective() -> None:
    assert [found.number for found in BOTH.front(TRADE)] == [0, 1, 5]
    assert BOTH.front([]) == BOTH.front(TRADE[3:5]) == []


def test_patience_counts_trials_that_do_not_enter_the_front() -> None:
    def vain(*numbers: int) -> int:
        return BOTH.in_vain({k: TRADE[k] for k in numbers})

    # in the order of numbers
    assert [vain(*range(count)) for count in range(8)] == [0, 0, 0, 1, 2, 3, 0, 1]
    again = {0: TRADE[0], 7: replace(TRADE[0], number=7)}
    assert BOTH.in_vain(again) == 1, "the same again is nothing new"
    front = "entering the front"
    reached = Limits(100, None, 3).reached(Spent(), lambda: vain(*range(5)), True, False, front)
    assert reached == "3 trials in a row ended without entering the front"
    assert not Limits(100, None, 3).reached(Spent(), lambda: vain(0, 1, 5), True, False, front)


def test_at_a_rung_trials_are_compared_by_rank() -> None:
    scores = BOTH.rung_scores(TRADE)
    assert scores[3] == (0.0,) and scores[0][0] == -1.0  # 3 and 4 dominate the others there
    # after two stages 4 dominates all; 0, 1 and 5 are next; 2 and 6 are behind one of these
    assert [scores[k][1] for k in (4, 0, 1, 5, 2, 6)] == [0.0, -1.0, -1.0, -1.0, -2.0, -2.0]


def test_the_ledger_keeps_the_front(tmp_path: Path) -> None:
    for one in TRADE:
        one.stages[0] = StageResult(0, stage_id=f"stage {one.number}")
    kept = LedgerSize(str(tmp_path), 0, "max", objectives=BOTH)._needed(TRADE)
    assert set(kept) == {name for k in (0, 1, 5) for name in entries_of(TRADE[k])}


def test_the_parents_note_marks_the_front() -> None:
    lines = summary_note(TRADE, TRADE[0], "score", ["rate"], BOTH).splitlines()
    assert lines[0].startswith(
        "3 of 7 trials are on the front of score (higher is better) and loss"
    )
    assert lines[2] == "| trial | outcome | stages | score | loss | rate |"
    assert lines[4] == "| 0 **best** | finished | 2 | 3.000 | 5 | 0 |"
    assert lines[5].startswith("| 1 **front** |") and lines[6].startswith("| 2 | finished")


# ---- the sampler ----


def value(point: dict[str, Any]) -> tuple[float, float]:
    """Two bowls with different bottoms: the front lies between them."""
    rate = math.log10(point["generator.learning_rate"])
    return -((rate + 3) ** 2) - 0.1 * point["critic_steps"], (rate + 2.5) ** 2


@pytest.mark.parametrize("kind", ["tpe", "nsga2"])
def test_its_points_are_those_of_optunas_sampler_for_several_objectives(kind: str) -> None:
    theirs = {
        "tpe": TPESampler(seed=3, n_startup_trials=5),
        "nsga2": NSGAIISampler(seed=3, population_size=5),
    }
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=theirs[kind])
    space = SPACE | {f"generator.betas.{k}": tune.uniform(0.1, 0.9) for k in range(6)}
    sampler = Sampler(space, ["max", "min"], 3, 5, kind)
    seen: list[dict[str, Any]] = []
    for _ in range(16):
        wanted = study.ask(distributions(space))
        if wanted.params in seen:  # which ours would not give again
            break
        seen.append(wanted.params)
        point = sampler.ask()
        assert point == wanted.params
        study.tell(wanted, value(point))
        sampler.report_end(point, "finished", value(point))
    assert len(seen) >= 8, "past what is drawn at random"


@pytest.mark.parametrize("kind", ["tpe", "nsga2", "random", "gp", "qmc"])
def test_every_sampler_learns_from_all_that_can_happen(kind: str) -> None:
    """A failed trial, a stopped one, a refused point, one without a value; the same calls give the
    same points."""

    def story() -> list[Any]:
        sampler, found = Sampler(SPACE, ["max", "min"], 7, 4, kind), []
        for number in range(8 if kind == "gp" else 14):  # it takes seconds for each
            point = sampler.ask()
            assert point is not None
            found.append(point)
            if number == 1:
                sampler.refuse(point, "never")
            elif number == 3:
                sampler.report_end(point, "failed")
            elif number == 4:
                sampler.report(point, 1, 5.0)
                sampler.report_end(point, "stopped", (5.0, 1.0))
            elif number == 5:
                sampler.report_end(point, "finished", (math.nan, 1.0))
            else:
                sampler.report_end(point, "finished", value(point))
        complete = [t for t in sampler.study.trials if "failed" in t.user_attrs and t.values]
        for bad in complete:  # told as worse than everything in both
            known = [t.values for t in sampler.study.trials if t.values and t is not bad]
            assert all(bad.values[0] < v[0] and bad.values[1] > v[1] for v in known[:1])
        return found

    assert story() == story()


@pytest.mark.parametrize("kind", ["tpe", "nsga2"])
def test_an_edited_space_keeps_all_values_of_its_trials(kind: str) -> None:
    sampler = Sampler(SPACE, ["max", "min"], 7, 4, kind)
    told = {}
    for _ in range(10):
        point = sampler.ask()
        assert point is not None
        told[point["critic_steps"]] = told.get(point["critic_steps"], 0) + 1
        sampler.report_end(point, "finished", value(point))
    sampler.edit(SPACE | {"critic_steps": tune.randint(1, 3)})
    kept = sampler.study.trials
    assert len(kept) == told[1] + told[2] < 10
    assert all(tuple(trial.values) == value(trial.params) for trial in kept)
    for _ in range(6):
        point = sampler.ask()
        assert point is not None and point["critic_steps"] < 3
        sampler.report_end(point, "finished", value(point))


# ---- the search ----


def search_state(storage: Path, strategy: Strategy, kind: str, limits: Limits) -> SearchState:
    objectives = Objectives((SCORE, WORK, PARAMETERS), lambda one, done: 1000 * done)
    sampler = Sampler(SPACE, objectives.modes, 5, 3, kind)
    journal = Journal(str(storage), "search")
    if not journal.events:
        journal.append("opened", experiment="an experiment")
    return SearchState(
        sampler,
        strategy,
        journal,
        SCORE,
        refusing,
        limits,
        lambda one: None,
        5,
        objectives=objectives,
    )


def drive(state: SearchState) -> None:
    """What Tune does when trials run one at a time; the sixth trial fails."""
    for decided in state.decided:
        found = state.state_of(decided.number)
        assert found is not None
        if not decided.reported:
            state.report_end(decided.number, found)
        state.end(decided.number, found)
    while (one := state.suggest()) is not None:
        one.start()
        for done in range(1, 4):
            score = 20 - abs(one.params["generator.learning_rate"] - 2e-3) * 1000 + done
            result = StageResult(done - 1, seconds=1.0, metrics={"score": score})
            if not state.reached(one.number, done, score, result):
                break
            if one.number == 5 and done == 2:
                one.failed = True
                break
        found = state.state_of(one.number, one.failed)
        assert found is not None
        state.returned(one.number)
        state.report_end(one.number, found)
        state.end(one.number, found)


@pytest.mark.parametrize(
    ("strategy", "kind"), [(Halving(), "tpe"), (Whole(), "nsga2")], ids=["halving", "nsga2"]
)
def test_a_search_interrupted_after_any_event_continues_as_if_it_was_not(
    tmp_path: Path, strategy: Strategy, kind: str
) -> None:
    def begin(name: str) -> SearchState:
        return search_state(tmp_path / name, strategy, kind, Limits(TRIALS))

    whole = begin("whole")
    drive(whole)
    whole.journal.close()
    states = [one.state for one in whole.trials.values()]
    assert set(states) == {"finished", "failed"} | ({"stopped"} if kind == "tpe" else set())
    assert whole.refused and whole.objectives is not None
    lines = local_file(str(tmp_path / "whole"), "search").read_text().splitlines(keepends=True)
    for cut in range(1, len(lines), 1 if kind == "tpe" else 3):
        place = local_file(str(tmp_path / f"cut-{cut}"), "search")
        place.parent.mkdir(parents=True)
        place.write_text("".join(lines[:cut]) + lines[cut][: len(lines[cut]) // 2])
        resumed = begin(f"cut-{cut}")
        drive(resumed)
        resumed.journal.close()
        assert story(resumed) == story(whole), f"cut after event {cut}"
        fronts = [
            [one.number for one in whole.objectives.front(s.trials.values())]
            for s in (whole, resumed)
        ]
        assert fronts[0] == fronts[1] and len(fronts[0]) >= 1


def test_the_journal_has_every_value(tmp_path: Path) -> None:
    state = search_state(tmp_path, Whole(), "tpe", Limits(2))
    drive(state)
    reported = [event for event in state.journal.events if event["event"] == "reported"]
    for event in reported:
        one, done = state.trials[event["trial"]], event["rung"]
        work = sum(map(stage_work, one.plan.stages[:done]))
        assert event["values"] == [event["score"], work, 1000 * done]
        assert one.values[done] == tuple(event["values"])


def test_a_trial_on_the_front_of_a_rung_is_never_stopped_there(tmp_path: Path) -> None:
    state = search_state(tmp_path, Halving(), "random", Limits(20))
    drive(state)
    seen: list[Trial] = []
    stopped = 0
    decided = {
        (e["trial"], e["rung"]): e["continues"]
        for e in state.journal.events
        if e["event"] == "decided"
    }
    for one in state.trials.values():
        seen.append(one)
        for rung in (1, 2):
            if rung not in one.values:
                continue
            there = [(t.values[rung][0], -t.values[rung][1]) for t in seen if rung in t.values]
            mine = (one.values[rung][0], -one.values[rung][1])
            front = not any(v[0] >= mine[0] and v[1] >= mine[1] and v != mine for v in there)
            assert decided[one.number, rung] or not front
            stopped += not decided[one.number, rung]
    assert stopped > 3


def test_patience_and_objectives_end_a_search(tmp_path: Path) -> None:
    state = search_state(tmp_path, Whole(), "random", Limits(80, None, 6))
    drive(state)
    assert state.ended_early == "6 trials in a row ended without entering the front"
    assert state.objectives is not None
    last = list(state.trials)[-6:]
    assert not {t.number for t in state.objectives.front(state.trials.values())} & set(last)


# ---- the header ----


def request(**changes: Any) -> SearchRequest:
    space = {"critic_steps": tune.randint(1, 4)}
    return SearchRequest(prepared(), space, METRIC, "storage", "sqlite://", "e", **changes)


def test_a_search_is_resumed_with_its_own_objectives_alone(tmp_path: Path) -> None:
    both = header(request(further=(WORK,)))
    journal = Journal(str(tmp_path), "search")
    journal.append("opened", **both, parent=None)
    assert check_header(journal, header(request(further=(WORK,))), prepared())["further"] == [
        ["cost/work", "min"]
    ]
    for further in ((), (PARAMETERS,)):
        with pytest.raises(SettingsError, match=r"further = .*, was .*cost/work"):
            check_header(journal, header(request(further=further)), prepared())


def test_a_journal_from_before_there_were_several_is_resumed_with_one(tmp_path: Path) -> None:
    old = header(request())
    del old["further"]
    journal = Journal(str(tmp_path), "search")
    journal.append("opened", **old, parent=None)
    check_header(journal, header(request()), prepared())
    with pytest.raises(SettingsError, match=r"was \[\]"):
        check_header(journal, header(request(further=(WORK,))), prepared())


# ---- the mirror ----


def test_optuna_finds_the_same_front_in_the_mirror(tmp_path: Path) -> None:
    domains = distributions({"rate": tune.uniform(0, 1)})
    mirror = Mirror(tmp_path / "optuna.log", "a search", SCORE, domains, [LOSS])
    trials = [replace(one, state="running") for one in TRADE]
    mirror.follow(trials)
    mirror.follow(TRADE)
    assert not mirror.trouble
    study = load(tmp_path / "optuna.log")
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["score", "loss"]
    assert {t.number for t in study.best_trials} == {t.number for t in BOTH.front(TRADE)}
    assert study.trials[0].values == [3.0, 5.0] and study.trials[4].values is None
    frame = study.trials_dataframe()
    assert list(frame["values_loss"][:3]) == [5.0, 4.0, 4.5]


# ---- the report ----


def test_the_report_has_the_front(tmp_path: Path) -> None:
    done = [
        replace(one, prepared=prepared(), params={"rate": 0.1 * one.number, "x": 1 - one.number})
        for one in TRADE
    ]
    domains = {"rate": FloatDistribution(0, 1), "x": IntDistribution(-9, 9)}
    study = optuna.create_study(directions=["maximize", "minimize"])
    for one in BOTH.front(done) + done[2:3]:
        study.add_trial(
            create_trial(params=one.params, distributions=domains, values=one.last_values)
        )
    files, left_out = build_report(
        study_facts("Search s", done, done[0], study, SCORE, [], NO_COSTS, BOTH)
    )
    assert [line.partition(":")[0] for line in left_out] == ["animation"]
    shown = Image.open(io.BytesIO(files["report/pareto_front.png"]))
    assert shown.size[0] > 2 * shown.size[1], "two panels"
    table = pd.read_csv(io.BytesIO(files["report/trials.csv"]))
    assert list(table["front"]) == [k in (0, 1, 5) for k in range(7)]
    assert list(table["loss"]) == [5.0, 4.0, 4.5, 1.0, 1.0, 1.0, 6.0]
    page = files["report/report.html"].decode()
    assert "compared by score and loss." in page
    assert "On the Pareto front: trials 0, 1, 5. Best is the front&#x27;s best by score." in page


def test_with_one_objective_the_report_is_the_one_it_was() -> None:
    done = [replace(one, prepared=prepared(), values={}) for one in TRADE]
    study = optuna.create_study(direction="maximize")
    facts = study_facts("Search s", done, done[0], study, SCORE, [], NO_COSTS)
    files, _ = build_report(facts)
    with pytest.raises(Omitted, match="the search has one metric"):
        facts.pareto()
    assert "report/pareto_front.png" not in files
    assert "front" not in pd.read_csv(io.BytesIO(files["report/trials.csv"])).columns
    assert "compared by score." in files["report/report.html"].decode()


def test_the_command_prints_the_front(capsys: pytest.CaptureFixture[str]) -> None:
    front = tuple(BOTH.front(TRADE))
    result = SearchResult("s", front[0], tuple(TRADE), None, "folder", front=front)
    print_front(Console(width=120), result, [SCORE, LOSS])
    printed = capsys.readouterr().out
    assert "Pareto front, 3 of 7 trials" in printed and "the front's best by score" in printed
    rows = [line.split() for line in printed.splitlines() if "rate=" in line]
    assert [[cell for cell in row if cell[0].isdigit()] for row in rows] == [
        ["0", "3", "5"],
        ["1", "2", "4"],
        ["5", "1", "1"],
    ]
    print_front(Console(), replace(result, front=()), [SCORE, LOSS])
    assert "no trial finished" in capsys.readouterr().out
