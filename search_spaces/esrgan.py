"""Search space for ESRGAN.

The learning rates reach about a factor of five to each side of the preset `quick`; the
adversarial term from a tenth of the published weight to ten times it.
"""

from ray import tune

SPACE = {
    "generator.learning_rate": tune.loguniform(4e-4, 5e-3),
    "critic.learning_rate": tune.loguniform(2e-4, 5e-3),
    "adversarial_weight": tune.loguniform(5e-4, 5e-2),
    "objective": tune.choice(["relativistic", "hinge", "relativistic_pairs"]),
    "generator.betas.0": tune.choice([0.5, 0.9]),
    "initial_scale": tune.choice([0.1, 0.5, 1.0]),
}
