"""What a search may take, in the words of the command line."""

import pytest

from ganforge.search.budget import Spent, parse_budget, parse_bytes
from ganforge.settings import SettingsError


@pytest.mark.parametrize(
    ("text", "spent", "used"),
    [
        ("30m", Spent(seconds=900), 0.5),
        ("1.5h", Spent(seconds=2700), 0.5),
        ("90 s", Spent(seconds=45), 0.5),
        ("2d", Spent(seconds=86400), 0.5),
        ("8gpu-hours", Spent(device_seconds=4 * 3600), 0.5),
        ("8cpu-hours", Spent(seconds=1e9, device_seconds=4 * 3600), 0.5),
        ("200trials", Spent(trials=100), 0.5),
    ],
)
def test_a_budget_is_used_in_its_own_unit(text: str, spent: Spent, used: float) -> None:
    budget = parse_budget(text)
    assert budget.used(spent) / budget.amount == pytest.approx(used)
    assert not budget.exhausted(spent)


def test_money_is_device_hours_at_a_price() -> None:
    budget = parse_budget("20$", 2.5)
    assert budget.used(Spent(device_seconds=3600)) == pytest.approx(2.5)
    assert budget.exhausted(Spent(device_seconds=8 * 3600))
    assert not budget.exhausted(Spent(device_seconds=8 * 3600 - 1))


def test_trials_that_were_begun_are_trained_and_time_ends_them() -> None:
    assert not parse_budget("5trials").ends_trials
    assert parse_budget("5m").ends_trials


@pytest.mark.parametrize("text", ["", "30", "m", "-3m", "0h", "3 weeks", "nanh", "infm", "1e3s"])
def test_what_is_no_budget_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match=r"budget = .*must be a number above 0 with a unit"):
        parse_budget(text)


def test_money_needs_a_price() -> None:
    with pytest.raises(SettingsError, match="needs --price"):
        parse_budget("20$")
    with pytest.raises(SettingsError, match="price = -1: must be above 0"):
        parse_budget("20$", -1)


def test_bytes_are_decimal() -> None:
    assert [parse_bytes(t) for t in ("20G", "500 mb", "7", "1.5T")] == [
        20 * 10**9,
        500 * 10**6,
        7,
        15 * 10**11,
    ]
    with pytest.raises(SettingsError, match="keep-bytes = 'lots'"):
        parse_bytes("lots")
    # more than any disk has, however many digits it takes
    assert parse_bytes("9" * 400) == parse_bytes("9" * 20 + "T") == 2**62
