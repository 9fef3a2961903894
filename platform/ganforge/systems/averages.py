"""How fast the average of a generator forgets: by step, or by images whatever the batch."""

from typing import Any

from ganforge.settings import setting
from ganforge.systems.settings import SystemSettings


class AverageSettings(SystemSettings):
    """Next to `average_decay`, the decay of each step."""

    average_images: int | None = setting(
        None,
        "images after which a weight counts half in the averaged generator, in place of "
        "average_decay; none: by average_decay",
        ge=1,
        per_stage=True,
        added=True,
    )


class OptionalAverageSettings(SystemSettings):
    """For systems whose papers keep no average: samples are those of the generator itself."""

    average_images: int | None = setting(
        None,
        "images after which a weight counts half in the averaged generator; none: no average",
        ge=1,
        added=True,
    )

    @property
    def averaged(self) -> bool:
        """Whether an average of the generator is kept."""
        return self.average_images is not None


def decay_of(settings: Any) -> float:
    """The decay of one step of the generator, in [0, 1).

    The average is that of arXiv:1710.10196, appendix A.1. With a half-life of h images and batches
    of b its decay is 0.5^(b/h), as the published code of arXiv:2006.06676 counts it, so that the
    weight of a step halves within h images whatever b is. Images are those of the generator's own
    steps: with critic_steps = k the critic is shown k times as many.
    """
    images = getattr(settings, "average_images", None)
    return settings.average_decay if images is None else 0.5 ** (settings.batch_size / images)
