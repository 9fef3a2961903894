"""What a search will take: played on made-up scores, against what can be counted by hand."""

import math

import numpy as np
import pytest
import torch
from command_line import ganforge
from ray import tune
from small import SYSTEM, tiny

from ganforge.search.plan import MOST_TRIALS, ONCE, Repeats, Starts, estimate, play, probe_all
from ganforge.search.sampler import Sampler
from ganforge.search.strategies.halving import Halving, Whole
from ganforge.settings import SettingsError
from ganforge.training.prepare import prepare
from ganforge.training.probe import StageProbe

SPACE = {"generator.learning_rate": tune.loguniform(1e-4, 1e-2)}
PARTS, START = [10.0, 30.0], 5.0
WHOLE = START + sum(PARTS)


def played(trials: int, slots: int, repeats: Repeats = ONCE, whole: bool = True) -> tuple:
    candidates = Sampler(SPACE, "max", 0).candidates
    strategy = Whole() if whole else Halving()
    return play(strategy, candidates, PARTS, trials, slots, Starts(START, START), 3, repeats)


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_trials_that_run_to_their_end_take_what_they_take(slots: int) -> None:
    held, wall = played(6, slots)
    assert held == pytest.approx(6 * WHOLE)
    assert wall == pytest.approx(6 // slots * WHOLE)


def test_the_first_trial_of_each_slot_starts_its_workers() -> None:
    candidates = Sampler(SPACE, "max", 0).candidates
    held, wall = play(Whole(), candidates, PARTS, 6, 2, Starts(20.0, 1.0), 3)
    assert held == pytest.approx(2 * 20 + 4 * 1 + 6 * sum(PARTS))
    assert wall == pytest.approx(20 + 2 * 1 + 3 * sum(PARTS))


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize(
    ("repeats", "runs"), [(Repeats(3), 12), (Repeats(1, 2, 4), 8), (Repeats(2, 9, 1), 12)]
)
def test_repetitions_are_whole_runs(repeats: Repeats, runs: int, slots: int) -> None:
    """Of six that finish: with three seeds, the two best four times more, all of them twice."""
    held, wall = played(6, slots, repeats)
    assert held == pytest.approx((6 + runs) * WHOLE)
    assert wall == pytest.approx((math.ceil(6 / slots) + math.ceil(runs / slots)) * WHOLE)


def test_what_was_stopped_is_not_repeated() -> None:
    bare, repeated = played(20, 1, whole=False)[0], played(20, 1, Repeats(2), whole=False)[0]
    finished = (repeated - bare) / WHOLE
    assert finished == round(finished) and 0 < finished < 20
    assert bare == pytest.approx(20 * (START + PARTS[0]) + finished * PARTS[1])


def test_rungs_let_a_stage_be_left_earlier() -> None:
    probe = StageProbe(0, 8, 100, 0, (0.0, 0.0), (1.0, 0.0), 0, 0, 0.0, 0.0, 1)
    candidates = Sampler(SPACE, "max", 0).candidates

    def seconds(rungs: int) -> float:
        found = estimate(
            Halving(), candidates, [probe], num_trials=20, workers=2, slots=1,
            starts=Starts(0.0, 0.0), rungs=rungs,
        )  # fmt: skip
        assert found.device_seconds.value == pytest.approx(2 * found.seconds.value)
        return found.seconds.value

    assert seconds(1) == pytest.approx(20 * probe.seconds)
    assert np.diff([seconds(rungs) for rungs in (1, 2, 4)]).max() < 0


@pytest.mark.parametrize("strategy", [Whole(), Halving()])
def test_a_search_of_very_many_trials_is_played_in_part(strategy: Whole | Halving) -> None:
    """A plan of 36,740 trials under freeze-thaw took hours. What is confirmed does not multiply."""
    probe = StageProbe(0, 8, 100, 0, (0.0, 0.0), (1.0, 0.0), 0, 0, 0.0, 0.0, 1)
    candidates = Sampler(SPACE, "max", 0).candidates

    def seconds(trials: int, repeats: Repeats = ONCE) -> float:
        found = estimate(
            strategy, candidates, [probe], num_trials=trials, workers=1, slots=2,
            starts=Starts(START, START), rungs=2, repeats=repeats,
        )  # fmt: skip
        return found.device_seconds.value

    assert seconds(250) == pytest.approx(2.5 * seconds(MOST_TRIALS))
    confirmed = seconds(36_740, Repeats(1, 3, 2)) - seconds(36_740)
    assert confirmed == pytest.approx(6 * (START + probe.seconds))


def test_what_cannot_be_trained_here_is_one_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    prepared = prepare(SYSTEM, tiny(device="cuda"))
    with pytest.raises(SettingsError, match=r"^device = cuda: this machine has no CUDA device"):
        probe_all(prepared, 1.0)


def test_a_gpu_that_is_missing_is_named_before_any_image_is_read(capsys) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert ganforge("plan", SYSTEM, "--gpu") == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: device = cuda: this machine has no CUDA device")
    assert "images" not in printed.out
