"""Players whose optimizer has the name of a setting."""

from collections.abc import Callable
from typing import Any

from torch import nn

from ganforge.schedule import Progress
from ganforge.systems.base import Player
from ganforge.systems.optimizers import Adam, RMSprop


def make_player(
    module: nn.Module,
    name: str,
    optimizer: Adam | RMSprop,
    factor: Callable[[Progress], float] = lambda progress: 1.0,
    *,
    every: str = "",
    after_step: Callable[[nn.Module], None] | None = None,
    averaged: bool = False,
) -> Player:
    """The player of `module`, named like the setting of its optimizer.

    `factor` multiplies the learning rate; `every` names the setting that says in which steps it
    has its turn, `after_step` is the player's. With `averaged` it keeps an average by the setting
    `average_decay`.
    """

    def options(progress: Progress) -> dict[str, Any]:
        found = getattr(progress.settings, name).options()
        return found | {"lr": found["lr"] * factor(progress)}

    return Player(
        name,
        module,
        optimizer.optimizer(),
        options,
        every=lambda settings: getattr(settings, every) if every else 1,
        after_step=after_step,
        average=nn.Module() if averaged else None,
        decay=lambda settings: settings.average_decay,
    )
