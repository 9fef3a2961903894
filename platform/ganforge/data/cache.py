"""This machine's cache of images, and the hashes of decoded files in it.

A disk loses bits, and a copy that was cut short has the right length. What is read from the cache
is therefore verified: images that differ from those of a stage's identity would train another stage
under its name.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import PIL
from PIL import features

from ganforge import local_files
from ganforge.data.decoded_log import DecodedLog
from ganforge.data.image_progress import counted
from ganforge.data.image_set import Kept, SetFile
from ganforge.data.images import Decoded, SourceImage, decode, digest
from ganforge.data.ordered import ordered
from ganforge.data.settings import DataSettings
from ganforge.settings import SettingsError

# What can change a decoded or resized pixel, besides the file: enters every name in the cache.
FORMAT = (
    f"2-{PIL.__version__}-{features.version('jpg')}-{features.version_feature('libjpeg_turbo')}"
)
THREADS = 4  # Pillow and hashlib release the interpreter's lock; no result depends on this


def cache_directory(data: DataSettings) -> Path:
    """`data.cache_directory`, else $GANFORGE_CACHE, else ~/.cache/ganforge."""
    given = data.cache_directory
    return Path(given).expanduser() if given else local_files.cache_directory()


def kept_of(data: DataSettings) -> Kept:
    """Where what is fetched of packed sets is kept."""
    return Kept(cache_directory(data), data.cache_bytes)


def unwritable(directory: Path, error: OSError) -> SettingsError:
    """The error for a cache that cannot be written."""
    return SettingsError(
        f"data.cache_directory = {directory}: cannot be written ({error.strerror}); set it to a "
        "folder with free space, or data.cache_bytes = 0 to decode images on demand"
    )


def identify(images: Sequence[SourceImage], directory: Path) -> tuple[Decoded, ...]:
    """Each image with the hash of its decoded pixels, which `directory` remembers."""
    log = DecodedLog(directory / "decoded" / FORMAT)
    found = ordered(lambda image: _identify(image, log), images, THREADS)
    try:
        return tuple(counted("reading images", found, len(images)))
    finally:
        log.flush()


def _identify(image: SourceImage, log: DecodedLog) -> Decoded:
    """The hash of the decoded pixels, remembered under the hash of the file's bytes.

    The times of files play no part: a copy or a checkout changes them, an edit may not.
    """
    if image.pixels is not None:
        return Decoded(image, digest(image.pixels), *image.pixels.shape[:2])
    if isinstance(image.path, SetFile) and image.path.images.decoder == FORMAT:
        return Decoded(image, *image.path.images.pixels(image.path.number))
    try:
        content = image.path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{image.path}: cannot be read ({error.strerror})") from None
    name = hashlib.sha256(content).hexdigest()
    if (remembered := log.get(name)) is not None:
        return Decoded(image, *remembered)
    pixels = decode(content, image)
    known = Decoded(image, digest(pixels), *pixels.shape[:2])
    log.add(name, known.digest, known.height, known.width)
    return known
