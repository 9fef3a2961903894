"""Search space for SuperResGANUnet.

The three published readings of the generator's adversarial term, each at weights around its own.
"""

from ray import tune

SPACE = {
    "generator.learning_rate": tune.loguniform(4e-4, 5e-3),
    "critic.learning_rate": tune.loguniform(1e-4, 3e-3),
    "objective": tune.choice(["least_squares", "feature_matching", "paired_features"]),
    "adversarial_weight": tune.loguniform(2e-3, 0.1),
    "kernels": tune.choice([0, 8]),
}
