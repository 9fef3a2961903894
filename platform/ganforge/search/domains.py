"""One searched setting: the values it may take, whichever library its domain was written in.

Tune and Optuna count steps differently. Tune's quantised domains hold the multiples of q, Optuna's
start at their lower bound, and have none on a logarithmic scale. An `Axis` keeps the grid that was
meant; what Optuna draws is rounded to it (`snap`) before it becomes a trial's setting.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import BaseModel
from ray.tune.search.sample import (
    Categorical,
    Domain,
    Float,
    Function,
    Grid,
    Integer,
    LogUniform,
    Normal,
    Quantized,
    Uniform,
)

from ganforge.search.knowledge import Likely, When
from ganforge.settings import shown

_PLAIN = (type(None), bool, int, float, str)
#: standard deviation of a prior and of a step to a neighbour, as a part of the range
_PRIOR_WIDTH, _STEP = 0.1, 0.1
#: a grid above this many values, or whose step is lost in rounding, is not one
_MAX_GRID = 2**53


@dataclass(frozen=True)
class Multiples:
    """The numbers start + k * step for 0 <= k < count, in decimal arithmetic: 0.3 and not
    0.30000000000000004."""

    start: Decimal
    step: Decimal
    count: int
    whole: bool

    def at(self, index: int) -> int | float:
        found = self.start + index * self.step
        return int(found) if self.whole else float(found)

    def nearest(self, value: float) -> int | float:
        index = round((value - float(self.start)) / float(self.step))
        return self.at(min(max(index, 0), self.count - 1))

    @property
    def last(self) -> int | float:
        return self.at(self.count - 1)


@dataclass(frozen=True)
class Axis:
    """The domain of one searched setting.

    `distribution` is what Optuna draws from; `grid` the numbers that are meant, None where all
    between the bounds are. The setting is searched only in points in which `parent` has one of
    `parent_values`; with `parent` None in all. `likely` is the probable best value, if `sure` > 0.
    """

    distribution: FloatDistribution | IntDistribution | CategoricalDistribution
    grid: Multiples | None = None
    parent: str | None = None
    parent_values: tuple[Any, ...] = ()
    likely: Any = None
    sure: float = 0.0

    @property
    def choices(self) -> tuple[Any, ...] | None:
        """The values of a choice; None of a range of numbers."""
        found = self.distribution
        return tuple(found.choices) if isinstance(found, CategoricalDistribution) else None

    @property
    def count(self) -> int | None:
        """How many values there are; None where they are endless."""
        if self.choices is not None:
            return len(self.choices)
        if self.grid is not None:
            return self.grid.count
        return 1 if self.distribution.single() else None

    def at(self, index: int) -> Any:
        """Value number `index` of a domain that has a `count`."""
        if self.choices is not None:
            return self.choices[index]
        return self.grid.at(index) if self.grid is not None else self._range[0]

    def contains(self, value: Any) -> bool:
        """Whether the domain has this value, but for the rounding of a decimal fraction."""
        if self.choices is not None:
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        low, high = self._range
        if not low <= value <= high:
            return False
        if self.grid is None:
            return True
        return math.isclose(self.grid.nearest(value), value, rel_tol=1e-9, abs_tol=1e-300)

    def snap(self, value: Any) -> Any:
        """The value of the domain that is nearest to a number between its bounds."""
        if self.choices is not None:
            return value
        if self.grid is not None:
            return self.grid.nearest(value)
        low, high = self._range
        return min(max(float(value), low), high)

    def draw(self, generator: np.random.Generator) -> Any:
        """A random value: uniform, or uniform in the logarithm."""
        if self.choices is not None:
            return self.choices[int(generator.integers(len(self.choices)))]
        low, high = self._scaled(self._ends)
        return self.snap(self._unscaled(generator.uniform(low, high)))

    def draw_likely(self, generator: np.random.Generator) -> Any:
        """A value close to the likely one: normally distributed around it, on the domain's own
        scale and with a tenth of its range as standard deviation, cut to the range; of a choice
        the likely value itself."""
        if self.choices is not None:
            return self.likely
        return self._close_to(self.likely, generator, _PRIOR_WIDTH)

    def draw_near(self, value: Any, generator: np.random.Generator) -> Any:
        """Another value close to `value`, or of a choice any other; `value` where it is the only
        one."""
        if self.count == 1:
            return value
        if self.choices is not None:
            others = [choice for choice in self.choices if choice != value]
            return others[int(generator.integers(len(others)))]
        found = self._close_to(value, generator, _STEP)
        if found != value or self.grid is None:
            return found
        index = round((value - float(self.grid.start)) / float(self.grid.step))
        step = 1 if generator.random() < 0.5 else -1
        return self.grid.at(index + (step if 0 <= index + step < self.grid.count else -step))

    def times(self, value: Any, factor: float) -> Any:
        """The value of the domain that is nearest to `value` times `factor`; on a grid the next
        one in that direction at least, where there is one. A choice of numbers is a grid of them;
        of any other choice the value itself."""
        if self.choices is not None:
            numbers = sorted(c for c in self.choices if isinstance(c, int | float))
            if len(numbers) < len(self.choices) or any(isinstance(c, bool) for c in numbers):
                return value if value in self.choices else self.choices[0]
            if value not in numbers:  # before the space was edited
                return min(numbers, key=lambda c: abs(c - value))
            up = (value * factor >= value) if value else factor > 1
            index = numbers.index(value) + (1 if up else -1)
            return numbers[min(max(index, 0), len(numbers) - 1)]
        found = self.snap(min(max(value * factor, self._range[0]), self._range[1]))
        if found != value or self.grid is None:
            return found
        step = 1 if (value * factor >= value if value else factor > 1) else -1
        return self.grid.nearest(value + step * float(self.grid.step))

    def _close_to(self, value: Any, generator: np.random.Generator, width: float) -> Any:
        low, high = self._scaled(self._range)
        middle = self._scaled((value, value))[0]
        while True:  # the middle lies in the range, so at least every third draw does
            drawn = generator.normal(middle, width * (high - low))
            if low <= drawn <= high:
                return self.snap(self._unscaled(drawn))

    @property
    def features(self) -> int:
        """How many numbers encode a value."""
        return 1 if self.choices is None else len(self.choices)

    def encode(self, value: Any) -> NDArray[np.float64]:
        """A value as numbers in [0, 1], (features,): of a range its position on the domain's own
        scale, of a choice one at its position and zeros elsewhere."""
        if self.choices is not None:
            return np.array([float(value == choice) for choice in self.choices])
        low, high = self._scaled(self._range)
        number = self._scaled((value, value))[0]
        return np.array([0.5 if low == high else min(max((number - low) / (high - low), 0.0), 1.0)])

    @property
    def nowhere(self) -> NDArray[np.float64]:
        """The encoding of a setting that is not searched in a point."""
        return np.full(self.features, 0.5 if self.choices is None else 0.0)

    @property
    def text(self) -> str:
        """The domain in a record; two domains are equal when this is."""
        found = str(self.distribution)
        if self.grid is not None and _logarithmic(self.distribution) and self.grid.step != 1:
            found += f" in steps of {self.grid.step}"
        if self.sure:
            found += f", likely {shown(self.likely)} (sure {self.sure})"
        if self.parent is not None:
            values = " or ".join(shown(value) for value in self.parent_values)
            found += f", when {self.parent} is {values}"
        return found

    @property
    def _range(self) -> tuple[float, float]:
        found = self.distribution
        assert not isinstance(found, CategoricalDistribution)
        return found.low, found.high

    @property
    def _ends(self) -> tuple[float, float]:
        """The range within which every value gets its share when it is rounded to the grid."""
        low, high = self._range
        half = float(self.grid.step) / 2 if self.grid is not None else 0.0
        return low - half, high + half

    def _scaled(self, values: tuple[float, float]) -> tuple[float, float]:
        low, high = values
        return (math.log(low), math.log(high)) if _logarithmic(self.distribution) else (low, high)

    def _unscaled(self, value: float) -> float:
        return math.exp(value) if _logarithmic(self.distribution) else value


def _logarithmic(distribution: BaseDistribution) -> bool:
    return bool(getattr(distribution, "log", False))


def plain(value: Any) -> Any:
    """A choice as Optuna can store it: lists and the like as their JSON text."""
    if isinstance(value, np.generic):  # what Tune's integer domains draw
        value = value.item()
    if isinstance(value, BaseModel):  # a whole group's own values
        value = value.model_dump(mode="json")
    return value if isinstance(value, _PLAIN) else json.dumps(value)


def is_domain(value: Any) -> bool:
    """Whether this is something of which values can be drawn, in this package's terms."""
    return isinstance(value, Domain | BaseDistribution | Likely | When)


def make_axis(domain: Any) -> Axis:
    """The axis of a domain: of Ray Tune, of Optuna, or one of these in `likely` or `when`; an axis
    is its own.

    ValueError, with what to write instead, for one that cannot be searched.
    """
    if isinstance(domain, Axis):
        return domain
    if isinstance(domain, When):
        axis = make_axis(domain.domain)
        if axis.parent is not None:
            raise ValueError(
                "one `when` lies in another: name the inner setting alone, and give that its own "
                "`when`"
            )
        return replace(
            axis, parent=domain.key, parent_values=tuple(plain(value) for value in domain.values)
        )
    if isinstance(domain, Likely):
        return _likely_axis(domain)
    if isinstance(domain, BaseDistribution):
        return _optuna_axis(domain)
    if isinstance(domain, Domain):
        return _tune_axis(domain)
    raise ValueError("it is not a domain, such as tune.loguniform(1e-4, 1e-2)")


def _likely_axis(given: Likely) -> Axis:
    if isinstance(given.domain, When):
        raise ValueError("write when(KEY, VALUE, likely(…)), not likely(when(…))")
    axis = make_axis(given.domain)
    if axis.sure:
        raise ValueError("one `likely` lies in another: keep one")
    sure, value = given.sure, plain(given.value)
    if not isinstance(sure, int | float) or not 0 < sure <= 1:
        raise ValueError(f"sure = {shown(sure)}: must be above 0 and at most 1")
    if not axis.contains(value):
        raise ValueError(f"its likely value {shown(given.value)} does not lie in it")
    return replace(axis, likely=axis.snap(value), sure=float(sure))


def _optuna_axis(found: BaseDistribution) -> Axis:
    if isinstance(found, CategoricalDistribution):
        return _choice([*found.choices])
    if isinstance(found, IntDistribution):
        if found.low > found.high:
            raise ValueError(f"its bounds {found.low} and {found.high} hold no value")
        count = (found.high - found.low) // found.step + 1
        return Axis(found, Multiples(Decimal(found.low), Decimal(found.step), count, True))
    if not isinstance(found, FloatDistribution):
        raise ValueError(
            f"{type(found).__name__} is unknown: write FloatDistribution, IntDistribution or "
            "CategoricalDistribution"
        )
    _check_ends(found.low, found.high)
    if found.step is None:
        return Axis(found)
    return Axis(found, _multiples(found.low, found.high, found.step, found.low))


def _tune_axis(domain: Domain) -> Axis:
    if isinstance(domain, Function):
        raise ValueError(
            "Optuna cannot learn from tune.sample_from: give a domain, in when(KEY, VALUE, domain) "
            "where the setting depends on another"
        )
    sampler = domain.get_sampler()
    step: Any = None
    if isinstance(sampler, Quantized):
        step, sampler = sampler.q, sampler.sampler
        if not step > 0:
            raise ValueError(f"its step is {shown(step)}: must be above 0")
    if isinstance(domain, Categorical):
        if isinstance(sampler, Grid):
            raise ValueError("write tune.choice(…); `--strategy grid` walks all of its values")
        return _choice(domain.categories)
    if isinstance(sampler, Normal):
        raise ValueError(
            "a normal distribution has no bounds: write likely(tune.uniform(LOW, HIGH), MEAN), "
            "with `from search_spaces import likely`"
        )
    if not isinstance(sampler, Uniform | LogUniform):
        raise ValueError(
            f"its sampler {type(sampler).__name__} is unknown: write tune.uniform, tune.loguniform,"
            " tune.randint, tune.lograndint or tune.choice"
        )
    log = isinstance(sampler, LogUniform)
    if isinstance(domain, Integer):
        return _integers(domain.lower, domain.upper, step, log)
    if not isinstance(domain, Float):
        raise ValueError(f"{type(domain).__name__} is unknown: write tune.uniform or tune.choice")
    _check_ends(domain.lower, domain.upper)
    if step is None:
        return Axis(FloatDistribution(domain.lower, domain.upper, log=log))
    grid = _multiples(domain.lower, domain.upper, step)
    ends = float(grid.start), float(grid.last)
    if log and ends[0] <= 0:
        raise ValueError("its lower bound is below its step: a logarithmic scale has no 0")
    found = FloatDistribution(*ends, log=True) if log else FloatDistribution(*ends, step=step)
    return Axis(found, grid)


def _integers(lower: Any, upper: Any, step: Any, log: bool) -> Axis:
    """Tune leaves the upper bound out, unless there is a step other than 1."""
    for value in (lower, upper, *([] if step is None else [step])):
        if isinstance(value, bool) or int(value) != value:
            raise ValueError(f"{shown(value)} must be a whole number")
    lower, upper, step = int(lower), int(upper), int(step or 1)
    first, last = -(-lower // step), upper // step if step != 1 else upper - 1
    if first > last:
        raise ValueError(f"its bounds {lower} and {upper} hold no value")
    if log and first <= 0:
        raise ValueError("its lower bound must be above 0: a logarithmic scale has no 0")
    low, high = first * step, last * step
    grid = Multiples(Decimal(low), Decimal(step), last - first + 1, True)
    if log:  # Optuna has no step there
        return Axis(IntDistribution(low, high, log=True), grid)
    return Axis(IntDistribution(low, high, step=step), grid)


def _choice(values: Sequence[Any]) -> Axis:
    if not values:
        raise ValueError("it has no values: give it at least one")
    for value in values:
        if is_domain(value) or _holds_domain(value):
            raise ValueError(
                "one of its values is a domain itself: search that setting by its own dotted key, "
                "with when(KEY, VALUE, domain) where it depends on this one"
            )
    distinct: list[Any] = []
    for value in map(plain, values):
        if value not in distinct:
            distinct.append(value)
    return Axis(CategoricalDistribution(distinct))


def _holds_domain(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value
    return isinstance(value, dict | list | tuple) and any(
        is_domain(item) or _holds_domain(item) for item in inner
    )


def _check_ends(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"its bounds {low} and {high} must be finite")
    if low > high:
        raise ValueError(f"its bounds {low} and {high} hold no value")
    if not math.isfinite(high - low):
        raise ValueError(f"its bounds {low} and {high} are too far apart")


def _multiples(low: float, high: float, step: float, start: float = 0.0) -> Multiples:
    """The numbers start + k * step, for any whole k, that lie from low to high."""
    if not (high - low) / step < _MAX_GRID or not abs(low) / step < _MAX_GRID:
        raise ValueError(f"its step {step} is too small for its bounds {low} and {high}")
    first, last = _index((low - start) / step, math.ceil), _index((high - start) / step, math.floor)
    if first > last:
        raise ValueError(f"no multiple of its step {step} lies between its bounds {low} and {high}")
    exact, origin = Decimal(repr(float(step))), Decimal(repr(float(start)))
    return Multiples(origin + first * exact, exact, last - first + 1, False)


def _index(scaled: float, inwards: Any) -> int:
    """The position of a bound on the grid, as Tune rounds it: inwards, unless it is on a line."""
    nearest = round(scaled)
    return nearest if math.isclose(scaled, nearest, abs_tol=1e-12) else int(inwards(scaled))
