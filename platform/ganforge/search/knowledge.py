"""What people know of a search space: likely values, and settings that matter only sometimes.

    from search_spaces import likely, when

    SPACE = {
        "loss": tune.choice(["wgan", "hinge"]),
        "generator.learning_rate": likely(tune.loguniform(1e-4, 1e-2), 2e-3, sure=0.7),
        "gradient_penalty_weight": when("loss", "wgan", tune.loguniform(1.0, 30.0)),
    }

Plain data, so that a file with a space imports nothing heavy for it; search/space.py checks it.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Likely:
    """A domain with the value that is probably best, and how sure that is: above 0, at most 1."""

    domain: Any
    value: Any
    sure: float


@dataclass(frozen=True)
class When:
    """A domain of a setting that is searched only while the setting `key` has one of `values`."""

    key: str
    values: tuple[Any, ...]
    domain: Any


def likely(domain: Any, value: Any, sure: float = 0.5) -> Likely:
    """`domain`, of which `value` is probably the best.

    The search tries the likely values of all settings together first. Later, the setting is drawn
    close to its likely value with a probability that starts at `sure` and fades while the search
    learns (search/sampler.py has the formula), so that a mistaken belief costs little.
    """
    return Likely(domain, value, sure)


def when(key: str, value: Any, domain: Any) -> When:
    """`domain`, searched only in points whose setting `key` is `value`; a tuple gives several
    values. In other points the setting keeps the value that the search's settings have."""
    return When(key, value if isinstance(value, tuple) else (value,), domain)
