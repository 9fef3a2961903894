"""What every kind of data set gives to the loop, and the settings that it needs."""

from collections.abc import Sequence
from typing import Protocol

from ganforge.data.batch import Batch
from ganforge.data.settings import DataSettings, ValidationSettings


class Data(Protocol):
    """Images as pure functions of positions: two objects made alike give the same values.

    `num_validation` is the number of batches that `validation` gives, `num_measured` that of the
    images in them. `epoch_images` are the default lengths of an epoch, one per stage.
    """

    fingerprint: str
    num_train: int
    num_validation: int
    num_measured: int
    epoch_images: tuple[int, ...]

    def batch(self, index: int, step: int, shard: int) -> Batch:
        """One shard of the global batch at a step of stage `index`."""
        ...

    def validation(self, index: int, number: int) -> Batch:
        """A fixed chunk of held-out images as stage `index` sees them; `Batch.index` numbers them
        through all chunks. One worker measures a chunk, so that any number of workers gives the
        same bits."""
        ...

    def samples(self, index: int) -> Batch:
        """The fixed images of the sample grid, as stage `index` sees them."""
        ...

    def close(self) -> None:
        """Release threads and files."""
        ...


class _Resolution(Protocol):
    @property
    def resolution(self) -> int: ...


class ImageSettings(Protocol):
    """The part of a system's settings that is about images."""

    @property
    def channels(self) -> int: ...
    @property
    def data(self) -> DataSettings: ...
    @property
    def validation(self) -> ValidationSettings: ...
    @property
    def stages(self) -> Sequence[_Resolution]: ...
