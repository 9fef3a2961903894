"""What decoding gives: levels, what the header said of them, and the errors for other kinds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganforge.settings import SettingsError

Levels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Header:
    """What a file says before its pixels. `width` and `height` are upright.

    `kind` names what is stored; `depth`, 8 or 16, is the bits of a channel after decoding, `deep`
    says that there are more than 8 in the file. `extra`: further channels are left out. `frames`:
    there are more than the first. `profile` is the name of a colour profile other than sRGB.
    """

    format: str
    width: int
    height: int
    kind: str
    depth: int = 8
    deep: bool = False
    alpha: bool = False
    extra: bool = False
    ink: bool = False
    frames: bool = False
    profile: str = ""


@dataclass(frozen=True)
class Raster:
    """Upright levels (H, W, C), uint8 or uint16: grey, grey and alpha, RGB, or RGB and alpha.

    Alpha is straight: colour is not multiplied with it. `profile` is the ICC profile of the levels.
    """

    levels: Levels
    header: Header
    profile: bytes | None = None

    @property
    def depth(self) -> int:
        return 16 if self.levels.dtype == np.uint16 else 8


def upright(levels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """(H, W, C) turned and mirrored as the EXIF tag Orientation, 1 … 8, asks for."""
    if orientation in (5, 6, 7, 8):
        levels = levels.swapaxes(0, 1)
    flips = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}
    return np.flip(levels, flips[orientation]) if orientation in flips else levels


def unreadable(name: str, reason: object) -> SettingsError:
    """The one line for a file that is damaged, missing or not an image."""
    text = " ".join(str(reason).split()) or type(reason).__name__
    return SettingsError(f"{name}: cannot be read as an image ({text}); replace or remove it")


def not_read(name: str, kind: str, rule: str) -> SettingsError:
    """The one line for a sound file of a kind that is not decoded."""
    return SettingsError(f"{name}: {kind} is not read, {rule}; convert it or remove it")
