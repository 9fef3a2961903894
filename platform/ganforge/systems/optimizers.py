"""Optimizers as settings."""

from typing import Any, Self

import torch
from pydantic import model_validator
from torch.optim import Optimizer

from ganforge.settings import Strict, setting
from ganforge.systems.learning_rates import CONSTANT, Schedule


class Optimized(Strict):
    """What every optimizer has."""

    learning_rate: float = setting(1e-3, "step size", gt=0)
    schedule: Schedule = setting(CONSTANT, "how the learning rate moves in a stage", added=True)
    clip_norm: float | None = setting(
        None, "largest norm of all gradients together; larger ones are scaled to it", gt=0,
        added=True,
    )  # fmt: skip


class Adam(Optimized):
    """Adam (arXiv:1412.6980)."""

    betas: tuple[float, float] = setting((0.0, 0.99), "decay of the two moments, each in [0, 1)")
    epsilon: float = setting(1e-8, "added to the root of the second moment", gt=0)

    def options(self) -> dict[str, Any]:
        """The same, under the names of torch.optim.Adam."""
        return {"lr": self.learning_rate, "betas": self.betas, "eps": self.epsilon}

    def optimizer(self) -> Optimizer:
        """A new one; `Player.follow` fills in its parameters, `Player.step` its options."""
        return torch.optim.Adam([torch.zeros(())])

    @model_validator(mode="after")
    def _check(self) -> Self:
        for number, beta in enumerate(self.betas):
            if not 0 <= beta < 1:
                raise ValueError(f"betas.{number} = {beta}: must be at least 0 and below 1")
        return self


class RMSprop(Optimized):
    """RMSprop (Tieleman and Hinton, lecture 6.5, 2012) without momentum."""

    learning_rate: float = setting(5e-5, "step size", gt=0)
    decay: float = setting(0.99, "decay of the mean square", ge=0, lt=1)
    epsilon: float = setting(1e-8, "added to the root of the mean square", gt=0)

    def options(self) -> dict[str, Any]:
        """The same, under the names of torch.optim.RMSprop."""
        return {"lr": self.learning_rate, "alpha": self.decay, "eps": self.epsilon}

    def optimizer(self) -> Optimizer:
        """A new one; `Player.follow` fills in its parameters, `Player.step` its options."""
        return torch.optim.RMSprop([torch.zeros(())])
