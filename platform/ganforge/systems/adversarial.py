"""Adversarial objectives by a setting, for systems whose own is the default: hinge and relativistic
pairs, and the zero-centred penalties R1 and R2, which may be added to any of them."""

from collections.abc import Callable
from typing import Literal, Self

from pydantic import model_validator
from torch import Tensor

from ganforge.losses import (
    hinge_discriminator,
    relativistic_pairs,
    wasserstein_generator,
    zero_centred_penalty,
)
from ganforge.settings import setting
from ganforge.systems.settings import SystemSettings


class ZeroCentredSettings(SystemSettings):
    """What keeps the discriminator smooth next to any objective."""

    r1_weight: float = setting(
        0.0, "γ of R1, ½ mean ‖∇D‖² at real images; 0: none", ge=0, per_stage=True, added=True
    )
    r2_weight: float = setting(
        0.0, "γ of R2, ½ mean ‖∇D‖² at generated images; 0: none", ge=0, per_stage=True, added=True
    )

    def batch_norm(self) -> tuple[str, str] | None:
        """The setting that puts batch norm into the discriminator, as "key = value", and one that
        does without; None where it has none."""
        return None

    @model_validator(mode="after")
    def _check_penalties(self) -> Self:
        found = self.batch_norm()
        problems = [
            f"{key} = {getattr(self, key)}: batch norm ({found[0]}) mixes the samples that the "
            f"penalty tells apart; set {found[1]}, or {key} = 0"
            for key in ("r1_weight", "r2_weight")
            if found is not None and getattr(self, key)
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return self


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
    real_scores, fake_scores = critic(real), critic(fake)
    if objective == "hinge":
        return hinge_discriminator(real_scores, fake_scores)
    return relativistic_pairs(real_scores, fake_scores)


def generator_term(critic: Network, real: Tensor, fake: Tensor, objective: str) -> Tensor:
    """What the generator minimises under the same objective; pairs need the real images too."""
    fake_scores = critic(fake)
    if objective == "hinge":
        return wasserstein_generator(fake_scores)
    return relativistic_pairs(fake_scores, critic(real))


def penalties(
    critic: Network, real: Tensor, fake: Tensor, settings: ZeroCentredSettings
) -> dict[str, Tensor]:
    """The weighted terms `r1` and `r2`, each where its weight is not 0."""
    terms = {}
    for name, weight, images in (
        ("r1", settings.r1_weight, real),
        ("r2", settings.r2_weight, fake),
    ):
        if weight:
            terms[name] = weight * zero_centred_penalty(critic, images)
    return terms
