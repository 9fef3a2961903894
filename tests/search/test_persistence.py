"""What a rank says of the last one: conditional normal distributions, and known processes."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from ganforge.search.strategies.curve_model import rank_scores
from ganforge.search.strategies.persistence import Persistence, learnt

WORK = np.array([1.0, 1.0, 2.0, 2.0])
DONE = np.log2(np.cumsum(WORK))


def covariance(length: float, noise: float) -> np.ndarray:
    found = (1 - noise) * np.exp(-np.abs(DONE[:, None] - DONE) / length)
    return found + noise * np.eye(4)


@pytest.mark.parametrize("noise", [0.0, 0.4])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_last_rank_is_the_conditional_normal(noise: float, count: int) -> None:
    """By the density itself, on a grid of last ranks."""
    process, whole = Persistence(WORK, 6.0, noise), covariance(6.0, noise)
    ranks = np.array([0.8, -0.3, 1.4])[:count]
    keep = [*range(count), 3]
    joint = multivariate_normal(np.zeros(count + 1), whole[np.ix_(keep, keep)])
    last = np.linspace(-8, 8, 4001)
    density = joint.pdf(np.column_stack([np.tile(ranks, (len(last), 1)), last]))
    density /= density.sum()
    mean = (density * last).sum()
    row = np.full((1, 4), np.nan)
    row[0, :count] = ranks
    assert process.final(row)[0] == pytest.approx(mean, abs=1e-5)
    spread = (density * (last - mean) ** 2).sum()
    assert 1 - process.explained[count] == pytest.approx(spread, abs=1e-5)


def test_without_noise_the_newest_rank_decides_and_with_it_all_do() -> None:
    rows = np.array([[-1.0, -1.0, 1.0, np.nan], [1.0, 1.0, 1.0, np.nan]])
    quiet, loud = (Persistence(WORK, 6.0, noise).final(rows) for noise in (0.0, 0.5))
    assert quiet[0] == pytest.approx(quiet[1])
    assert loud[0] < 0.8 * loud[1]
    # what is known when nothing is, and when all is
    assert Persistence(WORK, 6.0, 0.5).explained[[0, 4]] == pytest.approx([0.0, 1.0])
    assert Persistence(WORK, 6.0, 0.5).final(np.full((1, 4), np.nan)) == pytest.approx([0.0])


def halved(length: float, noise: float, seed: int, trials: int = 80) -> np.ndarray:
    """Ranks of a search in which the better half comes to the next rung."""
    generator = np.random.default_rng(seed)
    scores = generator.multivariate_normal(np.zeros(4), covariance(length, noise), size=trials)
    alive = np.ones(trials, bool)
    for rung in range(1, 4):
        alive &= scores[:, rung - 1] >= np.median(scores[alive, rung - 1])
        scores[~alive, rung] = np.nan
    return 2 * rank_scores(scores)


@pytest.mark.parametrize("length", [3.0, 10.0])
def test_a_process_is_found_again_although_only_the_better_half_continues(length: float) -> None:
    """What the first rank says of the last one, in the median of twenty searches."""
    for noise in (0.0, 0.5):
        true = Persistence(WORK, length, noise).explained[1]
        found = [learnt(halved(length, noise, seed), WORK, 10.0) for seed in range(20)]
        assert np.median([f.explained[1] for f in found]) == pytest.approx(true, abs=0.15)


def test_noise_and_a_short_memory_are_told_from_their_absence() -> None:
    def median(length: float, noise: float) -> float:
        found = [learnt(halved(length, noise, seed), WORK, 10.0) for seed in range(10)]
        return float(np.median([process.explained[1] for process in found]))

    assert median(1.0, 0.0) < 0.5 * median(30.0, 0.0)
    assert median(30.0, 0.6) < 0.5 * median(30.0, 0.0)


def test_few_trials_leave_what_was_expected() -> None:
    none = learnt(np.full((3, 4), np.nan), WORK, 7.0)
    few = learnt(halved(1.0, 0.8, 0, trials=4), WORK, 7.0)
    equal = learnt(np.zeros((30, 4)), WORK, 7.0)
    assert none.length == few.length == equal.length
    assert none.noise == few.noise == equal.noise
