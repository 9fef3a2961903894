"""What is settled before a run, and what is said of it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganforge.settings import override
from ganforge.systems.catalog import load_system
from ganforge.training.prepare import prepare


@pytest.mark.parametrize("system", ["pix2pix", "cyclegan"])
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {},
            "data.jitter = 286: training is shown windows of 64 px of images resized to 286 px, 5%",
        ),
        ({"data.jitter": 72}, None),
        ({"data.jitter": None}, None),
        ({"data.view": "crop"}, None),
    ],
)
def test_windows_that_show_little_of_an_image_are_named(
    tmp_path: Path, system: str, changes: dict[str, object], expected: str | None
) -> None:
    for side in ("source", "target"):
        (tmp_path / side).mkdir()
        for number in range(3):
            levels = np.full((64, 64, 3), 80 * number, np.uint8)
            Image.fromarray(levels).save(tmp_path / side / f"{number}.png")
    settings = load_system(system).Settings()
    given = {"stages.0.resolution": 64, "data.root": str(tmp_path), **changes}
    found = [
        line for line in prepare(system, override(settings, given)).warnings if "jitter" in line
    ]
    assert len(found) == (expected is not None)
    assert all(line.startswith(str(expected)) for line in found)
