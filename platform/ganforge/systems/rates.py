"""Learning-rate schedules: factors that are functions of the progress alone."""

from collections.abc import Sequence

from ganforge.schedule import Progress


def halved(progress: Progress, milestones: Sequence[int]) -> float:
    """½ to the number of `milestones`, in steps of the stage, that are reached."""
    return 0.5 ** sum(progress.step >= milestone for milestone in milestones)


def linear_to_zero(progress: Progress, constant_epochs: int, decay_epochs: int | None) -> float:
    """1 for `constant_epochs` of the stage, then linearly to 0 within `decay_epochs`; without them
    always 1."""
    if decay_epochs is None:
        return 1.0
    epoch = progress.step * progress.stage.batch_size / progress.stage.epoch_images
    return max(0.0, 1 - max(0.0, epoch - constant_epochs) / decay_epochs)
