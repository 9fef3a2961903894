"""The images of a folder, as a run finds them."""

from ganforge.data.cache import kept_of
from ganforge.data.images import SourceImage
from ganforge.data.listing import list_folder
from ganforge.data.settings import DataSettings


def find_images(root: str) -> list[SourceImage]:
    """The images below `root`, sorted by relative POSIX path."""
    listing = list_folder(root, kept_of(DataSettings()))
    return [SourceImage(name, path) for name, path in listing.images.items()]
