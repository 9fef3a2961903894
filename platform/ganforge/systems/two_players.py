"""A generator from noise and a discriminator that take turns under `objective`: what Simple GAN and
DCGAN have in common but for their networks."""

import torch
from torch import Tensor, nn

from ganforge.data.batch import Batch
from ganforge.losses import binary_discriminator, non_saturating
from ganforge.schedule import Progress
from ganforge.systems.adversarial import generator_term, of_scores
from ganforge.systems.augmented import AugmentProbability
from ganforge.systems.latent import LatentSystem
from ganforge.systems.penalties import penalties


class TwoPlayers(LatentSystem):
    """Equation 1 of arXiv:1406.2661, whose generator's objective does not saturate (section 3), or
    what `objective` names in its place; with the penalties and the augmentation of the settings."""

    generator: nn.Module
    discriminator: nn.Module

    def adapt(self) -> None:
        """Give the discriminator a probability of augmentation, where the settings follow one."""
        if self.settings.augment_target is not None:
            self.discriminator.augment_probability = AugmentProbability()

    def losses(self, player: str, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        s = progress.settings
        latent = self.draw_latents(batch)
        adaptive: AugmentProbability | None = getattr(
            self.discriminator, "augment_probability", None
        )
        often = None if adaptive is None else adaptive.probability
        if player == "generator":
            fake = s.augment(self.generator(latent), often)
            if s.objective == "binary":
                return {"adversarial": non_saturating(self.discriminator(fake))}
            real = s.augment(batch.target, often)
            return {"adversarial": generator_term(self.discriminator, real, fake, s.objective)}
        if adaptive is not None:
            adaptive.adjust(s.augment_target, s.batch_size / s.augment_images)
        with torch.no_grad():
            fake = s.augment(self.generator(latent), often)
        real = s.augment(batch.target, often)
        real_scores, fake_scores = self.discriminator(real), self.discriminator(fake)
        if s.objective == "binary":
            value = binary_discriminator(real_scores, fake_scores)
        else:
            value = of_scores(real_scores, fake_scores, s.objective)
        found = {"adversarial": value} | penalties(self.discriminator, real, fake, s)
        if adaptive is not None:
            adaptive.observe(real_scores)
            # a number that no gradient flows from: it is reported with the terms
            found["augment_probability"] = adaptive.probability.clone()
        return found
