"""How a learning rate moves within a stage."""

import math
import re
from itertools import pairwise
from typing import Literal, Self

from pydantic import model_validator

from ganforge.schedule import Stage
from ganforge.settings import Strict, setting, shown, shown_key

_MILESTONES = re.compile(r"([0-9]{1,15}(,[0-9]{1,15})*)?")


class Schedule(Strict):
    """A factor of the learning rate, between 0 and 1: a function of the position in the stage.

    `warmup` multiplies whatever `kind` gives. `linear` and `cosine` depend on the stage's length,
    which is then a part of its identity; under the others a longer stage begins like a shorter one.
    """

    kind: Literal["constant", "linear", "cosine", "multistep"] = setting(
        "constant", "how the rate falls within each stage"
    )
    warmup: int = setting(0, "images over which it rises at the start of each stage", ge=0)
    hold: float = setting(0.0, "linear, cosine: part of the stage before it falls", ge=0, lt=1)
    end: float = setting(0.0, "linear, cosine: the factor at the stage's end", ge=0, le=1)
    milestones: str = setting(
        "", "multistep: images of the stage after which it falls, such as 50000,80000"
    )
    gamma: float = setting(0.5, "multistep: what it is multiplied by at each", gt=0, lt=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        plain = Schedule.model_fields
        for kinds, keys in _USED.items():
            for key in keys:
                if self.kind not in kinds and getattr(self, key) != plain[key].default:
                    value = shown_key(getattr(self, key))
                    raise ValueError(
                        f"{key} = {value}: is used by kind {' and '.join(kinds)}, not "
                        f"by {self.kind}; give that kind, or {key} = {plain[key].default!r}"
                    )
        if self.kind == "multistep" and not self.milestones:
            raise ValueError("kind = multistep: needs milestones; give them in images")
        numbers = _MILESTONES.fullmatch(self.milestones)
        if numbers is None or not all(a < b for a, b in pairwise((0, *self.falls))):
            raise ValueError(
                f"milestones = {shown(self.milestones)}: must be numbers of images above 0 with "
                "commas between them, each above the one before"
            )
        return self

    @property
    def falls(self) -> tuple[int, ...]:
        """The milestones as numbers."""
        return tuple(map(int, self.milestones.split(","))) if self.milestones else ()

    @property
    def by_length(self) -> bool:
        """Whether the stage's own length decides a factor."""
        return self.kind in ("linear", "cosine")

    def factor(self, stage: Stage, step: int) -> float:
        """The factor of batch `step` of a stage, from 0.

        cosine: end + (1 - end) (1 + cos(π t)) / 2, SGDR eq. 5 (arXiv:1608.03983) without restarts,
        with t the part that is done of what follows `hold`.
        """
        seen = step * stage.batch_size
        factor = min(1.0, (seen + stage.batch_size) / self.warmup) if self.warmup else 1.0
        if self.kind == "multistep":
            return factor * self.gamma ** sum(seen >= fall for fall in self.falls)
        if self.kind == "constant":
            return factor
        done = max(0.0, step / stage.steps - self.hold) / (1 - self.hold)
        left = 1 - done if self.kind == "linear" else (1 + math.cos(math.pi * done)) / 2
        return factor * (self.end + (1 - self.end) * left)


#: which kinds use a setting
_USED = {("linear", "cosine"): ("hold", "end"), ("multistep",): ("milestones", "gamma")}
CONSTANT = Schedule()
