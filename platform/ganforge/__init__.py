"""ganforge tunes, trains, reproduces and proves generative adversarial networks on a Ray cluster.

One loop trains every system (`ganforge.training`), Ray Tune with Optuna searches its settings
(`ganforge.search`), and MLflow keeps the record (`ganforge.tracking`). A stage of training is a
pure function of its parent's weights, its settings, the data, the seed and the code.
"""

#: the one record of the version: the build reads it here. Installed metadata would be another one
#: on a worker that runs the driver's code next to an older installation.
__version__ = "0.2.0"
