"""Earlier trials in a space that was edited since: which of them lie in it, and as what."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, create_trial

from ganforge.search.domains import Axis
from ganforge.search.space import Point, is_active


def lying_in(found: Mapping[str, Axis], point: Mapping[str, Any]) -> Point | None:
    """This point in the order and on the grids of a space; None where it is none of its points:
    a value lies outside of its domain, or a setting is searched in only one of the two."""
    kept: Point = {}
    for key, axis in found.items():
        if not is_active(axis, kept):
            if key in point:
                return None
            continue
        if key not in point or not axis.contains(point[key]):
            return None
        kept[key] = axis.snap(point[key])
    return kept if kept.keys() == point.keys() else None


def moved(trial: FrozenTrial, found: Mapping[str, Axis], point: Point) -> FrozenTrial:
    """A trial that is over, at `point`, as one that was drawn from the domains of `found`.

    What a sampler noted about the old domains is left out."""
    return create_trial(
        state=trial.state,
        values=trial.values,
        params=point,
        distributions={key: found[key].distribution for key in point},
        user_attrs=trial.user_attrs,
        intermediate_values=trial.intermediate_values,
        constraints=trial.constraints or None,
    )


def seed_after(seed: int, edits: int) -> int:
    """The seed of the sampler that begins after an edit: with the same one it would repeat the
    random points that it began with."""
    if not edits:
        return seed
    return int(np.random.SeedSequence((abs(seed), edits)).generate_state(1)[0])
