"""A search space: dotted settings to domains, checked before anything starts.

A domain is one of Ray Tune or Optuna, or one of these with what people know (search/knowledge.py).
"""

import warnings
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution

from ganforge.search.domains import Axis, is_domain, make_axis, plain
from ganforge.search.knowledge import When
from ganforge.settings import SettingsError, override, shown, shown_key
from ganforge.systems.settings import SystemSettings

__all__ = [
    "Point",
    "Space",
    "axes",
    "canonical",
    "check_space",
    "described",
    "distributions",
    "is_active",
    "own_value",
    "plain",
    "single_values",
    "start_values",
    "without",
]

Space = Mapping[str, Any]
#: the searched settings of a trial by key, without those that are not searched in it
Point = dict[str, Any]
_SAMPLES = 32
#: values of a setting on which others depend
_MAX_CASES = 1000
# What all trials of a search have in common, so that their scores compare; with the reason.
_SHARED = {
    "system": "a search is of one system",
    "seed": "--seeds repeats configurations with several; the sampler has its own",
    "channels": "all trials share the data",
    "data": "all trials share the data",
    "validation": "all trials are measured on the same images",
    "stages": "all trials share the number of stages; search stages.K.epochs",
    "workers": "it changes no result",
    "workers_at_least": "it changes no result",
    "threads": "it changes no result",
    "device": "it changes no result",
    "shards": "all trials share it",
    "exact_world_size": "all trials share it",
    "deterministic": "it changes no result",
    "on_divergence": "all trials share it",
    "initial_weights": "all trials begin with the same",
    "rungs": "trials are compared at the same ones",
    "reports_per_stage": "it changes no result",
    "checkpoint_every": "it changes no result",
    "keep": "it changes no result",
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
        elif not is_domain(domain):
            problems.append(f"{shown_key(key)} = {shown(domain)}: {_instead(key, domain)}")
            problems += _unknown(key, settings)
        else:
            problems += _bad_domain(key, space, settings)
    problems = problems or _circles(space)
    if problems:
        raise SettingsError("\n".join(problems))


def _shared(key: str) -> str | None:
    head, _, tail = key.partition(".")
    if head == "stages":
        if tail.endswith(".resolution"):
            return "all trials share the resolutions of stages"
        return None if "." in tail else _SHARED["stages"]
    return _SHARED.get(head)


def _instead(key: str, value: Any) -> str:
    """What to write instead of something that is not a domain."""
    if isinstance(value, dict) and set(value) == {"grid_search"}:
        return "write tune.choice(…); `--strategy grid` walks all of its values"
    if isinstance(value, dict) and any(is_domain(item) for item in value.values()):
        inner = next(name for name, item in value.items() if is_domain(item))
        return f"must be a domain; write each setting by its key, such as {shown_key(key)}." + (
            shown_key(inner)
        )
    if isinstance(value, list | tuple):
        return f"must be a domain such as tune.choice({shown(value)})"
    return "must be a domain such as tune.loguniform(1e-4, 1e-2); --set gives one value"


def _unknown(key: str, settings: SystemSettings) -> list[str]:
    """A line where the key is no setting's."""
    try:
        override(settings, {key: None})
    except SettingsError as error:
        return [line for line in str(error).split("\n") if line.startswith("unknown setting")]
    return []


def _bad_domain(key: str, space: Space, settings: SystemSettings) -> list[str]:
    if strange := _unknown(key, settings):
        return strange
    try:
        with warnings.catch_warnings(), np.errstate(all="raise"):
            warnings.simplefilter("error")
            axis = make_axis(space[key])
            values = _samples(axis)
    except Exception as error:  # a domain runs code of a user's file, and numpy on any numbers
        reason = shown_key(str(error).split("\n")[0] or type(error).__name__)
        return [f"{shown_key(key)}: this domain cannot be searched ({reason})"]
    conditions, problems = _conditions(key, space)
    for value in values if not problems else ():
        try:
            override(settings, conditions | {key: value})
        except SettingsError as error:
            return [f"search space: {line}" for line in str(error).split("\n")]
    return problems


def _conditions(key: str, space: Space) -> tuple[Point, list[str]]:
    """A point in which `key` is searched, without `key`; or the lines that say why none is."""
    found: Point = {}
    while isinstance(domain := space[key], When):
        parent = domain.key
        prefix = f"{shown_key(key)}: when({shown(parent)}, …): "
        if parent in found:
            return found, []  # a circle, which is named by itself
        if parent not in space:
            return {}, [
                f"{prefix}{shown_key(parent)} is not searched; give it a domain too, or search "
                f"{shown_key(key)} without `when`"
            ]
        try:
            axis = make_axis(space[parent])
        except Exception:
            return {}, []  # named at the parent's own key
        if axis.count is None or axis.count > _MAX_CASES:
            return {}, [
                f"{prefix}{shown_key(parent)} must have {_MAX_CASES} values at most, as "
                "tune.choice has; or search without `when`"
            ]
        for value in map(plain, domain.values):
            if not axis.contains(value):
                return {}, [
                    f"{prefix}its domain never has the value {shown(value)}; it has "
                    + ", ".join(shown(axis.at(n)) for n in range(min(axis.count, 8)))
                ]
        if not domain.values:
            return {}, [f"{prefix}give at least one value"]
        found[parent] = axis.snap(plain(domain.values[0]))
        key = parent
    return found, []


def _circles(space: Space) -> list[str]:
    parents = {k: [d.key] if isinstance(d, When) else [] for k, d in space.items()}
    try:
        TopologicalSorter(parents).prepare()
    except CycleError as error:
        names = " -> ".join(shown_key(key) for key in reversed(error.args[1]))
        return [f"search space: {names}: each is searched only when the one before is; free one"]
    return []


def _samples(axis: Axis) -> list[Any]:
    if axis.choices is not None:
        return list(axis.choices)
    generator = np.random.default_rng(0)
    drawn = [axis.draw(generator) for _ in range(_SAMPLES)]
    # the ends of a range go wrong first
    ends = [axis.distribution.low, axis.distribution.high]  # pyright: ignore[reportAttributeAccessIssue]
    return [*drawn, *(axis.snap(end) for end in ends), *([axis.likely] if axis.sure else [])]


def axes(space: Space) -> dict[str, Axis]:
    """What each searched setting is drawn from, in the space's order, but parents before the
    settings that are searched only with some of their values."""
    made = {key: make_axis(domain) for key, domain in space.items()}
    ordered: dict[str, Axis] = {}

    def put(key: str) -> None:
        parent = made[key].parent
        if parent is not None and parent not in ordered:
            put(parent)
        ordered.setdefault(key, made[key])

    for key in made:
        put(key)
    return ordered


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The Optuna distributions of a space. What is drawn from one may still have to be rounded to
    the domain's grid: Optuna has none on a logarithmic scale (`Axis.snap`)."""
    return {key: axis.distribution for key, axis in axes(space).items()}


def described(space: Space) -> dict[str, str]:
    """The space as text, by key; two searches are of one space when these are equal."""
    return {key: axis.text for key, axis in axes(space).items()}


def single_values(space: Space) -> Point:
    """The settings whose domain has one value only: they are allowed, and nothing is searched."""
    return {key: axis.at(0) for key, axis in axes(space).items() if axis.count == 1}


def is_active(axis: Axis, point: Mapping[str, Any]) -> bool:
    """Whether a setting is searched in a point that has its parent, if that is searched in it."""
    return axis.parent is None or (
        axis.parent in point and point[axis.parent] in axis.parent_values
    )


def canonical(found: Mapping[str, Axis], values: Mapping[str, Any]) -> Point:
    """The point of these values: rounded to the domains' grids, in the space's order, and without
    those that are not searched in it."""
    point: Point = {}
    for key, axis in found.items():
        if key in values and is_active(axis, point):
            point[key] = axis.snap(plain(values[key]))
    return point


def start_values(space: Space, settings: SystemSettings) -> Point | None:
    """The settings' own values as the first point of a search, where they lie in the space."""
    found = axes(space)
    point: Point = {}
    for key, axis in found.items():
        if not is_active(axis, point):
            continue
        value = plain(own_value(key, settings))
        if not axis.contains(value):
            return None
        point[key] = value
    return point


def own_value(key: str, settings: SystemSettings) -> Any:
    """What a setting is without a search, by its dotted key; stages.K.<key> as it is there."""
    head, _, tail = key.partition(".")
    if head == "stages":
        number, _, rest = tail.partition(".")
        stage = settings.stages[int(number)]
        return (
            getattr(stage, rest)
            if hasattr(stage, rest)
            else own_value(rest, settings.at(int(number)))
        )
    value: Any = settings
    for part in key.split("."):
        value = value[int(part)] if isinstance(value, tuple) else getattr(value, part)
    return value


def without(
    space: Space, fixed: Iterable[str], settings: SystemSettings
) -> tuple[dict[str, Any], dict[str, str]]:
    """The space without the settings `fixed` by hand, and what was taken out with the reason.

    `settings` have the fixed values already. A setting that is searched only with some values of a
    fixed one is searched always, or not at all. SettingsError where a part of a searched group is
    fixed, or nothing is left to search.
    """
    fixed = list(fixed)
    removed: dict[str, str] = {}
    for key in space:
        whole = next((f for f in fixed if key == f or key.startswith(f"{f}.")), None)
        part = next((f for f in fixed if f.startswith(f"{key}.")), None)
        if whole is not None:
            removed[key] = f"{whole} is set"
        elif part is not None:
            raise SettingsError(
                f"{shown_key(part)} is set, but {key} is searched as a whole: leave one of the two "
                "out"
            )
    left = {key: domain for key, domain in space.items() if key not in removed}
    set_by_hand = set(removed)
    while waiting := [k for k, d in left.items() if isinstance(d, When) and d.key in removed]:
        for key in waiting:
            condition = left[key]
            value = plain(own_value(condition.key, settings))
            if condition.key in set_by_hand and value in map(plain, condition.values):
                left[key] = condition.domain
                continue
            removed[key] = f"{condition.key} is {shown(value)}"
            del left[key]
    if not left:
        raise SettingsError(
            f"{', '.join(removed)}: every setting of the search space is set; leave one out, or "
            "train with `ganforge train`"
        )
    return left, removed
