"""Whether a file is a result that was written to its end."""

import os
import warnings
from typing import BinaryIO

from PIL import Image

_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_JPEG_END = b"\xff\xd9"


def is_finished(file: BinaryIO, suffix: str, sides: tuple[int, int]) -> bool:
    """Whether an open file is a whole image of the format of `suffix` and of these sides (height,
    width): by its header and its last bytes, without decoding it."""
    length = os.fstat(file.fileno()).st_size
    kind = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}[suffix]
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=[kind]) as image:
            if image.size != sides[::-1]:
                return False
            file.seek(0)
            head = file.read(8)
            file.seek(max(0, length - len(_PNG_END)))
            tail = file.read()
    except Exception:  # what decoders raise on broken files has no common base
        return False
    if kind == "WEBP":  # RIFF: the length of all that follows its field
        return int.from_bytes(head[4:8], "little") + 8 == length
    return tail == _PNG_END if kind == "PNG" else tail.endswith(_JPEG_END)
