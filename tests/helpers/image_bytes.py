"""Image files made byte by byte, so that what is in them is known without a decoder."""

import struct
import zlib
from collections.abc import Iterable, Sequence

import numpy as np

Tag = tuple[int, int, Sequence[int]]  # number, type (3 short, 4 long), values


def packed(values: np.ndarray, bits: int) -> list[bytes]:
    """Rows of values (H, W, C) or (H, W), most significant bit first; 16 bits are big-endian."""
    rows = values.reshape(values.shape[0], -1)
    if bits == 16:
        return [row.astype(">u2").tobytes() for row in rows]
    if bits == 8:
        return [row.astype(np.uint8).tobytes() for row in rows]
    shifts = np.arange(bits - 1, -1, -1)
    return [np.packbits((row[:, None] >> shifts) & 1).tobytes() for row in rows.astype(int)]


def _chunk(name: bytes, content: bytes) -> bytes:
    tail = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + tail


_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
          (1, 0, 2, 1))  # fmt: skip


def png(
    values: np.ndarray,
    bits: int,
    colour: int,
    *,
    interlaced: bool = False,
    chunks: Iterable[tuple[bytes, bytes]] = (),
    later: Iterable[tuple[bytes, bytes]] = (),
) -> bytes:
    """A PNG of colour type `colour` (ISO/IEC 15948); `chunks` stand before the pixels, `later`
    behind them."""
    height, width = values.shape[:2]
    passes = [values]
    if interlaced:
        passes = [values[top::down, left::right] for top, left, down, right in _ADAM7]
    rows = [b"\0" + row for part in passes if part.size for row in packed(part, bits)]
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", head),
            *(_chunk(*chunk) for chunk in chunks),
            _chunk(b"IDAT", zlib.compress(b"".join(rows))),
            *(_chunk(*chunk) for chunk in later),
            _chunk(b"IEND", b""),
        ]
    )


def exif(orientation: int) -> bytes:
    """EXIF with the tag Orientation alone."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)


def tiff(tags: Iterable[Tag], strip: bytes) -> bytes:
    """A big-endian TIFF of one strip; tags 273 and 279 are added."""
    at = 8 + len(strip) + len(strip) % 2
    listed = sorted([*tags, (273, 4, [8]), (279, 4, [len(strip)])])
    table, later = b"", b""
    after = at + 2 + 12 * len(listed) + 4
    for number, kind, values in listed:
        content = struct.pack(f">{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(content) > 4:
            where = struct.pack(">I", after + len(later))
            later += content + b"\0" * (len(content) % 2)
        else:
            where = content.ljust(4, b"\0")
        table += struct.pack(">HHI", number, kind, len(values)) + where
    strip += b"\0" * (len(strip) % 2)
    head = b"MM\0*" + struct.pack(">I", at)
    return head + strip + struct.pack(">H", len(listed)) + table + b"\0\0\0\0" + later


def bmp(
    rows: Sequence[bytes],
    width: int,
    bits: int,
    *,
    palette: np.ndarray | None = None,
    compression: int = 0,
    masks: Sequence[int] = (),
    top_down: bool = False,
) -> bytes:
    """A BMP of these rows, the upper one first; with four masks its header is of version 4.
    Compressed content is given as one row, with the height as the length of `rows[1:]`."""
    if compression in (1, 2):
        height, content = len(rows) - 1, rows[0]
    else:
        height = len(rows)
        padded = [row + b"\0" * (-len(row) % 4) for row in rows]
        content = b"".join(padded if top_down else padded[::-1])
    table = b"" if palette is None else np.insert(palette[:, ::-1], 3, 0, 1).tobytes()
    info = struct.pack(
        "<iiHHIIiiII", width, -height if top_down else height, 1, bits, compression, len(content),
        2835, 2835, len(table) // 4, 0,
    )  # fmt: skip
    info += struct.pack(f"<{len(masks)}I", *masks)
    if len(masks) == 4:
        info += b"BGRs" + b"\0" * 48
    size = 108 if len(masks) == 4 else 40
    head = struct.pack("<I", size) + info
    offset = 14 + len(head) + len(table)
    return (
        b"BM" + struct.pack("<IHHI", offset + len(content), 0, 0, offset) + head + table + content
    )
