"""A search space: dotted settings to Ray Tune domains, checked before anything starts."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.sample import Categorical, Domain

from ganforge.settings import SettingsError, override
from ganforge.systems.settings import SystemSettings

Space = Mapping[str, Domain]
_SAMPLES = 32
_PLAIN = (type(None), bool, int, float, str)
# What all trials of a search have in common, so that their scores compare; with the reason.
_SHARED = {
    "system": "a search is of one system",
    "seed": "all trials share the training's seed; the sampler has its own",
    "channels": "all trials share the data",
    "data": "all trials share the data",
    "validation": "all trials are measured on the same images",
    "stages": "all trials share the number of stages; search stages.K.epochs",
    "workers": "it changes no result",
    "threads": "it changes no result",
    "device": "it changes no result",
    "shards": "all trials share it",
    "exact_world_size": "all trials share it",
    "deterministic": "it changes no result",
    "on_divergence": "all trials share it",
}


def check_space(space: Space, settings: SystemSettings) -> None:
    """Raise SettingsError naming each key that is unknown, may not vary, or takes bad values."""
    if not space:
        raise SettingsError("the search space is empty: give at least one setting a domain")
    problems = []
    for key, domain in space.items():
        shared = _shared(key)
        if not isinstance(domain, Domain):
            problems.append(
                f"{key} = {domain!r}: must be a domain such as tune.loguniform(1e-4, 1e-2)"
            )
        elif shared:
            problems.append(f"{key}: cannot be searched, {shared}")
        else:
            problems += _bad_values(key, domain, settings)
    if problems:
        raise SettingsError("\n".join(problems))


def _shared(key: str) -> str | None:
    head, _, tail = key.partition(".")
    if head == "stages":
        if tail.endswith(".resolution"):
            return "all trials share the resolutions of stages"
        return None if "." in tail else _SHARED["stages"]
    return _SHARED.get(head)


def _bad_values(key: str, domain: Domain, settings: SystemSettings) -> list[str]:
    try:
        values = _draws(domain)
        distributions({key: domain})
    except (ValueError, TypeError) as error:
        return [f"{key}: this domain cannot be searched ({error})"]
    for value in values:
        try:
            override(settings, {key: plain(value)})
        except SettingsError as error:
            return [f"search space: {line}" for line in str(error).splitlines()]
    return []


def _draws(domain: Domain) -> list[Any]:
    if isinstance(domain, Categorical):
        return list(domain.categories)
    # the ends of a range go wrong first
    ends = [getattr(domain, "lower", None)]
    return [*domain.sample(size=_SAMPLES, random_state=0), *(v for v in ends if v is not None)]


def plain(value: Any) -> Any:
    """A choice as Optuna can store it: lists and the like as their JSON text."""
    if isinstance(value, np.generic):  # what Tune's integer domains draw
        value = value.item()
    return value if isinstance(value, _PLAIN) else json.dumps(value)


def distributions(space: Space) -> dict[str, Any]:
    """The Optuna distributions of a space."""
    simple = {
        key: Categorical([plain(v) for v in domain.categories]).uniform()
        if isinstance(domain, Categorical)
        else domain
        for key, domain in space.items()
    }
    return OptunaSearch.convert_search_space(simple)


def start_values(space: Space, settings: SystemSettings) -> dict[str, Any] | None:
    """The settings' own values as the first point of a search, where they lie in the space."""
    found = {key: plain(_value(key, settings)) for key in space}
    inside = all(_contains(d, found[key]) for key, d in distributions(space).items())
    return found if inside else None


def _value(key: str, settings: SystemSettings) -> Any:
    head, _, tail = key.partition(".")
    if head == "stages":
        number, _, rest = tail.partition(".")
        stage = settings.stages[int(number)]
        return (
            getattr(stage, rest) if hasattr(stage, rest) else _value(rest, settings.at(int(number)))
        )
    value: Any = settings
    for part in key.split("."):
        value = value[int(part)] if isinstance(value, tuple) else getattr(value, part)
    return value


def _contains(distribution: Any, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    if not isinstance(value, int | float) or not distribution.low <= value <= distribution.high:
        return False
    step = distribution.step
    return not step or abs((value - distribution.low) / step % 1) < 1e-9


def described(space: Space) -> dict[str, str]:
    """The space as text, by key; two searches are of one space when these are equal."""
    return {key: str(found) for key, found in distributions(space).items()}
