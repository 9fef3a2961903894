"""Optuna's samplers by name, and samplers of one's own."""

import importlib
import importlib.util
import warnings
from dataclasses import dataclass
from pathlib import Path

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
)

from ganforge.search.remembering_tpe import RememberingTPE
from ganforge.settings import SettingsError
from ganforge.user_file import run_file

#: grid draws nothing: the search walks all points
KINDS = ("tpe", "nsga2", "cmaes", "gp", "random", "qmc", "grid")


@dataclass(frozen=True)
class SamplerKind:
    """A sampler, and what it understands.

    `constraints`: it keeps away from points whose constraint is violated. `ranks_pruned`: it learns
    from pruned trials, those without a value last; others learn from complete trials alone.
    `redraws`: how often it is asked again after a repeated point. `whole_space`: it must be given
    the whole space, or it would find it out from earlier trials.
    """

    sampler: BaseSampler
    constraints: bool
    ranks_pruned: bool
    redraws: int = 100
    whole_space: bool = False


def check_seed(seed: int) -> None:
    """SettingsError for a seed that Optuna's samplers do not take."""
    if not 0 <= seed < 2**32:
        raise SettingsError(f"seed = {seed}: must be from 0 to {2**32 - 1}; give another one")


def make_sampler(kind: str, seed: int, startup_trials: int) -> SamplerKind:
    """The sampler of a name in `KINDS`, or of module:Class or FILE.py:Class, a subclass of
    optuna.samplers.BaseSampler that is constructed with seed=. SettingsError where it is unknown
    or lacks a package."""
    check_seed(seed)
    if ":" in kind:
        return SamplerKind(_own_sampler(kind, seed), constraints=False, ranks_pruned=False)
    if kind == "tpe":
        tpe = RememberingTPE(seed, startup_trials)
        return SamplerKind(tpe, constraints=True, ranks_pruned=True)
    if kind == "nsga2":
        # a generation is as large as the first one, which is drawn at random
        nsga2 = NSGAIISampler(seed=seed, population_size=max(2, startup_trials))
        return SamplerKind(nsga2, constraints=True, ranks_pruned=False)
    if kind in ("random", "grid"):
        return SamplerKind(RandomSampler(seed=seed), constraints=True, ranks_pruned=True)
    if kind == "qmc":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            qmc = QMCSampler(scramble=True, seed=seed, warn_independent_sampling=False)
        return SamplerKind(qmc, constraints=True, ranks_pruned=True, whole_space=True)
    if kind == "gp":
        gp = GPSampler(seed=seed, n_startup_trials=startup_trials, warn_independent_sampling=False)
        # it finds the same best point again, after a second's work
        return SamplerKind(gp, constraints=True, ranks_pruned=False, redraws=2)
    if kind == "cmaes":
        if importlib.util.find_spec("cmaes") is None:
            raise SettingsError(
                "sampler = cmaes: needs the package cmaes; install it with `pip install cmaes`, or "
                "use tpe"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            cmaes = CmaEsSampler(
                seed=seed,
                n_startup_trials=startup_trials,
                consider_pruned_trials=True,
                warn_independent_sampling=False,
            )
        return SamplerKind(cmaes, constraints=False, ranks_pruned=False)
    raise SettingsError(
        f"sampler = {kind}: there is no such sampler; give one of {', '.join(KINDS)}, or "
        "FILE.py:Class of your own"
    )


def _own_sampler(name: str, seed: int) -> BaseSampler:
    where, _, attribute = name.rpartition(":")
    try:
        if where.endswith(".py"):
            module = run_file(Path(where), "sampler")
        else:
            module = importlib.import_module(where)
        kind = getattr(module, attribute)
        made = kind(seed=seed)
    except SettingsError:
        raise
    except (Exception, SystemExit) as error:  # a file of the user's runs
        reason = str(error).split("\n")[0]
        raise SettingsError(
            f"sampler = {name}: {type(error).__name__}: {reason}; it must be a class that is made "
            "with seed=…"
        ) from None
    if not isinstance(made, BaseSampler):
        raise SettingsError(
            f"sampler = {name}: {attribute} must be a subclass of optuna.samplers.BaseSampler"
        )
    return made
