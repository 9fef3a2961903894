"""A user's own system: WGAN-GP with a hinge objective, from a file that no package has."""

from typing import Any, ClassVar

from ray import tune
from terms import hinge

from ganforge.settings import setting
from ganforge.systems.wgan_gp import WGANGP
from ganforge.systems.wgan_gp import Settings as Parent

SPACE = {
    "margin": tune.uniform(0.5, 2.0),
    "critic.learning_rate": tune.loguniform(1e-4, 1e-3),
}


class Settings(Parent):
    margin: float = setting(1.0, "margin of the hinge", gt=0)


class MyGAN(WGANGP):
    Settings = Settings
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        **WGANGP.PRESETS,
        "quick": {**WGANGP.PRESETS["quick"], "features": 8},
    }

    def losses(self, player, batch, progress):
        if player == "generator":
            return super().losses(player, batch, progress)
        fake = self.generator(self.draw_latents(batch)).detach()
        margin = progress.settings.margin
        return {"hinge": hinge(self.critic(batch.target), self.critic(fake), margin)}
