"""Differentiable augmentation as settings of the systems from noise, always or as often as a
discriminator needs it."""

from typing import Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from ganforge.augmentation import augment
from ganforge.settings import Strict, setting
from ganforge.systems.settings import SystemSettings


class DiffAugment(Strict):
    """How images are changed before a discriminator is shown them (arXiv:2006.10738)."""

    color: float = setting(
        0.0, "brightness, saturation and contrast; 0: none, 1: as published", ge=0, le=1
    )
    translation: float = setting(
        0.0, "largest shift as a part of the side; 0: none, 0.125: as published", ge=0, le=1
    )
    cutout: float = setting(
        0.0, "side of a square of zeros as a part of the side; 0: none, 0.5: as published",
        ge=0, le=1,
    )  # fmt: skip

    def __call__(self, images: Tensor, probability: Tensor | None = None) -> Tensor:
        """T(x) for real images or T(G(z)) for generated ones, (N, C, H, W) in and out; with a
        probability, each kind of change for so many of them."""
        return augment(images, self.color, self.translation, self.cutout, probability)


class AugmentedSettings(SystemSettings):
    """Every image that the discriminator or critic is given is changed, in both players' turns:
    real and generated ones alike, each with its own draws. Penalties are of the changed images."""

    augment: DiffAugment = setting(
        DiffAugment(), "differentiable augmentation", per_stage=True, added=True
    )


class AdaptiveAugmentSettings(AugmentedSettings):
    """For discriminators whose score says by its sign whether an image is real."""

    augment_target: float | None = setting(
        None,
        "mean sign of the scores of real images, such as 0.6, that the probability of augmentation "
        "follows (arXiv:2006.06676); none: every image is changed",
        gt=-1,
        lt=1,
        added=True,
    )
    augment_images: int = setting(
        500_000,
        "images that the discriminator is shown until that probability can have risen from 0 to 1",
        ge=1,
        added=True,
    )

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        if self.augment_target is None:
            return self
        problems: list[str] = []
        target = f"augment_target = {self.augment_target:g}"
        if self.augment == DiffAugment():
            problems.append(
                f"augment.color, augment.translation and augment.cutout are 0: {target} has "
                "nothing to apply; give one of them in every stage, or leave augment_target at none"
            )
        if (objective := getattr(self, "objective", "binary")) not in ("binary", "hinge"):
            problems.append(
                f"objective = {objective}: compares pairs, and {target} needs scores whose sign "
                "says real or generated; set objective binary or hinge, or augment_target none"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self


class AugmentProbability(nn.Module):
    """How often images are changed: section 3 of arXiv:2006.06676, with r_t = E[sign(D(real))].

    Buffers of the discriminator, so that they are reduced over shards, stored and resumed as the
    statistics of its batch norm are. `real_signs` is an average over about four turns; the
    probability moves by a fixed amount towards where it equals the target, one turn later.
    """

    probability: Tensor
    real_signs: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("probability", torch.zeros(()))
        self.register_buffer("real_signs", torch.zeros(()))

    @torch.no_grad()
    def adjust(self, target: float, amount: float) -> None:
        """Before a turn of the discriminator: alike in all of its shards."""
        self.probability.add_(torch.sign(self.real_signs - target) * amount).clamp_(0, 1)

    @torch.no_grad()
    def observe(self, real_scores: Tensor) -> None:
        """Of one shard; the mean over shards is that of the batch."""
        signs = real_scores.sign().to(self.real_signs.dtype)
        self.real_signs.lerp_(signs.mean(), 0.25)
