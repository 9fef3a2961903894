"""Searched settings that may differ between the stages of one trial, and branches in them.

A setting that is global in a space (`generator.learning_rate`) is *opened*: it becomes one setting
for each stage (`stages.K.generator.learning_rate`). A point whose later stages differ from those of
an older trial is a *branch* of it: the stages before are the same, by id and bits, and are taken
from the ledger.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ganforge.search.domains import Axis, plain
from ganforge.search.knowledge import When
from ganforge.search.space import Point, Space, canonical, is_active, own_value
from ganforge.search.strategies.base import Strategy
from ganforge.settings import SettingsError, per_stage_keys, shown_key
from ganforge.systems.settings import SystemSettings

_STAGE = re.compile(r"stages\.([0-9]+)\.(.+)")
#: of a branch's settings: how likely one is drawn anew, and what the others are multiplied by
_RESAMPLED, _FACTORS = 0.25, (0.8, 1.2)
#: draws in vain after which a trial has no new branch
_TRIES = 100


def stage_of(key: str) -> tuple[int | None, str]:
    """The stage that a dotted key belongs to, None for all of them, and the key without it."""
    found = _STAGE.fullmatch(key)
    return (int(found[1]), found[2]) if found else (None, key)


def space_for(strategy: Strategy, space: Space, settings: SystemSettings) -> Space:
    """The space as a strategy searches it: opened by stage for one that branches."""
    if not branches(strategy):
        return space
    if settings.rungs > 1:
        raise SettingsError(
            f"rungs = {settings.rungs}: this strategy continues trials from where others ended a "
            "stage, and knows no rungs inside; leave --rungs out, or use --strategy freeze-thaw"
        )
    opened = open_by_stage(space, settings)
    if len(settings.stages) == 1:
        stage = f'{{"resolution":{settings.stages[0].resolution},"epochs":2}}'
        raise SettingsError(
            f"stages: {settings.system} has one stage here, and this strategy continues trials "
            "from where others ended a stage; cut it into several, such as "
            f"--set 'stages=[{stage},{stage}]', or use --strategy halving"
        )
    if not any((stage_of(key)[0] or 0) > 0 for key in opened):
        known = sorted(per_stage_keys(settings))
        named = next((key for key in known if key.endswith("learning_rate")), known[0])
        raise SettingsError(
            f"search space: none of its settings ({', '.join(map(shown_key, space))}) can differ "
            "between stages, and this strategy continues trials with other settings of later "
            f"stages; search one that can, such as {named}, or use --strategy halving"
        )
    return opened


def branches(strategy: Strategy) -> bool:
    """Whether a strategy begins trials as branches of others: it has a true member `by_stage`."""
    return bool(getattr(strategy, "by_stage", False))


def open_by_stage(space: Space, settings: SystemSettings) -> dict[str, Any]:
    """The space with one setting for each stage in place of each global one that may differ.

    A stage whose value was given (`stages.K.KEY` in the settings) keeps it, one that is searched
    by itself keeps its domain. A setting on which others depend (`when`) stays global where one of
    those is.
    """
    allowed = per_stage_keys(settings) & set(space)
    while closed := allowed & {
        domain.key for k, domain in space.items() if isinstance(domain, When) and k not in allowed
    }:
        allowed -= closed
    found: dict[str, Any] = {}
    for key, domain in space.items():
        if key not in allowed:
            found[key] = domain
            continue
        for number, stage in enumerate(settings.stages):
            own = f"stages.{number}.{key}"
            if own in space or key in stage.overrides:
                continue
            domain_here = _condition(domain, number, allowed, space, settings)
            if domain_here is not None:
                found[own] = domain_here
    return found


def _condition(
    domain: Any, number: int, opened: set[str], space: Space, settings: SystemSettings
) -> Any:
    """A domain at one stage: its condition is about that stage too. None where it never holds."""
    if not isinstance(domain, When) or domain.key not in opened:
        return domain
    parent = f"stages.{number}.{domain.key}"
    if parent not in space and domain.key in settings.stages[number].overrides:
        value = plain(own_value(parent, settings))
        return domain.domain if value in map(plain, domain.values) else None
    return replace(domain, key=parent)


def for_stages(values: Mapping[str, Any], space: Space, settings: SystemSettings) -> dict[str, Any]:
    """Settings of a point with each global one as those of the stages, where the space has it for
    every stage that has no value of its own."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        own = [
            f"stages.{number}.{key}"
            for number, stage in enumerate(settings.stages)
            if key not in stage.overrides
        ]
        if key not in space and own and all(name in space for name in own):
            found |= {name: value for name in own if name not in values}
        else:
            found[key] = value
    return found


def ties(found: Mapping[str, Axis]) -> dict[str, str]:
    """Settings of later stages by that of the first stage with the same domain: the first trials
    of a search that branches have one value in all stages."""
    first: dict[tuple[str, str], str] = {}
    tied: dict[str, str] = {}
    for key, axis in found.items():
        stage, base = stage_of(key)
        if stage is None:
            continue
        leader = first.setdefault((base, replace(axis, parent=None, parent_values=()).text), key)
        if leader != key:
            tied[key] = leader
    return tied


def branch_point(
    found: Mapping[str, Axis],
    point: Mapping[str, Any],
    stages_done: int,
    generator: np.random.Generator,
    seen: "set[tuple[tuple[str, Any], ...]]",
) -> Point | None:
    """A new point that agrees with `point` in all but the stages from `stages_done` on.

    The step *explore* of population based training (arXiv:1711.09846, section 4.1.2): each setting
    is drawn anew with probability 0.25, or else multiplied by 0.8 or 1.2 within its domain
    (`Axis.times`); the same for all of the later stages. None where no such point is new: `seen`
    holds the items of those that were tried.
    """
    for _ in range(_TRIES):
        made = _explored(found, point, stages_done, generator)
        if made is not None and made != point and tuple(made.items()) not in seen:
            return made
    return None


def _explored(
    found: Mapping[str, Axis],
    point: Mapping[str, Any],
    stages_done: int,
    generator: np.random.Generator,
) -> Point | None:
    factors: dict[str, float | None] = {}
    drawn: dict[tuple[str, str], Any] = {}
    made: Point = {}
    for key, axis in found.items():
        stage, base = stage_of(key)
        if stage is None or stage < stages_done:
            active = is_active(axis, made)
            if active != (key in point) or (active and not axis.contains(point[key])):
                # it depends on one of a late stage, or the space was edited since: the early stage
                # would be another one
                return None
            if active:
                made[key] = point[key]
            continue
        if base not in factors:
            # both are drawn, so that what follows does not hang on the first
            resampled, up = generator.random() < _RESAMPLED, generator.random() < 0.5
            factors[base] = None if resampled else _FACTORS[up]
        if not is_active(axis, made):
            continue
        factor = factors[base]
        if factor is None or key not in point:
            domain = (base, replace(axis, parent=None, parent_values=()).text)
            if domain not in drawn:
                drawn[domain] = axis.draw(generator)
            made[key] = drawn[domain]
        else:
            made[key] = axis.times(point[key], factor)
    return canonical(found, made)
