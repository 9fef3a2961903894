"""A search space as plain data, so that a journal says what its points were drawn from."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)

from ganforge.search.domains import Axis, Multiples
from ganforge.search.space import Space, axes


def to_record(space: Space) -> dict[str, Any]:
    """The domains by key, in the order in which they are drawn."""
    return {key: _record(axis) for key, axis in axes(space).items()}


def from_record(record: Mapping[str, Any]) -> dict[str, Axis]:
    """The inverse of `to_record`: a space of axes; ValueError where it is not such a record."""
    try:
        return {key: _axis(found) for key, found in record.items()}
    except (ArithmeticError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _record(axis: Axis) -> dict[str, Any]:
    found: dict[str, Any] = {"distribution": json.loads(distribution_to_json(axis.distribution))}
    if axis.grid is not None:
        grid = axis.grid
        found["grid"] = [str(grid.start), str(grid.step), grid.count, grid.whole]
    if axis.parent is not None:
        found |= {"parent": axis.parent, "parent_values": list(axis.parent_values)}
    if axis.sure:
        found |= {"likely": axis.likely, "sure": axis.sure}
    return found


def _axis(record: Mapping[str, Any]) -> Axis:
    distribution = json_to_distribution(json.dumps(record["distribution"]))
    kinds = (FloatDistribution, IntDistribution, CategoricalDistribution)
    if not isinstance(distribution, kinds):
        raise ValueError(f"{type(distribution).__name__} is unknown")
    grid = None
    if "grid" in record:
        start, step, count, whole = record["grid"]
        grid = Multiples(Decimal(start), Decimal(step), count, whole)
    return Axis(
        distribution,
        grid,
        record.get("parent"),
        tuple(record.get("parent_values", ())),
        record.get("likely"),
        record.get("sure", 0.0),
    )
