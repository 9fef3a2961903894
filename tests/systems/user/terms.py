"""Beside my_gan.py, and so a part of that system."""

from torch import Tensor


def hinge(real_scores: Tensor, fake_scores: Tensor, margin: float) -> Tensor:
    return (margin - real_scores).relu().mean() + (margin + fake_scores).relu().mean()
