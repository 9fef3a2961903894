"""Differentiable augmentation as settings of the systems from noise."""

from torch import Tensor

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

    def __call__(self, images: Tensor) -> Tensor:
        """T(x) for real images or T(G(z)) for generated ones, (N, C, H, W) in and out."""
        return augment(images, self.color, self.translation, self.cutout)


class AugmentedSettings(SystemSettings):
    """Every image that the discriminator or critic is given is changed, in both players' turns:
    real and generated ones alike, each with its own draws. Penalties are of the changed images."""

    augment: DiffAugment = setting(
        DiffAugment(), "differentiable augmentation", per_stage=True, added=True
    )
