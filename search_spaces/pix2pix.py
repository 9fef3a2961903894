"""Search space for Pix2Pix.

The learning rates reach about a factor of five to each side of the preset `quick`.
"""

from ray import tune

SPACE = {
    "generator.learning_rate": tune.loguniform(2e-4, 5e-3),
    "discriminator.learning_rate": tune.loguniform(1e-4, 3e-3),
    "l1_weight": tune.loguniform(5.0, 200.0),
    "generator.betas.0": tune.choice([0.5, 0.9]),
}
