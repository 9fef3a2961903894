"""A generator from noise and a discriminator that take turns under `objective`: what Simple GAN and
DCGAN have in common but for their networks."""

import torch
from torch import Tensor, nn

from ganforge.data.batch import Batch
from ganforge.losses import binary_discriminator, non_saturating
from ganforge.schedule import Progress
from ganforge.systems.adversarial import discriminator_term, generator_term
from ganforge.systems.latent import LatentSystem
from ganforge.systems.penalties import penalties


class TwoPlayers(LatentSystem):
    """Equation 1 of arXiv:1406.2661, whose generator's objective does not saturate (section 3), or
    what `objective` names in its place; with the penalties and the augmentation of the settings."""

    generator: nn.Module
    discriminator: nn.Module

    def losses(self, player: str, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        s = progress.settings
        latent = self.draw_latents(batch)
        if player == "generator":
            fake = s.augment(self.generator(latent))
            if s.objective == "binary":
                return {"adversarial": non_saturating(self.discriminator(fake))}
            real = s.augment(batch.target)
            return {"adversarial": generator_term(self.discriminator, real, fake, s.objective)}
        with torch.no_grad():
            fake = s.augment(self.generator(latent))
        real = s.augment(batch.target)
        if s.objective == "binary":
            real_logits = self.discriminator(real)
            value = binary_discriminator(real_logits, self.discriminator(fake))
        else:
            value = discriminator_term(self.discriminator, real, fake, s.objective)
        return {"adversarial": value} | penalties(self.discriminator, real, fake, s)
