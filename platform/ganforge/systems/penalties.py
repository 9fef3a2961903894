"""Penalties of a critic's gradient as settings: R1, R2, and how any of them is differentiated."""

from collections.abc import Callable
from typing import Literal, Self

from pydantic import model_validator
from torch import Tensor

from ganforge.losses import zero_centred_penalty
from ganforge.settings import setting
from ganforge.systems.settings import SystemSettings


class PenaltySettings(SystemSettings):
    """How penalties of a critic's gradient are differentiated."""

    gradient_penalty_sigma: float = setting(
        0.0,
        "0: penalties by a double backward pass; above: by finite differences, images moved by "
        "this length in pixel values of [-1, 1], such as 0.1",
        ge=0,
        per_stage=True,
        added=True,
    )
    gradient_penalty_precision: Literal["float32", "tf32", "bfloat16"] = setting(
        "float32",
        "of penalties, where precision = bfloat16: float32, or less for speed (tf32 on a GPU)",
        added=True,
    )

    @property
    def penalty_options(self) -> tuple[float, bool]:
        """The last arguments of the penalties in losses.py: sigma, and whether they are in bfloat16
        too."""
        return self.gradient_penalty_sigma, self.gradient_penalty_precision == "bfloat16"

    @model_validator(mode="after")
    def _check_penalty_precision(self) -> Self:
        given = self.gradient_penalty_precision
        if given != "float32" and self.precision != "bfloat16":
            raise ValueError(
                f"gradient_penalty_precision = {given}: is for precision = bfloat16, and precision "
                f"is {self.precision}, which holds for penalties too; leave it at float32"
            )
        return self


class ZeroCentredSettings(PenaltySettings):
    """R1 and R2, which keep the discriminator smooth next to any objective."""

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


def penalties(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, settings: ZeroCentredSettings
) -> dict[str, Tensor]:
    """The weighted terms `r1` and `r2`, each where its weight is not 0."""
    terms = {}
    for name, weight, images in (
        ("r1", settings.r1_weight, real),
        ("r2", settings.r2_weight, fake),
    ):
        if weight:
            terms[name] = weight * zero_centred_penalty(critic, images, *settings.penalty_options)
    return terms
