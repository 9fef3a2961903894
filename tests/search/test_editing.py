"""A search that is edited: what changes, what stays, and that a second resume decides the same."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from driven import drive, opened, story
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState
from ray import tune

from ganforge.commands.resumed_search import LimitOptions, _search_named
from ganforge.search.budget import parse_budget
from ganforge.search.candidates import SpaceCandidates
from ganforge.search.editing import all_distributions, edit_event, in_force, lines
from ganforge.search.journal import local_file, named
from ganforge.search.limits import UNLIMITED_TRIALS, Limits
from ganforge.search.recorded_space import from_record, to_record
from ganforge.search.sampler import Sampler
from ganforge.search.space import axes, described
from ganforge.search.strategies.base import Begin, Continue, Decision, Nothing, Seen, Strategy
from ganforge.search.strategies.freeze_thaw import FreezeThaw
from ganforge.search.strategies.halving import Halving, Whole
from ganforge.settings import SettingsError
from search_spaces import likely, when

BEGUN = {
    "generator.learning_rate": tune.loguniform(1e-4, 1e-2),
    "critic_steps": tune.choice([1, 2, 3]),
}
#: narrower, and with a value dropped and one added
EDITED = {
    "generator.learning_rate": tune.loguniform(1e-3, 4e-3),
    "critic_steps": tune.choice([2, 3, 4]),
}
FIRST, ALL = 6, 14


class Pausing:
    """Begins all, then continues the first that is paused."""

    pauses = True

    def next(self, seen: Seen, candidates: Any) -> Decision:
        if seen.fresh:
            return Begin(candidates.draw(seen.generator(), 1)[0])
        return Continue(seen.paused[0].number) if seen.paused else Nothing()

    def continues(self, seen: Seen, number: int, candidates: Any) -> bool:
        return False


STRATEGIES = [Halving(), Whole(), FreezeThaw(startup=3), Pausing()]


def edited(path: Path, strategy: Strategy, kind: str = "tpe", most: int = ALL) -> Any:
    """A search that is driven through six trials, edited, and driven to its end."""
    first = opened(path, BEGUN, strategy, Limits(FIRST), kind)
    drive(first, most=most)
    first.journal.close()
    again = opened(path, BEGUN, strategy, Limits(ALL), kind)
    point = {"generator.learning_rate": 2.5e-3, "critic_steps": 4}
    again.edit(edit_event(again.journal.events, EDITED, [point], Limits(ALL), "it was too wide"))
    drive(again)
    again.journal.close()
    return again


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)
def test_an_edited_search_that_is_cut_anywhere_continues_as_if_it_was_not(
    tmp_path: Path, strategy: Strategy
) -> None:
    whole = edited(tmp_path / "whole", strategy)
    events = whole.journal.events
    at = next(n for n, e in enumerate(events) if e["event"] == "edited")
    later = [e for e in events[at:] if e["event"] == "suggested"]
    assert len(later) == ALL - FIRST
    for event in later:
        assert 1e-3 <= event["params"]["generator.learning_rate"] <= 4e-3
        assert event["params"]["critic_steps"] in (2, 3, 4)
    assert {e["params"]["critic_steps"] for e in later} > {4}
    earlier = [e["params"] for e in events[:at] if e["event"] == "suggested"]
    outside = (p for p in earlier if not 1e-3 <= p["generator.learning_rate"] <= 4e-3)
    assert next(outside, None) is not None
    lines = local_file(str(tmp_path / "whole"), "search").read_text().splitlines(keepends=True)
    # a decision of freeze-thaw takes long on a busy machine
    step = 25 if isinstance(strategy, FreezeThaw) else 7
    for cut in range(at + 1, len(lines), step):
        place = local_file(str(tmp_path / f"cut-{cut}"), "search")
        place.parent.mkdir(parents=True)
        place.write_text("".join(lines[:cut]))
        resumed = opened(tmp_path / f"cut-{cut}", BEGUN, strategy, Limits(ALL))
        drive(resumed)
        resumed.journal.close()
        assert story(resumed) == story(whole), f"cut after event {cut}"


def test_an_edit_is_recorded_with_what_changed_and_why(tmp_path: Path) -> None:
    state = edited(tmp_path, Whole())
    (event,) = [e for e in state.journal.events if e["event"] == "edited"]
    assert event["reason"] == "it was too wide"
    changes = {what: (old, new) for what, old, new in event["changes"]}
    assert changes["trials"] == (FIRST, ALL) and changes["points"] == (0, 1)
    old, new = changes["critic_steps"]
    assert "(1, 2, 3)" in old and "(2, 3, 4)" in new
    assert set(changes) == {"trials", "points", *BEGUN}
    # the appended point is the first that is tried
    at = state.journal.events.index(event)
    following = next(e for e in state.journal.events[at:] if e["event"] == "suggested")
    assert following["params"] == event["points"][0]
    # asked for once more nothing is edited
    now = EDITED, event["points"], Limits(ALL)
    assert edit_event(state.journal.events, *now) == {}
    assert in_force(state.journal.events)["limits"]["trials"] == ALL
    assert any("critic_steps: " in line and " -> " in line for line in lines(event))


def test_a_paused_trial_outside_of_the_edited_space_stays_paused(tmp_path: Path) -> None:
    state = edited(tmp_path, Pausing(), most=FIRST)
    paused = [t for t in state.trials.values() if t.state == "paused"]
    inside = from_record(to_record(EDITED))
    assert paused and not any(
        all(inside[k].contains(v) for k, v in trial.params.items()) for trial in paused
    )
    assert {t.state for t in state.trials.values()} == {"paused", "finished"}


def told(sampler: Sampler, count: int, how: str = "finished") -> list[dict[str, Any]]:
    points = []
    for number in range(count):
        point = sampler.ask()
        assert point is not None
        sampler.report(point, 1, float(number))
        sampler.report_end(point, how, float(number))  # type: ignore[arg-type]
        points.append(point)
    return points


@pytest.mark.parametrize("kind", ["tpe", "random", "qmc", "gp"])
def test_earlier_trials_are_history_where_they_lie_in_the_new_space(kind: str) -> None:
    sampler = Sampler(BEGUN, "max", 1, 4, kind)
    points = told(sampler, 5) + told(sampler, 2, "stopped")
    refused = sampler.ask()
    assert refused is not None
    sampler.refuse(refused, "no")
    running = [sampler.ask() for _ in range(3)]
    sampler.edit(EDITED)
    inside = axes(EDITED)
    fits = [p for p in (*points, refused, *running) if all(inside[k].contains(p[k]) for k in p)]
    kept = sampler.study.trials
    assert [t.params for t in kept] == fits and len(fits) < 11
    assert all(t.distributions["critic_steps"] == inside["critic_steps"].distribution for t in kept)
    for point in running:  # of those outside, too, the end can be told
        sampler.report(point, 1, 3.0)
        sampler.report_end(point, "finished", 3.0)
    ended = {str(t.params): t for t in sampler.study.trials}
    assert all(t.state.is_finished() for t in ended.values())
    # taken in again, none is lost
    sampler.edit(BEGUN)
    back = {str(t.params): t for t in sampler.study.trials}
    assert set(back) == {str(p) for p in (*points, refused, *running)}
    values = [back[str(p)].value for p in (*points, *running)]
    assert values == [0, 1, 2, 3, 4, 0, 1, 3, 3, 3]
    assert [back[str(p)].state for p in points[5:]] == [TrialState.PRUNED] * 2
    assert back[str(refused)].constraints["trainable"] > 0
    new = sampler.ask()
    assert new is not None and str(new) not in back


def test_a_sampler_of_complete_trials_keeps_failures_that_wait(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from optuna.samplers import RandomSampler\nclass Mine(RandomSampler): pass\n")
    sampler = Sampler({"x": tune.uniform(0, 1)}, "max", 0, kind=f"{path}:Mine")
    failed, good = sampler.ask(), sampler.ask()
    assert failed is not None and good is not None
    sampler.report_end(failed, "failed")
    sampler.edit({"x": tune.uniform(-1, 1)})
    sampler.report_end(good, "finished", 10.0)
    assert [t.value for t in sampler.study.trials] == [9.0, 10.0]


def test_an_edited_finite_space_ends_with_its_own_points() -> None:
    sampler = Sampler({"a": tune.choice([0, 1, 2]), "b": tune.choice([0, 1])}, "max", 0, 3, "grid")
    first = told(sampler, 6)
    assert sampler.exhausted and sampler.ask() is None
    sampler.edit({"a": tune.choice([2, 3]), "b": tune.choice([0, 1])})
    assert not sampler.exhausted
    more = told(sampler, 2)
    assert sampler.exhausted and sampler.ask() is None
    assert [p["a"] for p in more] == [3, 3] and len(first) == 6


def test_a_sampler_does_not_repeat_its_random_beginning() -> None:
    space = {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)}
    sampler = Sampler(space, "max", 3, 50)
    first = {p["y"] for p in told(sampler, 10)}
    sampler.edit({"x": tune.uniform(0, 2), "y": tune.uniform(0, 1)})
    assert not first & {p["y"] for p in told(sampler, 10)}


def test_changed_beliefs_are_tried_once_more_and_points_that_do_not_fit_are_dropped() -> None:
    space = {"x": likely(tune.uniform(0, 1), 0.5), "y": tune.choice([1, 2])}
    sampler = Sampler(space, "max", 0, first_points=[{"x": 0.25}, {"x": 0.9}])
    assert sampler.ask()["x"] == 0.25
    sampler.edit({"x": likely(tune.uniform(0, 0.5), 0.125), "y": tune.choice([1, 2])})
    assert sampler.ask()["x"] == 0.125


SPACES = [
    BEGUN,
    {"a": tune.quniform(0.2, 0.8, 0.2), "b": tune.qlograndint(4, 64, 4), "c": tune.randint(0, 3)},
    {
        "loss": tune.choice(["a", None, True, 1.5]),
        "x": when("loss", ("a", None), likely(tune.loguniform(1e-3, 1), 0.1, sure=0.25)),
    },
    {"f": FloatDistribution(0.5, 2.5, step=0.5)},
]


@pytest.mark.parametrize("space", SPACES, ids=lambda s: ",".join(s))
def test_a_recorded_space_is_the_space(space: Mapping[str, Any]) -> None:
    found = from_record(json.loads(json.dumps(to_record(space))))
    assert found == axes(space) and described(found) == described(space)
    one, other = Sampler(space, "max", 2), Sampler(found, "max", 2)
    assert [one.ask() for _ in range(3)] == [other.ask() for _ in range(3)]


@pytest.mark.parametrize(
    "record", [[], {"a": 5}, {"a": {}}, {"a": {"distribution": {"name": "x"}}}], ids=repr
)
def test_what_is_no_recorded_space_is_refused(record: Any) -> None:
    with pytest.raises(ValueError):
        from_record(record)


def test_candidates_close_to_a_point_outside_lie_inside() -> None:
    candidates = SpaceCandidates(axes(EDITED), set())
    outside = {"generator.learning_rate": 1e-2, "critic_steps": 1}
    found = candidates.near(outside, np.random.default_rng(0), 40)
    assert len(found) > 20
    inside = axes(EDITED)
    assert all(inside[key].contains(value) for p in found for key, value in p.items())


def journal(**more: Any) -> list[dict[str, Any]]:
    record = {"space": described(BEGUN), "domains": to_record(BEGUN)}
    return [{"event": "opened", "experiment": "e", **record, **more}]


def test_settings_are_neither_added_nor_removed() -> None:
    new = {"generator.learning_rate": tune.uniform(0, 1), "width": tune.choice([4, 8])}
    with pytest.raises(SettingsError) as raised:
        edit_event(journal(), new, [], Limits(4))
    one, other = str(raised.value).split("\n")
    assert one.startswith("search space: width: was not searched") and "--points 'e'" in one
    assert other.startswith("search space: critic_steps: is searched")
    assert "tune.choice([VALUE])" in other


def test_a_search_without_recorded_domains_keeps_its_space() -> None:
    events = journal()
    del events[0]["domains"]
    assert edit_event(events, BEGUN, [], Limits(9)) == {}
    with pytest.raises(SettingsError, match="did not record its domains"):
        edit_event(events, EDITED, [], Limits(9))


@pytest.mark.parametrize(
    "damage",
    [{"space": 5}, {"domains": []}, {"points": {}}, {"limits": 3}, {"limits": {"budget": 3}}],
    ids=str,
)
def test_a_damaged_head_gets_one_line(damage: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"^cannot resume: the journal .* is damaged"):
        edit_event(journal(**damage), BEGUN, [], Limits(4))


def test_the_mirror_holds_the_domains_of_all_edits() -> None:
    events = [*journal(), {"event": "edited", "domains": to_record(EDITED)}]
    wide = {
        "generator.learning_rate": tune.loguniform(2e-3, 5e-2),
        "critic_steps": tune.choice([9]),
    }
    found = all_distributions(events, wide)
    assert found["generator.learning_rate"] == FloatDistribution(1e-4, 5e-2, log=True)
    assert isinstance(found["critic_steps"], CategoricalDistribution)
    assert set(found["critic_steps"].choices) == {1, 2, 3, 4, 9}


def test_what_is_not_given_stays_as_it_was() -> None:
    recorded = Limits(20, parse_budget("20$", 2.0), 7).to_record()
    kept = LimitOptions().limits(recorded)
    assert (kept.num_trials, kept.patience) == (20, 7) and kept.budget == parse_budget("20$", 2.0)
    more = LimitOptions(trials=30, budget="none", patience=0).limits(recorded)
    assert more == Limits(30)
    assert LimitOptions().limits() == Limits(4)


def test_a_search_without_an_end_is_refused() -> None:
    recorded = LimitOptions(budget="30m").limits().to_record()
    with pytest.raises(SettingsError, match="nothing ends this search any more; give --trials"):
        LimitOptions(budget="none").limits(recorded)
    assert LimitOptions(budget="none", trials=9).limits(recorded) == Limits(9)
    assert LimitOptions(budget="none", patience=3).limits(recorded).patience == 3
    # a larger budget of trials is more trials
    counted = LimitOptions(budget="9trials").limits().to_record()
    assert LimitOptions(budget="20trials").limits(counted).num_trials == 20
    assert LimitOptions().limits(counted).num_trials == 9
    # nobody gave the number that it stands for
    change = {"changes": [["trials", UNLIMITED_TRIALS, 9]]}
    assert lines(change) == ["trials: none -> 9"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"budget": "30m"}, UNLIMITED_TRIALS),
        ({"budget": "2$", "price": 1.0}, UNLIMITED_TRIALS),
        ({"patience": 5}, UNLIMITED_TRIALS),
        ({"budget": "200trials"}, 200),
        ({"budget": "0.5trials"}, 1),
        ({"budget": "30m", "trials": 7}, 7),
        ({"patience": 0}, 4),
        ({"budget": "none"}, 4),
    ],
)
def test_what_ends_a_search_says_how_many_trials_it_has(
    given: dict[str, Any], expected: int
) -> None:
    assert LimitOptions(**given).limits().num_trials == expected
    # what a search was begun with stays, but for a number that is given
    recorded = LimitOptions(trials=9).limits().to_record()
    counted = expected if "trials" in str(given.get("budget")) else 9
    assert LimitOptions(**given).limits(recorded).num_trials == given.get("trials", counted)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["--resume"], ["--resume"]),
        (["--resume", "srgan"], ["--resume", "srgan"]),
        (["srgan", "--resume", "2026Z-ab12"], ["srgan", "--resume", "--search=2026Z-ab12"]),
        (["--resume=x", "--trials", "8"], ["--resume", "--search=x", "--trials", "8"]),
        (["--", "--resume=x"], ["--", "--resume=x"]),
    ],
)  # fmt: skip
def test_an_id_may_follow_resume(words: list[str], meant: list[str]) -> None:
    assert _search_named(words) == meant


def test_an_unknown_id_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="it has none; leave --resume out"):
        named(str(tmp_path), "20260101T000000Z-ab12")
    for day in range(1, 9):
        path = local_file(str(tmp_path), f"2026010{day}T000000Z-ab1{day}")
        path.parent.mkdir()
        path.write_text('{"event": "opened"}\n')
    (tmp_path / "ledger").mkdir()
    assert named(str(tmp_path), "20260103T000000Z-ab13") == "20260103T000000Z-ab13"
    with pytest.raises(SettingsError) as raised:
        named(str(tmp_path), "20260102T000000Z-ab1")
    text = str(raised.value)
    assert text.startswith("resume = '20260102T000000Z-ab1': no such search in ")
    listed = text.partition("it has ")[2].split(", ")
    assert listed[0] == "20260102T000000Z-ab12" and len(listed) == 5
