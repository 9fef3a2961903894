"""Search space for ProGAN-T.

The learning rates reach about a factor of five to each side of the preset `quick`.
"""

from ray import tune

SPACE = {
    "generator.learning_rate": tune.loguniform(1e-3, 8e-3),
    "critic.learning_rate": tune.loguniform(1e-3, 8e-3),
    "gradient_penalty_weight": tune.loguniform(1.0, 30.0),
    "critic_steps": tune.randint(1, 3),
    "average_decay": tune.choice([0.95, 0.98, 0.99]),
}
