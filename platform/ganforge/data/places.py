"""Where prepared data are kept."""

from pathlib import Path

import PIL
from PIL import features

from ganforge import local_files
from ganforge.data.settings import DataSettings
from ganforge.settings import SettingsError

# What can change a decoded or resized pixel, besides the file: enters every name in the cache.
FORMAT = (
    f"1-{PIL.__version__}-{features.version('jpg')}-{features.version_feature('libjpeg_turbo')}"
)


def cache_directory(data: DataSettings) -> Path:
    """`data.cache_directory`, else $GANFORGE_CACHE, else ~/.cache/ganforge."""
    given = data.cache_directory
    return Path(given).expanduser() if given else local_files.cache_directory()


def unwritable(directory: Path, error: OSError) -> SettingsError:
    return SettingsError(
        f"data.cache_directory = {directory}: cannot be written ({error.strerror}); set it to a "
        "folder with room, or data.cache_bytes = 0 to decode images on demand"
    )
