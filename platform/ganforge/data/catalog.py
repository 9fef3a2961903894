"""The images of a run, and which of them are held out."""

from dataclasses import dataclass, field

from ganforge.data.image_table import ImageTable, Numbers


@dataclass(frozen=True)
class Catalog:
    """Decoded images in order, and which are held out.

    `train` and `validation` are numbers into `images`; those held out are in drawn order, so that
    the first few are a fair sample. `classes` are named where images have labels; `mirror` says
    that a mirrored image is still a valid one. `roots` are the numbers of the training images'
    folders, in the order of `train`, where there are several. `low` are the low-resolution images
    of `images`, in their order, where the user has them.
    """

    images: ImageTable
    train: Numbers
    validation: Numbers
    fingerprint: str
    classes: tuple[str, ...] = ()
    mirror: bool = True
    roots: Numbers = field(default_factory=lambda: Numbers(()))
    low: ImageTable = field(default_factory=lambda: ImageTable.of(()))
