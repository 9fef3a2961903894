"""Spearman's correlation of stage scores and final scores, with an interval that covers."""

import numpy as np
import pytest

from ganforge.search.report.agreement import agreements
from ganforge.search.report.table import TrialRow
from ganforge.training.report import StageResult


def rows(pairs: list[tuple[float, float]], state: str = "finished") -> list[TrialRow]:
    return [
        TrialRow(
            n,
            "",
            state,
            state,
            {},
            "m",
            [StageResult(k, metrics={"m": v}) for k, v in enumerate(p)],
        )
        for n, p in enumerate(pairs)
    ]


def test_by_hand() -> None:
    # ranks 1 2 3 4 5 against 2 1 4 3 5: 1 - 6 * 4 / (5 * 24)
    found = agreements(rows([(1, 2), (2, 1), (3, 4), (4, 3), (5, 5)]), 2)
    assert [a.after for a in found] == ["stage 1"]
    assert found[0].correlation == pytest.approx(0.8)
    assert found[0].low < 0.8 < found[0].high
    assert "Spearman 0.80" in found[0].line


def test_what_says_nothing_is_left_out() -> None:
    assert agreements(rows([(1, 2), (2, 1), (3, 4)]), 2) == []
    assert agreements(rows([(1, 2)] * 6), 2) == []
    assert agreements(rows([(1, 2), (2, 1), (3, 4), (4, 3)], state="stopped"), 2) == []


def test_equal_ranks_have_no_spread() -> None:
    found = agreements(rows([(n, n) for n in range(6)]), 2)[0]
    assert (found.correlation, found.low, found.high) == (1.0, 1.0, 1.0)


def test_a_correlation_that_may_be_none_justifies_no_rung() -> None:
    found = agreements(rows([(1, 3), (2, 1), (3, 4), (4, 2), (5, 3.5)]), 2)[0]
    assert found.low <= 0 and "too little to justify" in found.line


def test_the_interval_covers_the_truth() -> None:
    """Of normal pairs with correlation r the true rank correlation is 6/π asin(r/2)."""
    generator, r = np.random.default_rng(0), 0.7
    truth = 6 / np.pi * np.arcsin(r / 2)
    hits = 0
    for _ in range(400):
        x = generator.normal(size=24)
        y = r * x + np.sqrt(1 - r * r) * generator.normal(size=24)
        found = agreements(rows(list(zip(x.tolist(), y.tolist(), strict=True))), 2)[0]
        hits += found.low <= truth <= found.high
    assert 0.92 <= hits / 400 <= 0.98
