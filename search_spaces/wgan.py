"""Search space for WGAN.

The learning rates reach about a factor of five to each side of the preset `quick`.
"""

from ray import tune

SPACE = {
    "generator.learning_rate": tune.loguniform(1e-4, 2e-3),
    "critic.learning_rate": tune.loguniform(1e-4, 2e-3),
    "clip": tune.loguniform(5e-3, 0.1),
    "critic_steps": tune.randint(1, 6),
}
