"""Players whose optimizer, pace and average are settings."""

from collections.abc import Callable
from typing import Any

from torch import nn

from ganforge.schedule import Progress
from ganforge.settings import SettingsError
from ganforge.systems.averages import decay_of
from ganforge.systems.base import Player
from ganforge.systems.optimizers import Adam, RMSprop
from ganforge.systems.settings import SystemSettings


def make_player(
    settings: SystemSettings,
    name: str,
    module: nn.Module,
    *,
    every: str = "",
    factor: Callable[[Progress], float] = lambda progress: 1.0,
    after_step: Callable[[nn.Module], None] | None = None,
    averaged: bool = False,
) -> Player:
    """The player that trains `module` with the optimizer of the setting `name`.

    `every` names the setting that holds the number of batches from turn to turn; `factor`
    multiplies the learning rate; `after_step` is the player's. With `averaged` an exponential
    moving average of the module is kept, by the setting `average_decay` or, where it is given,
    `average_images`.
    """
    optimizer = getattr(settings, name, None)
    if not isinstance(optimizer, Adam | RMSprop):
        raise SettingsError(_not_an_optimizer(settings, name))
    # an average that is counted in images needs no decay of a step
    by_step = averaged and getattr(settings, "average_images", None) is None
    average = "average_decay" if by_step else ""
    for key, use in ((every, "every"), (average, "averaged")):
        if key and not hasattr(settings, key):
            raise SettingsError(
                f"player '{name}': {use} needs the setting '{key}', which {_title(settings)} does "
                f"not have; declare it: {key} = setting(…)"
            )

    def options(progress: Progress) -> dict[str, Any]:
        here: Adam | RMSprop = getattr(progress.settings, name)
        found = here.options()
        scheduled = found["lr"] * here.schedule.factor(progress.stage, progress.step)
        return found | {"lr": scheduled * factor(progress)}

    return Player(
        name,
        module,
        optimizer.optimizer(),
        options,
        every=lambda settings: getattr(settings, every) if every else 1,
        after_step=after_step,
        average=nn.Module() if averaged else None,
        decay=decay_of,
        clip_norm=lambda settings: getattr(settings, name).clip_norm,
    )


def _not_an_optimizer(settings: SystemSettings, name: str) -> str:
    names = type(settings).model_fields
    known = [key for key in names if isinstance(getattr(settings, key), Adam | RMSprop)]
    return (
        f"player '{name}': {_title(settings)} has no optimizer of that name (its optimizers: "
        f"{', '.join(known) or 'none'}); a player is named like the setting of its optimizer: "
        f"rename the player, or declare {name}: Adam = setting(Adam(), …, per_stage=True)"
    )


def _title(settings: SystemSettings) -> str:
    return f"{type(settings).__module__}.{type(settings).__qualname__}"
