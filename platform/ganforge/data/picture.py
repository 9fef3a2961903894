"""What is known of a picture before and after it was decoded."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Picture:
    """A file. `name` is its path below the root, in POSIX form; pictures that show one scene share
    a `scene` and stay on one side of the split."""

    name: str
    path: Path
    scene: str = ""

    @property
    def group(self) -> str:
        return self.scene or self.name


@dataclass(frozen=True)
class Decoded:
    """A picture whose pixels are known: their sha256 and sides, upright, in 8 bits."""

    picture: Picture
    digest: str
    height: int
    width: int
