"""Adversarial objectives by a setting, for systems whose own is the default: hinge and relativistic
pairs."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from ganforge.losses import hinge_discriminator, relativistic_pairs, wasserstein_generator
from ganforge.settings import setting
from ganforge.systems.penalties import ZeroCentredSettings


class AdversarialSettings(ZeroCentredSettings):
    """What the players compare, where the system's own objective is of each image alone."""

    objective: Literal["binary", "hinge", "relativistic"] = setting(
        "binary",
        "binary: the system's own; hinge (arXiv:1705.02894); relativistic: real and generated "
        "images in pairs (arXiv:1807.00734)",
        per_stage=True,
        added=True,
    )


Network = Callable[[Tensor], Tensor]


def discriminator_term(critic: Network, real: Tensor, fake: Tensor, objective: str) -> Tensor:
    """What the discriminator minimises: hinge, or relativistic pairs for any other `objective`.

    Images (N, C, H, W) in [-1, 1], scalar out.
    """
    return of_scores(critic(real), critic(fake), objective)


def of_scores(real_scores: Tensor, fake_scores: Tensor, objective: str) -> Tensor:
    """The same of scores."""
    if objective == "hinge":
        return hinge_discriminator(real_scores, fake_scores)
    return relativistic_pairs(real_scores, fake_scores)


def generator_term(critic: Network, real: Tensor, fake: Tensor, objective: str) -> Tensor:
    """What the generator minimises under the same objective; pairs need the real images too."""
    fake_scores = critic(fake)
    if objective == "hinge":
        return wasserstein_generator(fake_scores)
    return relativistic_pairs(fake_scores, critic(real))
