"""The best trial's animation: its sample grids through all stages, as one animated image."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_WIDTH, _MAX_HEIGHT, _STRIP = 720, 900, 30
_LIMIT = 2_000_000
_INK, _PAPER, _BAR = (255, 255, 255), (40, 40, 40), (86, 180, 233)
_FRAME_MS, _END_MS, _LAST_MS = 600, 1100, 2500


@dataclass(frozen=True)
class Frame:
    """One grid: the caption under it, and the part of the whole run that is done, 0 to 1."""

    image: bytes
    caption: str
    done: float
    ends_stage: bool


def animate(frames: Sequence[Frame]) -> bytes:
    """An animated WebP of at most 2 MB, all frames of one size; what is larger is shrunk."""
    if len(frames) < 2:
        raise ValueError("an animation needs two sample grids")
    grids = [Image.open(io.BytesIO(frame.image)).convert("RGB") for frame in frames]
    lengths = [_END_MS if frame.ends_stage else _FRAME_MS for frame in frames]
    lengths[-1] = _LAST_MS
    width = min(_WIDTH, max(grid.width for grid in grids))
    while True:
        height = min(_MAX_HEIGHT, max(round(g.height * width / g.width) for g in grids))
        shots = [_shot(g, f, width, height) for g, f in zip(grids, frames, strict=True)]
        for quality in (85, 60):
            content = _encoded(shots, lengths, quality)
            if len(content) <= _LIMIT:
                return content
        width = width * 3 // 4


def _encoded(shots: Sequence[Image.Image], lengths: list[int], quality: int) -> bytes:
    buffer = io.BytesIO()
    shots[0].save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=shots[1:],
        duration=lengths,
        loop=0,
        quality=quality,
        method=2,
    )
    return buffer.getvalue()


def _shot(grid: Image.Image, frame: Frame, width: int, height: int) -> Image.Image:
    """A grid at the animation's width, cut off below where it is too long, over its caption."""
    shot = Image.new("RGB", (width, height + _STRIP), _PAPER)
    scaled = grid.resize((width, round(grid.height * width / grid.width)), Image.Resampling.LANCZOS)
    shot.paste(scaled.crop((0, 0, width, min(height, scaled.height))), (0, 0))
    draw = ImageDraw.Draw(shot)
    draw.rectangle((0, height, round(width * frame.done), height + 3), fill=_BAR)
    draw.text(
        (10, height + _STRIP / 2 + 2),
        frame.caption,
        fill=_INK,
        font=ImageFont.load_default(15),
        anchor="lm",
    )
    return shot
