"""Weights between two trainings of one network."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ganforge.settings import SettingsError


def interpolated(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], alpha: float
) -> dict[str, Tensor]:
    """(1 - alpha)·first + alpha·second, name by name (arXiv:1809.00219, equation 5).

    With the weights after pixels alone as `first` and after the adversarial stage as `second`,
    alpha = 0.8 is the published choice. Integers (counts of batches) are `first`'s.
    """
    if not 0 <= alpha <= 1:
        raise SettingsError(f"alpha = {alpha:g}: must be from 0 to 1")
    for name in sorted({*first, *second}):
        one, other = first.get(name), second.get(name)
        if one is None or other is None or one.shape != other.shape:
            shapes = [None if t is None else tuple(t.shape) for t in (one, other)]
            raise SettingsError(
                f"{name} is {shapes[0]} in one network and {shapes[1]} in the other; interpolate "
                "two trainings of one network"
            )
    return {
        name: torch.lerp(one, second[name], alpha) if one.is_floating_point() else one
        for name, one in first.items()
    }
