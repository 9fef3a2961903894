"""The curve model against textbook formulas, computed another way."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from ganforge.search.strategies.curve_model import CurveModel, Observed, misfit, rank_scores

TIMES = np.array([0.0, 0.4, 1.0])
NONE = Observed(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


def observed(*rows: tuple[int, int, float]) -> Observed:
    trial, rung, score = zip(*rows, strict=True)
    return Observed(np.array(trial), np.array(rung), np.array(score))


def seen(trials: int = 6) -> tuple[np.ndarray, Observed]:
    generator = np.random.default_rng(3)
    rows = [(i, r, float(generator.normal())) for i in range(trials) for r in range(1 + i % 2)]
    return generator.random((trials, 2)), observed(*rows)


def covariance(theta: np.ndarray, x: np.ndarray, rows: Observed) -> np.ndarray:
    """Entry by entry, of scores with their noise."""
    lengths, (settings, own, noise, along, own_along) = np.exp(theta[:2]), np.exp(theta[2:])
    n = len(rows)
    kernel = np.zeros((n, n))
    for a in range(n):
        for b in range(n):
            apart = abs(TIMES[rows.rung[a]] - TIMES[rows.rung[b]])
            r = np.linalg.norm((x[rows.trial[a]] - x[rows.trial[b]]) / lengths) * 5**0.5
            kernel[a, b] = np.exp(-apart)
            kernel[a, b] += settings * (1 + r + r * r / 3) * np.exp(-r) * np.exp(-apart / along)
            if rows.trial[a] == rows.trial[b]:
                kernel[a, b] += own * np.exp(-apart / own_along)
    return kernel + (noise + 1e-6) * np.eye(n)


THETA = np.log([0.5, 1.5, 0.4, 0.1, 0.02, 0.7, 0.3])


def test_misfit_is_the_density_of_a_normal_vector() -> None:
    x, rows = seen()
    value, _ = misfit(THETA, x, TIMES, rows)
    density = multivariate_normal(cov=covariance(THETA, x, rows)).logpdf(rows.score)
    assert value + len(rows) / 2 * np.log(2 * np.pi) == pytest.approx(-density, rel=1e-9)


def test_the_gradient_of_misfit() -> None:
    x, rows = seen()
    _, gradient = misfit(THETA, x, TIMES, rows)
    for k in range(len(THETA)):
        step = 1e-5 * np.eye(len(THETA))[k]
        up, down = (misfit(THETA + sign * step, x, TIMES, rows)[0] for sign in (1, -1))
        assert gradient[k] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-6)


def test_the_final_score_is_the_conditional_normal() -> None:
    x, rows = seen()
    model = CurveModel(x, TIMES, rows, NONE, rows)
    new = np.array([[0.2, 0.9]])
    points, numbers = np.concatenate([x, new]), np.array([*range(len(x)), -1])
    mean, variance = model.final(points, numbers)
    for k in range(len(points)):
        ends = observed(*zip(rows.trial, rows.rung, rows.score, strict=True), (k, 2, 0.0))
        whole = covariance(model.theta, points, ends)
        cross, kernel = whole[-1, :-1], whole[:-1, :-1]
        assert mean[k] == pytest.approx(cross @ np.linalg.solve(kernel, rows.score), rel=1e-6)
        left = whole[-1, -1] - model.noise - 1e-6 - cross @ np.linalg.solve(kernel, cross)
        assert variance[k] == pytest.approx(left, rel=1e-6)


def test_a_look_takes_away_what_a_pending_score_does() -> None:
    x, rows = seen()
    model = CurveModel(x, TIMES, rows, NONE, rows)
    number = np.array([2])
    _, before = model.final(x[number], number)
    told = model.known(x[number], number, np.array([1]))
    assert told[0, 0] == 0.0
    for rung in (1, 2):
        looked = CurveModel(x, TIMES, rows, observed((2, rung, 123.0)), rows)
        _, after = looked.final(x[number], number)
        assert told[0, rung] == pytest.approx(float(before[0] - after[0]), rel=1e-6)


def test_a_pending_score_moves_no_mean() -> None:
    x, rows = seen()
    numbers = np.arange(len(x))
    plain, _ = CurveModel(x, TIMES, rows, NONE, rows).final(x, numbers)
    looked, _ = CurveModel(x, TIMES, rows, observed((2, 1, 123.0)), rows).final(x, numbers)
    assert looked == pytest.approx(plain, rel=1e-9)


def test_irrelevant_settings_get_long_lengths() -> None:
    generator = np.random.default_rng(0)
    x = generator.random((40, 2))
    rows = observed(*((k, 2, float(np.sin(9 * x[k, 0]))) for k in range(40)))
    model = CurveModel(x, TIMES, rows, NONE, rows)
    relevant, irrelevant = np.exp(model.theta[:2])
    assert irrelevant > 3 * relevant


def test_places_are_normal_quantiles_of_ranks() -> None:
    nan = np.nan
    scores = np.array([[-1e34, nan], [-3.0, nan], [1.0, 4.0], [2.0, 3.0], [-np.inf, nan]])
    found = rank_scores(scores)
    # the first of five has a tenth above its middle; of the two that went on, the order is new
    expected = [norm.ppf(q) / 2 for q in (0.3, 0.5, 0.7, 0.9, 0.1)]
    assert found[:, 0] == pytest.approx(expected)
    assert found[2:4, 1] == pytest.approx([norm.ppf(0.9) / 2, norm.ppf(0.7) / 2])
    assert np.isnan(found[[0, 1, 4], 1]).all()


def test_equal_scores_have_equal_places() -> None:
    assert rank_scores(np.ones((3, 1))) == pytest.approx(np.zeros((3, 1)))
    assert np.isnan(rank_scores(np.full((2, 3), np.nan))).all()
