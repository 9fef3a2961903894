"""A search space: dotted settings to Ray Tune domains, checked before anything starts."""

import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution
from pydantic import BaseModel
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.sample import Categorical, Domain, LogUniform

from ganforge.settings import SettingsError, override, shown, shown_key
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
        if not isinstance(key, str):
            problems.append(f"search space: {shown(key)}: a key must be a setting's name, as text")
            continue
        group = next((k for k in space if isinstance(k, str) and key.startswith(f"{k}.")), None)
        if shared := _shared(key):
            problems.append(f"{shown_key(key)}: cannot be searched, {shared}")
        elif group is not None:
            problems.append(f"{shown_key(key)}: {group} is searched as a whole too; keep one")
        elif not isinstance(domain, Domain):
            problems.append(
                f"{shown_key(key)} = {shown(domain)}: must be a domain such as "
                "tune.loguniform(1e-4, 1e-2)"
            )
            problems += _unknown(key, settings)
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


def _unknown(key: str, settings: SystemSettings) -> list[str]:
    """A line where the key is no setting's."""
    try:
        override(settings, {key: None})
    except SettingsError as error:
        return [line for line in str(error).split("\n") if line.startswith("unknown setting")]
    return []


def _bad_values(key: str, domain: Domain, settings: SystemSettings) -> list[str]:
    if strange := _unknown(key, settings):
        return strange
    try:
        with warnings.catch_warnings(), np.errstate(all="raise"):
            warnings.simplefilter("error")
            values = [plain(value) for value in _draws(domain)]
            distributions({key: domain})
    except Exception as error:  # a domain runs code of a user's file, and numpy on any numbers
        reason = shown_key(str(error).split("\n")[0] or type(error).__name__)
        return [f"{shown_key(key)}: this domain cannot be searched ({reason})"]
    for value in values:
        try:
            override(settings, {key: value})
        except SettingsError as error:
            return [f"search space: {line}" for line in str(error).split("\n")]
    return []


def _draws(domain: Domain) -> list[Any]:
    if isinstance(domain, Categorical):
        if not domain.categories:
            raise ValueError("it has no values: give it at least one")
        return list(domain.categories)
    step = getattr(domain.get_sampler(), "q", None)
    if step is not None and not step > 0:
        raise ValueError(f"its step is {shown(step)}: must be above 0")
    if step is not None and isinstance(domain.get_sampler().get_sampler(), LogUniform):
        raise ValueError(
            "Optuna keeps no step on a logarithmic scale: use it without a step, or tune.quniform"
        )
    # the ends of a range go wrong first
    ends = [getattr(domain, "lower", None)]
    return [*domain.sample(size=_SAMPLES, random_state=0), *(v for v in ends if v is not None)]


def plain(value: Any) -> Any:
    """A choice as Optuna can store it: lists and the like as their JSON text."""
    if isinstance(value, np.generic):  # what Tune's integer domains draw
        value = value.item()
    if isinstance(value, BaseModel):  # a whole group's own values
        value = value.model_dump(mode="json")
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
