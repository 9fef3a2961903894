"""A file that was cut anywhere is not taken for a finished one."""

import io

import numpy as np
import pytest
from PIL import Image

from ganforge.inference.finished import is_finished


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_only_a_whole_file_of_these_sides_is_finished(tmp_path, suffix):
    levels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    content = io.BytesIO()
    kind = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}[suffix]
    Image.fromarray(levels).save(content, kind)
    whole = content.getvalue()
    path = tmp_path / "a"

    def finished(given: bytes, sides: tuple[int, int] = (20, 30)) -> bool:
        path.write_bytes(given)
        with path.open("rb") as file:
            return is_finished(file, suffix, sides)

    assert finished(whole)
    assert not finished(whole, (30, 20))
    for length in (0, 1, 20, len(whole) // 2, len(whole) - 1):
        assert not finished(whole[:length]), length
    Image.fromarray(levels).save(path, "BMP")
    with path.open("rb") as file:
        assert not is_finished(file, suffix, (20, 30))
