"""Earlier studies guide a search as far as they order its trials, and no further."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from driven import SPACE as STUDY_SPACE
from driven import drive, prepared, refusing, story
from mlflow.entities import Metric as Logged
from mlflow.entities import Param, RunTag
from ray import tune
from scipy.stats import kendalltau
from small import SYSTEM, tiny

from ganforge.commands.search_options import check_warm_start, load_earlier
from ganforge.search.candidates import SpaceCandidates, identity
from ganforge.search.earlier import EarlierStudy, EarlierTrial, from_plain
from ganforge.search.journal import Journal
from ganforge.search.limits import Limits
from ganforge.search.request import SearchRequest, check_header, header
from ganforge.search.sampler import Sampler
from ganforge.search.space import axes
from ganforge.search.strategies.freeze_thaw import FreezeThaw
from ganforge.search.strategies.halving import Halving
from ganforge.search.study import SearchState
from ganforge.search.warm_start import FULL, SHARE, WarmStart, agreement, compare, normal_scores
from ganforge.settings import SettingsError
from ganforge.systems.base import Metric
from ganforge.tracking.client import open_client

SPACE = {
    "rate": tune.loguniform(1e-4, 1e-2),
    "x": tune.uniform(0, 1),
    "loss": tune.choice(["a", "b"]),
}


def value(point: dict[str, Any], best: float = 0.3) -> float:
    """Best at rate 1e-3, x = `best` and loss b."""
    rate = math.log10(point["rate"]) + 3
    return -((point["x"] - best) ** 2) - 0.1 * rate**2 - 0.2 * (point["loss"] != "b")


def candidates() -> SpaceCandidates:
    return SpaceCandidates(axes(SPACE), set())


def study(count: int = 60, sign: float = 1.0, shuffled: bool = False) -> EarlierStudy:
    """Of related data: the best is elsewhere, and scores have another scale."""
    points = candidates().draw(np.random.default_rng(11), count)
    scores = [sign * 1000 * value(point, best=0.4) + 7 for point in points]
    if shuffled:
        scores = list(np.random.default_rng(12).permutation(scores))
    trials = (EarlierTrial(p, 1, float(s)) for p, s in zip(points, scores, strict=True))
    return EarlierStudy("earlier", tuple(trials))


def told(studies: Sequence[EarlierStudy], count: int, mode: str = "max") -> WarmStart:
    """After `count` trials at random points."""
    sign = 1 if mode == "max" else -1
    warm = WarmStart(studies, candidates(), mode, seed=3)
    for point in candidates().draw(np.random.default_rng(5), count):
        warm.report(point, 1, sign * value(point))
    return warm


def test_two_trials_compare_at_the_last_rung_that_both_reached() -> None:
    scores = [{1: 5.0, 2: 1.0, 3: 9.0}, {1: 4.0, 2: 2.0}, {1: 6.0}, {1: 7.0}, {}, {}]
    failed = [False, False, False, True, True, False]
    found = compare(scores, failed)
    assert found.tolist() == [
        [0, -1, -1, 1, 1, 0],
        [1, 0, -1, 1, 1, 0],
        [1, 1, 0, -1, 1, 0],
        [-1, -1, 1, 0, 0, 0],
        [-1, -1, -1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def ordered(scores: Sequence[float]) -> Any:
    return compare([{1: float(s)} for s in scores], [False] * len(scores))


def test_agreement_is_kendalls_tau_less_what_chance_gives() -> None:
    generator = np.random.default_rng(0)
    scores = np.sort(generator.normal(size=12))
    predicted = scores + 0.3 * generator.normal(size=12)
    assert kendalltau(predicted[6:], scores[6:]).statistic > 0
    wanted = kendalltau(predicted, scores).statistic - 1.5 * math.sqrt(2 * 29 / (9 * 12 * 11))
    assert agreement(predicted, ordered(scores)) == pytest.approx(wanted) and wanted > 0.2
    assert agreement(-predicted, ordered(scores)) == 0.0
    # the order of three is right once in six times by chance
    found = [agreement(scores[:n], ordered(scores[:n])) for n in range(5)]
    assert found[:3] == [0, 0, 0] and found[3] < 0.05 < 0.2 < found[4]


def test_a_study_that_has_the_good_trials_upside_down_is_not_believed() -> None:
    scores = np.arange(40)
    wrong = np.concatenate([scores[:20], scores[:19:-1]])
    tau = kendalltau(wrong, scores).statistic
    assert tau > 0.4 and agreement(wrong, ordered(scores)) == 0.0
    # without the good ones' order it is half believed at most
    tied = np.concatenate([scores[:20], np.full(20, 30)])
    assert agreement(tied, ordered(scores)) > 0.4


def test_normal_scores_depend_on_the_order_alone() -> None:
    values = [3.0, -1e9, 7.0, 5.0]
    better = compare([{1: v} for v in values], [False] * 4)
    found = normal_scores(better)
    assert np.allclose(found, -normal_scores(-better)) and abs(found.sum()) < 1e-12
    assert np.argsort(found).tolist() == [1, 0, 3, 2]


def test_a_related_study_is_believed_and_a_shuffled_one_is_not() -> None:
    related = told([study()], 30).weights
    assert related[0] > 0.4
    assert told([study(sign=-1.0)], 30).weights[0] == 0.0
    # both at once: each for itself
    both = told([study(), study(sign=-1.0)], 30).weights
    assert both.tolist() == [related[0], 0.0]
    # scores that are lower when better
    lower = told([study(sign=-1.0)], 30, mode="min").weights
    assert lower == pytest.approx(related)


def test_the_weight_of_a_shuffled_study_falls_to_zero() -> None:
    weights: list[list[float]] = []
    for seed in range(16):
        order = np.random.default_rng(seed).permutation(60)
        trials = study().trials
        mixed = tuple(replace(trials[k], point=t.point) for k, t in zip(order, trials, strict=True))
        weights.append([told([EarlierStudy("mixed", mixed)], n).weights[0] for n in (6, 60)])
    # what is smooth agrees with what is smooth by chance now and then: never as a related study
    few, many = np.mean(weights, axis=0)
    assert many < 0.12 and np.median(weights, axis=0)[1] == 0.0
    assert told([study()], 60).weights[0] > 4 * many and few < 0.2


def test_a_study_that_is_not_believed_proposes_nothing() -> None:
    warm = told([study(sign=-1.0)], 30)
    assert not any(warm.proposes(number) for number in range(300))
    warm = told([study()], 30)
    proposed = sum(warm.proposes(number) for number in range(300))
    # with probability SHARE * weight / FULL, at most SHARE
    wanted = 300 * SHARE * min(1.0, warm.weights[0] / FULL)
    assert abs(proposed - wanted) < 4 * math.sqrt(wanted)


def test_proposals_are_better_than_random_points() -> None:
    warm = told([study(sign=-1.0), study()], 30)
    best = max(study().trials, key=lambda t: t.score or -1e9).point
    assert warm.propose(0) == best
    proposed = [value(dict(warm.propose(n) or {})) for n in range(1, 11)]
    random = [value(p) for p in candidates().draw(np.random.default_rng(6), 400)]
    assert np.median(proposed) > np.quantile(random, 0.97)


def test_proposals_go_where_the_present_trials_are_best() -> None:
    """The study has its best at x = 0.9, the trials at 0.3: what is proposed moves there."""
    points = candidates().draw(np.random.default_rng(11), 60)
    trials = tuple(EarlierTrial(p, 1, value(p, best=0.9)) for p in points)
    places = []
    for count in (4, 60):
        warm = WarmStart([EarlierStudy("off", trials)], candidates(), "max", seed=3)
        for point in candidates().draw(np.random.default_rng(5), count):
            warm.report(point, 1, value(point))
        warm.propose(0)
        proposed = [dict(warm.propose(n) or {}) for n in range(1, 9)]
        places.append(np.median([p["x"] for p in proposed]))
    assert abs(places[1] - 0.3) < 0.15


def test_a_setting_that_the_study_does_not_know_says_nothing() -> None:
    partial = [replace(t, point={"x": t.point["x"]}) for t in study().trials]
    warm = WarmStart([EarlierStudy("x", tuple(partial))], candidates(), "max", 0)
    points = candidates().draw(np.random.default_rng(1), 3)
    same = [p | {"rate": 1e-3, "loss": "a"} for p in points]
    for point in [*points, *same]:
        warm.report(point, 1, 0.0)
    predicted = np.array(warm._predicted)[:, 0]  # pyright: ignore[reportPrivateUsage]
    assert np.allclose(predicted[:3], predicted[3:]) and np.ptp(predicted) > 0


def sampled(earlier: Sequence[EarlierStudy], count: int = 25, seed: int = 7) -> list[Any]:
    sampler, found = Sampler(SPACE, "max", seed, 4, earlier=earlier), []
    for number in range(count):
        point = sampler.ask()
        assert point is not None
        found.append(point)
        sampler.report(point, 1, value(point))
        sampler.report_end(point, "failed" if number == 5 else "finished", value(point))
    return found


def test_a_sampler_with_an_earlier_study_is_the_same_twice_and_repeats_nothing() -> None:
    once = sampled([study()])
    assert once == sampled([study()]) == sampled(from_plain([study().plain()]))
    assert len({identity(p) for p in once}) == len(once)
    assert once != sampled([]) and once[0] == sampled([])[0]


def test_after_an_edit_of_the_space_a_study_is_judged_by_the_same_trials() -> None:
    sampler = Sampler(SPACE, "max", 7, 4, earlier=[study()])
    for _ in range(12):
        point = sampler.ask()
        sampler.report(point, 1, value(point))
        sampler.report_end(point, "finished", value(point))
    warm = sampler._warm  # pyright: ignore[reportPrivateUsage]
    before = warm.weights
    sampler.edit(dict(SPACE))
    again = sampler._warm  # pyright: ignore[reportPrivateUsage]
    assert again is not warm and before[0] > 0 and again.weights == pytest.approx(before)
    narrow = SPACE | {"x": tune.uniform(0, 0.35)}
    sampler.edit(narrow)
    points = [sampler.ask() for _ in range(12)]
    assert all(p["x"] <= 0.35 for p in points)
    # so narrow that the study knows nothing of it
    sampler.edit(SPACE | {"x": tune.uniform(0.5, 0.5001)})
    assert sampler._warm is None  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    "recorded",
    [None, [{"name": 3, "trials": []}], [{"name": "a", "trials": [[{}, 1, "high"]]}], [{}]],
)
def test_a_damaged_record_of_studies_is_named(recorded: Any) -> None:
    with pytest.raises(SettingsError, match=r"damaged \(earlier studies\); repair it"):
        from_plain(recorded)


def test_a_related_study_helps_and_a_misleading_one_changes_nothing() -> None:
    seeds = range(6)
    best = {
        name: np.mean([max(map(value, sampled(studies, 14, seed))) for seed in seeds])
        for name, studies in {"none": [], "related": [study()]}.items()
    }
    assert best["related"] > best["none"] + 0.005
    for seed in seeds:
        assert sampled([study(sign=-1.0)], 14, seed) == sampled([], 14, seed)


def opened(folder: Path, strategy: Any, earlier: Sequence[EarlierStudy]) -> SearchState:
    sampler = Sampler(STUDY_SPACE, "max", 5, 3, earlier=earlier)
    journal = Journal(str(folder), "search")
    if not journal.events:
        journal.append("opened", experiment="an experiment")
    return SearchState(
        sampler, strategy, journal, Metric("score", "max"), refusing, Limits(8), lambda t: None
    )


def own_study() -> EarlierStudy:
    drawn = SpaceCandidates(axes(STUDY_SPACE), set()).draw(np.random.default_rng(0), 40)
    return EarlierStudy(
        "own",
        tuple(
            EarlierTrial(p, 3, 20 - abs(p["generator.learning_rate"] - 2e-3) * 1000) for p in drawn
        ),
    )


FREEZE_THAW = FreezeThaw(startup=2, drawn=10, near=2, parents=2, looked_at=4, fit_scores=10)


@pytest.mark.parametrize("strategy", [Halving(), FREEZE_THAW], ids=["halving", "freeze"])
def test_an_interrupted_search_with_an_earlier_study_is_the_undisturbed_one(
    strategy: Any, tmp_path: Path
) -> None:
    whole = opened(tmp_path / "whole", strategy, [own_study()])
    drive(whole)
    told = story(whole)
    points = [e["params"] for e in told if e["event"] in ("suggested", "refused")]
    assert max(own_study().trials, key=lambda t: t.score or 0).point in points
    whole.journal.close()
    lines = (tmp_path / "whole" / "search" / "journal.jsonl").read_text().splitlines(True)
    refused = [k for k, event in enumerate(told, 1) if event["event"] == "refused"]
    for cut in {len(lines) // 4, len(lines) // 2, *refused[-2:]}:
        folder = tmp_path / f"cut-{cut}"
        (folder / "search").mkdir(parents=True)
        (folder / "search" / "journal.jsonl").write_text("".join(lines[:cut]))
        again = opened(folder, strategy, [own_study()])
        drive(again)
        assert story(again) == told, cut
        again.journal.close()


def test_a_resumed_search_has_its_studies_from_the_journal(tmp_path: Path) -> None:
    def request(**facts: Any) -> SearchRequest:
        metric, uri = Metric("score", "max"), "sqlite:///nowhere.db"
        return SearchRequest(
            prepared(), STUDY_SPACE, metric, str(tmp_path), uri, "an experiment", **facts
        )

    journal = Journal(str(tmp_path), "search")
    journal.append("opened", **header(request(warm_start=("own",), earlier=(own_study(),))))
    journal.close()
    journal = Journal(str(tmp_path), "search")
    again = check_header(journal, header(request(warm_start=("own",))), prepared())
    assert from_plain(again["earlier"]) == [own_study()]
    with pytest.raises(SettingsError, match=r"warm_start = \[\], was \['own'\]$"):
        check_header(journal, header(request()), prepared())
    journal.close()


def test_what_waits_to_be_tried_goes_before_what_a_strategy_would_begin(tmp_path: Path) -> None:
    first = {"generator.learning_rate": 3e-3, "critic_steps": 2, "stages.1.epochs": 1}
    search = opened(tmp_path, FreezeThaw(startup=0, explore=1.0), [])
    search.sampler.append([first])
    begun = [search.suggest() for _ in range(2)]
    assert begun[0] is not None and begun[0].params == first
    assert begun[1] is not None and search.journal.events[-1]["given"]
    search.journal.close()


# ---- from the tracking store ----

METRIC = Metric("validation/psnr", "max")
STORE_SPACE = {
    "generator.learning_rate": tune.loguniform(1e-4, 1e-2),
    "critic_steps": tune.randint(1, 4),
}


def record(client: Any, number: str, status: str = "FINISHED", **facts: Any) -> None:
    """A run as a search leaves it; `facts` are its score, stages, learning rate, system, search."""
    tags = {
        "kind": facts.get("kind", "trial"),
        "system": facts.get("system", SYSTEM),
        "data.fingerprint": facts.get("data", "faces"),
        "search": facts.get("search", "s1"),
    }
    params = {"generator.learning_rate": facts.get("rate", 1e-3)} | facts.get("params", {})
    made = client.create_run(number, tags=tags).info.run_id
    metrics = {"stages_done": facts.get("stages", 3)}
    if "score" in facts:
        metrics[METRIC.name] = facts["score"]
    client.log_batch(
        made,
        metrics=[Logged(k, v, 0, 0) for k, v in metrics.items()],
        params=[Param(k, str(v)) for k, v in params.items()],
        tags=[RunTag("outcome", status.lower())],
    )
    client.set_terminated(made, status=status)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with experiments of several kinds."""
    found = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    client = open_client(found)
    faces = client.create_experiment("faces")
    for k in range(5):
        record(client, faces, score=20.0 + k, stages=3 if k else 1, rate=1e-3 * (k + 1))
    record(client, faces, "FAILED", rate=9e-3, stages=1, score=99.0)
    record(client, faces, "KILLED", rate=8e-3, score=50.0)
    record(client, faces, rate=0.5, score=40.0)  # outside of the space
    record(client, faces, rate=7e-3)  # without a score
    for k in range(4):
        record(client, faces, score=5.0 + k, data="cats", search="s2", rate=2e-3 * (k + 1))
    record(client, faces, score=1.0, data="dogs", search="s3")  # too few
    others = {"system": "dcgan"}, {"params": {}, "rate": 0.5, "score": 1.0}, {"rate": 1e-3}
    for name, facts in zip(("digits", "wide", "unmeasured"), others, strict=True):
        number = client.create_experiment(name)
        for _ in range(5):
            record(client, number, **facts)
    client.create_experiment("empty")
    return found


def load(uri: str, *names: str) -> tuple[EarlierStudy, ...]:
    return load_earlier(names, STORE_SPACE, tiny(), METRIC, uri)


def test_trials_of_a_store_become_studies_by_their_data(uri: str) -> None:
    faces, cats = load(uri, "faces")
    found = [(t.point, t.stages, t.score) for t in faces.trials]
    assert found == [
        *(({"generator.learning_rate": 1e-3 * (k + 1)}, 3 if k else 1, 20.0 + k) for k in range(5)),
        ({"generator.learning_rate": 9e-3}, 1, None),
    ]
    assert [t.score for t in cats.trials] == [5.0, 6.0, 7.0, 8.0]
    assert faces.line == "warm start    faces: 6 trials, 1 of them failed"
    plain = json.loads(json.dumps([faces.plain(), cats.plain()]))
    assert from_plain(plain) == [faces, cats]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("nowhere",), "warm-start = 'nowhere': no such experiment in sqlite.*there are: .*faces"),
        (
            ("digits",),
            "warm-start = 'digits': has no trials of progressive_gan_sr .*of dcgan.*name",
        ),
        (("empty",), "warm-start = 'empty': has no trials of progressive_gan_sr .none has ended"),
        (("unmeasured",), "none of its 5 trials has the metric validation/psnr; name another"),
        (("wide",), "warm-start = 'wide': 0 of its 5 trials are points of this search space"),
        (("faces", "faces"), "warm-start = 'faces': is given twice; leave one out"),
    ],
)
def test_an_experiment_that_tells_nothing_is_one_clear_error(
    uri: str, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as found:
        load(uri, *names)
    assert "\n" not in str(found.value)


def test_a_search_that_asks_nobody_takes_no_earlier_study() -> None:
    check_warm_start(("faces",), "freeze-thaw", "tpe")
    check_warm_start((), "random", "random")
    with pytest.raises(SettingsError, match="by one metric, and this one has 2"):
        check_warm_start(("faces",), "tpe", "tpe", ("validation/psnr", "model/parameters"))
    for strategy, sampler in (("grid", "tpe"), ("halving", "random")):
        with pytest.raises(
            SettingsError, match=r"warm-start = 'faces': .* whatever earlier studies"
        ):
            check_warm_start(("faces",), strategy, sampler)
