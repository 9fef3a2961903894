"""The ratio of densities against scipy's mixtures."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from ganforge.search.strategies.density import good_count, log_ratio


def mixture(point: np.ndarray, of: np.ndarray) -> float:
    width = 0.2 * (len(of) + 1) ** (-1 / 5)
    kernels = [multivariate_normal(centre, width**2).pdf(point) for centre in of]
    return float(np.mean([*kernels, multivariate_normal([0.5], 1.0).pdf(point)]))


def test_the_ratio_is_that_of_two_mixtures() -> None:
    good, others = np.array([[0.2], [0.3]]), np.array([[0.1], [0.6], [0.9]])
    points = np.array([[0.0], [0.25], [0.9]])
    expected = [np.log(mixture(p, good) / mixture(p, others)) for p in points]
    assert log_ratio(points, good, others) == pytest.approx(expected, rel=1e-9)
    assert log_ratio(points, good, others).argmax() == 1


def test_far_from_everything_it_is_finite() -> None:
    points, near = np.ones((1, 40)), np.zeros((3, 40))
    assert np.isfinite(log_ratio(points, near, near[:0])).all()


def test_a_tenth_is_good() -> None:
    assert [good_count(n) for n in (1, 10, 11, 250, 1000)] == [1, 1, 2, 25, 25]
