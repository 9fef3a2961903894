"""Small images with distinct pixels, in a temporary folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganforge.data.base import Data
from ganforge.data.prepare import open_data
from ganforge.data.settings import DataSettings, ValidationSettings
from ganforge.schedule import Stage
from ganforge.systems.settings import StageSettings, SystemSettings

SCALE = 2
SEED = 3


def noise(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    return values if channels > 1 else values[..., 0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven images of various sides, none below 40."""
    root = tmp_path / "images"
    (root / "below").mkdir(parents=True)
    for number, sides in enumerate([(40, 61), (50, 50), (97, 45), (64, 64), (41, 43), (90, 130)]):
        Image.fromarray(noise(number, *sides)).save(root / f"p{number}.png")
    Image.fromarray(noise(9, 48, 52)).save(root / "below" / "q.PNG")
    return root


Settings = Callable[..., SystemSettings]


@pytest.fixture
def settings(folder: Path, tmp_path: Path) -> Settings:
    """Settings of two stages, 16 and 32; keywords change `data`."""

    def build(held_out: dict | None = None, channels: int = 3, **data: object) -> SystemSettings:
        values = {"root": str(folder), "cache_directory": str(tmp_path / "cache"), **data}
        return SystemSettings(
            channels=channels,
            stages=(StageSettings(resolution=16), StageSettings(resolution=32)),
            data=DataSettings(**values),  # pyright: ignore[reportArgumentType]
            validation=ValidationSettings(**{"fraction": 0.3, "samples": 3, **(held_out or {})}),
        )

    return build


def stages(batch_size: int = 8, shards: int = 4, images: int = 400) -> tuple[Stage, ...]:
    return tuple(Stage(side, images, 0, batch_size, shards) for side in (16, 32))


Open = Callable[..., Data]


@pytest.fixture
def opened(settings: Settings) -> Open:
    """The data set of `settings(**data)`; `plan` are its stages."""

    def build(
        plan: tuple[Stage, ...] | None = None,
        prefetch: bool = True,
        seed: int = SEED,
        **data: object,
    ) -> Data:
        return open_data(
            "super_resolution", settings(**data), plan or stages(), SCALE, seed, prefetch=prefetch
        )

    return build
