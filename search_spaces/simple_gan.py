"""Search space for Simple GAN.

The learning rates reach about a factor of five to each side of the preset `quick`.
"""

from ray import tune

SPACE = {
    "generator.learning_rate": tune.loguniform(2e-4, 3e-3),
    "discriminator.learning_rate": tune.loguniform(2e-4, 3e-3),
    "generator.betas.0": tune.choice([0.0, 0.5, 0.9]),
    "discriminator.betas.0": tune.choice([0.0, 0.5, 0.9]),
    "latent_size": tune.choice([16, 64, 128]),
}
