"""Which strategy a search has where none is given."""

from pathlib import Path
from typing import Any

import pytest

from ganforge.commands.resumed_search import Earlier, LimitOptions
from ganforge.commands.tune import TuneOptions, _strategy
from ganforge.search.strategies.freeze_thaw import FreezeThaw
from ganforge.search.strategies.halving import Halving
from ganforge.search.strategies.pbt import PopulationBased
from ganforge.settings import SettingsError


def chosen(recorded: dict[str, Any] | None = None, **given: Any) -> tuple[str, type]:
    limits = LimitOptions(budget=given.pop("budget", None), trials=given.pop("trials", None))
    opened = {"event": "opened", "limits": {}, "space": {}}
    events = [] if recorded is None else [opened | recorded]
    options = TuneOptions(limits=limits, **given)
    name, strategy = _strategy(options, Earlier("search", events), limits.limits())
    return name, type(strategy)


def test_without_one_it_is_halving() -> None:
    assert chosen() == chosen(budget="30m") == chosen(trials=30) == ("halving", Halving)
    assert chosen(strategy="freeze-thaw") == ("freeze-thaw", FreezeThaw)
    assert chosen(strategy="pbt", population=4) == ("pbt", PopulationBased)


def test_a_search_that_is_continued_keeps_its_strategy() -> None:
    assert chosen({"strategy": "halving"}, budget="30m") == ("halving", Halving)
    assert chosen({"strategy": "freeze-thaw"}) == ("freeze-thaw", FreezeThaw)
    assert chosen({"strategy": "halving"}, strategy="freeze-thaw")[0] == "freeze-thaw"


@pytest.mark.parametrize("recorded", ["{file}:Mine", 7, ["halving"], None, "halvings"])
def test_a_journal_runs_no_file(recorded: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    text = recorded.format(file=file) if isinstance(recorded, str) else recorded
    assert chosen({"strategy": text}) == ("halving", Halving)
    assert not (tmp_path / "ran").exists()


def test_a_population_is_not_given_to_what_has_none() -> None:
    with pytest.raises(SettingsError, match="population"):
        chosen(population=4, budget="30m")
