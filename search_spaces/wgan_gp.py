"""Search space for WGAN-GP.

The learning rates reach about a factor of five to each side of the preset `quick`.
"""

from ray import tune

SPACE = {
    "generator.learning_rate": tune.loguniform(2e-4, 3e-3),
    "critic.learning_rate": tune.loguniform(2e-4, 3e-3),
    "gradient_penalty_weight": tune.loguniform(1.0, 30.0),
    "critic_steps": tune.randint(1, 6),
    "generator.betas.0": tune.choice([0.0, 0.5]),
    "augment.translation": tune.choice([0.0, 0.125]),
}
