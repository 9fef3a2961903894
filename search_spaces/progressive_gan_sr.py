"""Search space for ProgressiveGAN-SR.

The learning rates reach from PGGAN's 1e-3 to the description's 1e-2. Number and resolution of the
stages are the same in all trials, so that trials can be compared at the end of each stage.
"""

from ray import tune

SPACE = {
    "generator.learning_rate": tune.loguniform(1e-3, 1e-2),
    "critic.learning_rate": tune.loguniform(5e-4, 1e-2),
    "gradient_penalty_weight": tune.loguniform(1.0, 30.0),
    "critic_steps": tune.randint(1, 3),
    "generator.betas.0": tune.choice([0.0, 0.5, 0.9]),
    "stages.0.epochs": tune.choice([2, 3, 4]),
    "stages.1.epochs": tune.choice([2, 3, 4]),
    "stages.2.epochs": tune.choice([2, 3, 4]),
}
