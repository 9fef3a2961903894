"""Search space for DCGAN.

The learning rates reach about a factor of five to each side of the preset `quick`.
"""

from ray import tune

SPACE = {
    "generator.learning_rate": tune.loguniform(2e-4, 4e-3),
    "discriminator.learning_rate": tune.loguniform(1e-4, 2e-3),
    "generator.betas.0": tune.choice([0.0, 0.5]),
    "discriminator.betas.0": tune.choice([0.0, 0.5]),
    "latent_size": tune.choice([32, 64, 100]),
    "objective": tune.choice(["binary", "hinge", "relativistic"]),
    "augment.translation": tune.choice([0.0, 0.125]),
}
