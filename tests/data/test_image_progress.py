"""How far the preparation of images is."""

from pathlib import Path

import numpy as np
from PIL import Image

from ganforge.data.image_progress import counted, image_progress
from ganforge.data.prepare import prepare_data
from ganforge.data.settings import DataSettings
from ganforge.systems.settings import StageSettings, SystemSettings


def test_every_image_is_heard_of_once_when_it_is_read_and_packed(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(12):
        levels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(levels).save(tmp_path / "images" / f"{number}.png")
    settings = SystemSettings(
        stages=(StageSettings(resolution=8),),
        data=DataSettings(
            root=str(tmp_path / "images"), cache_directory=str(tmp_path / "cache"), view="resize"
        ),
    )
    heard: list[tuple[str, int, int]] = []
    with image_progress(lambda *what: heard.append(what)):
        first = prepare_data("images", settings, 1, 0)
    reading = [row for row in heard if row[0] == "reading images"]
    packing = [row for row in heard if row[0] == "packing images"]
    assert reading == [("reading images", number, 12) for number in range(1, 13)]
    assert packing and [row[1] for row in packing] == list(range(1, len(packing) + 1))
    heard.clear()
    # nobody listens any more, and what is packed is not packed again
    assert prepare_data("images", settings, 1, 0) == first and not heard
    assert list(counted("nothing", "abc", 3)) == ["a", "b", "c"]
