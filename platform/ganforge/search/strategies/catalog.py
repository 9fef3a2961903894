"""The strategies by name, and those of one's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ganforge.search.strategies.base import Strategy
from ganforge.search.strategies.freeze_thaw import FreezeThaw
from ganforge.search.strategies.halving import Halving, Whole
from ganforge.search.strategies.pbt import PopulationBased, check_population
from ganforge.settings import SettingsError, shown
from ganforge.user_file import run_file

#: what `--strategy` takes, with what it is in a few words
STRATEGIES = {
    "halving": "at each rung (a stage's end, or --rungs parts) the weaker half is stopped",
    "freeze-thaw": "at each rung trials are paused, and the most promising one continued",
    "pbt": "weak trials continue from better ones' weights, with other settings of later stages",
    "tpe": "every trial is trained to its end",
    "random": "every trial is trained to its end, at points drawn at random",
    "grid": "every point of a finite space, trained to its end",
    "nsga2": "every trial is trained to its end, at points that NSGA-II breeds",
}
_MEMBERS = {"next": "method", "continues": "method", "pauses": "truth value"}
_WHOLE = ("tpe", "random", "grid", "nsga2")


def load_strategy(
    name: str, reduction_factor: float = 2.0, population: int | None = None
) -> Strategy:
    """The strategy of a name, or of FILE.py:Class: a class whose instances need no arguments."""
    check_population(name, population)
    if name == "halving":
        return Halving(reduction_factor)
    if name == "freeze-thaw":
        return FreezeThaw()
    if name == "pbt":
        return PopulationBased() if population is None else PopulationBased(population)
    if name in _WHOLE:
        return Whole()
    if ".py:" not in name:
        raise SettingsError(
            f"strategy = {shown(name)}: there is no such strategy; give one of "
            f"{', '.join(STRATEGIES)}, or FILE.py:Class"
        )
    return _own(name)


def sampler_of(strategy: str, sampler: str) -> str:
    """The sampler that a strategy goes with, where it does not take any."""
    return strategy if strategy in ("random", "grid", "nsga2") else sampler


def _own(name: str) -> Strategy:
    file, _, member = name.rpartition(":")
    module = run_file(Path(file), "strategy")
    try:
        kind: Callable[[], Any] = getattr(module, member)
        made = kind()
        members = {wanted: getattr(made, wanted, None) for wanted in _MEMBERS}
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # as its file can
        raise SettingsError(
            f"strategy = {shown(name)}: {type(error).__name__}: {error}".splitlines()[0]
        ) from None
    for wanted, found in members.items():
        if not (isinstance(found, bool) if wanted == "pauses" else callable(found)):
            raise SettingsError(
                f"strategy = {shown(name)}: has no {_MEMBERS[wanted]} `{wanted}`; it must have the "
                "members of ganforge.search.strategies.base.Strategy"
            )
    return made
