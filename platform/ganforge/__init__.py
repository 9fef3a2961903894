"""ganforge tunes, trains, reproduces and proves generative adversarial networks on a Ray cluster.

One loop trains every system (`ganforge.training`), Ray Tune with Optuna searches its settings
(`ganforge.cluster`), and MLflow keeps the record (`ganforge.tracking`). A stage of training is a
pure function of its parent's weights, its settings, the data, the seed and the code.
"""

__version__ = "0.1.0"
