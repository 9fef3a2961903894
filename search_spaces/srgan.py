"""Search space for SRGAN.

The learning rates reach about a factor of five to each side of the preset `quick`; the
adversarial term from a tenth of the published weight to ten times it.
"""

from ray import tune

from search_spaces import when

SPACE = {
    "generator.learning_rate": tune.loguniform(1e-4, 2e-3),
    "discriminator.learning_rate": tune.loguniform(2e-4, 5e-3),
    "adversarial_weight": tune.loguniform(1e-4, 1e-2),
    "objective": tune.choice(["binary", "hinge", "relativistic"]),
    # binary's; under the others it makes no difference
    "label_smoothing": when("objective", "binary", tune.choice([0.0, 0.1, 0.3])),
    "generator.betas.0": tune.choice([0.5, 0.9]),
}
