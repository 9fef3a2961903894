"""Search space for CycleGAN.

The learning rates reach about a factor of five to each side of the preset `quick`; the identity
term is 0 or half of the usual cycle weight, as for paintings.
"""

from ray import tune

SPACE = {
    "generators.learning_rate": tune.loguniform(2e-4, 3e-3),
    "discriminators.learning_rate": tune.loguniform(1e-4, 2e-3),
    "cycle_weight": tune.loguniform(3.0, 30.0),
    "identity_weight": tune.choice([0.0, 5.0]),
}
