"""What Pix2Pix and CycleGAN share: one image a step, and rates that fall to zero."""

from typing import ClassVar

from ganforge.schedule import Progress
from ganforge.settings import setting
from ganforge.systems.averages import AverageSettings
from ganforge.systems.optimizers import Adam
from ganforge.systems.rates import linear_to_zero
from ganforge.systems.settings import StageSettings

#: Section 6.2 of Pix2Pix and appendix 7.1 of CycleGAN.
ADAM = Adam(learning_rate=2e-4, betas=(0.5, 0.999))


class TranslationSystemSettings(AverageSettings):
    """Images of one size at every stage."""

    grows: ClassVar[bool] = False

    width: int = setting(64, "channels of a generator's first convolution", ge=1)
    discriminator_width: int = setting(64, "channels of a discriminator's first", ge=1)
    constant_epochs: int = setting(100, "epochs of constant learning rates", ge=0)
    decay_epochs: int | None = setting(
        100, "epochs in which they then fall linearly to 0; none: they stay", ge=1
    )
    average_decay: float = setting(
        0.0, "decay per step of averaged generators; 0: no average", ge=0, lt=1, per_stage=True
    )
    batch_size: int = setting(1, "images per step over all workers", ge=1, per_stage=True)
    shards: int = setting(1, "slices of a batch; also the most workers", ge=1)
    stages: tuple[StageSettings, ...] = setting(
        (StageSettings(resolution=256, epochs=200),), "the stages, in order"
    )

    @property
    def counts_epochs(self) -> bool:
        return super().counts_epochs or self.decay_epochs is not None

    def _stage_problems(self) -> list[str]:
        sides = [stage.resolution for stage in self.stages]
        found = [
            f"stages.{number}.resolution = {side}: must be that of stage 0 ({sides[0]}), "
            "since this system's networks do not grow"
            for number, side in enumerate(sides)
            if side != sides[0]
        ]
        return found + super()._stage_problems()

    def _shard_problems(self) -> list[str]:
        if self.shards == 1 and self.workers > 1 and self.exact_world_size:
            return [
                f"workers = {self.workers}: with shards = 1 a step of {self.batch_size} images is "
                "one worker's; set workers = 1, or raise batch_size and shards together"
            ]
        return super()._shard_problems()


def decayed(progress: Progress) -> float:
    """What the learning rates are multiplied by."""
    s: TranslationSystemSettings = progress.settings
    return linear_to_zero(progress, s.constant_epochs, s.decay_epochs)
