"""Low resolution as cameras and files make it: what is drawn for a sample, and its steps in order.

    pass     blur, reduction, noise, compression
    second   the same again
    end      reduction to the low resolution, sinc, and perhaps the last compression only here

The pipeline is that of Real-ESRGAN (arXiv:2107.10833, figure 2); between steps images have 8 bits.
"""

from collections.abc import Sequence
from math import ceil, pi

from ganforge.data.degradation_settings import Degradation, Pass
from ganforge.data.degradation_steps import (
    Anisotropic,
    Compression,
    Gaussian,
    GaussianNoise,
    Local,
    PoissonNoise,
    Resize,
    Sinc,
    Step,
)
from ganforge.data.images import Pixels, to_image, to_pixels
from ganforge.data.sampling import between, chance
from ganforge.draws import Draws, derive

#: Low-resolution pixels around a window that are degraded with it, at least, so that it has no
#: border.
MARGIN = 4

Part = int | str


def degrade(target: Pixels, scale: int, how: Degradation, *parts: Part) -> Pixels:
    """The low resolution of (H, W, C) pixels: (H/s, W/s, C). What is drawn is a function of
    `parts` alone."""
    return _done(target, scale, steps(how, *parts))


def degraded_window(
    target: Pixels, top: int, left: int, side: int, scale: int, how: Degradation, *parts: Part
) -> Pixels:
    """The window of `side` at (top, left), in low-resolution pixels, of an image that is degraded
    around it too: (side, side, C)."""
    drawn = steps(how, *parts)
    margin = margin_of(drawn, scale) if how.extended else MARGIN
    height, width = target.shape[0] // scale, target.shape[1] // scale
    above, before = min(top, margin), min(left, margin)
    below, after = min(top + side + margin, height), min(left + side + margin, width)
    around = target[(top - above) * scale : below * scale, (left - before) * scale : after * scale]
    low = _done(around, scale, drawn)
    return low[above : above + side, before : before + side]


def steps(how: Degradation, *parts: Part) -> list[Step]:
    """What is done to one sample, in order: a function of `parts` alone."""
    found = _pass(how, *parts)
    draws = Draws(*parts, "end")
    if chance(draws, how.second.probability):
        found += _pass(how.second, *parts, "second")
    filters = (how.second if how.second.probability > 0 else how).filters
    end: list[Step] = [Resize(1.0, filters[draws.below(len(filters))])]
    if chance(draws, how.last_sinc):
        end.append(Sinc(between(draws, how.last_cutoff)))
    if chance(draws, how.compressed_last) and isinstance(found[-1], Compression):
        end.append(found.pop())
    return found + end


def margin_of(drawn: Sequence[Step], scale: int) -> int:
    """Low-resolution pixels around a window that can change it, at least MARGIN. The blocks of
    compressed files, which lie anywhere, are not counted."""
    size, reach = float(scale), 0.0  # sides of the image, in those of the low resolution
    for step in drawn:
        if isinstance(step, Resize):
            if step.size != size:
                reach += step.support / min(step.size, size)
            size = step.size
        else:
            reach += step.radius / size
    return max(MARGIN, ceil(reach))


def _done(target: Pixels, scale: int, drawn: Sequence[Step]) -> Pixels:
    image = to_image(target)
    width, height = image.width // scale, image.height // scale
    for step in drawn:
        image = step(image, width, height) if isinstance(step, Resize) else step(image)
    return to_pixels(image)


def _pass(how: Pass, *parts: Part) -> list[Step]:
    """The steps of one pass. Each has draws of its own: a setting of one leaves the others."""
    draws = Draws(*parts, "degradation")
    sigma = between(draws, how.blur)
    deviation = between(draws, how.noise)
    quality = round(between(draws, how.jpeg))
    found: list[Step] = []
    if blur := _blur(how, sigma, Draws(*parts, "blur")):
        found.append(blur)
    found.append(_reduction(how, Draws(*parts, "resize")))
    draws = Draws(*parts, "kind of noise")
    if chance(draws, how.noise_probability) and deviation > 0:
        kind = PoissonNoise if chance(draws, how.poisson) else GaussianNoise
        found.append(kind(deviation, chance(draws, how.grey_noise), derive(*parts, "noise")))
    draws = Draws(*parts, "compression")
    if chance(draws, how.compression_probability) and quality < 100:
        found.append(Compression("WEBP" if chance(draws, how.webp) else "JPEG", quality))
    return found


def _blur(how: Pass, sigma: float, draws: Draws) -> Local | None:
    if not chance(draws, how.blur_probability):
        return None
    kind = between(draws, (0, 1))
    if kind < how.sinc:
        return Sinc(between(draws, how.cutoff))
    if kind < how.sinc + how.anisotropic and max(how.blur) > 0:
        return Anisotropic(sigma, between(draws, how.blur), between(draws, (0, pi)))
    return Gaussian(sigma) if sigma > 0 else None


def _reduction(how: Pass, draws: Draws) -> Resize:
    resized = chance(draws, how.resize_probability)
    size = between(draws, how.resize) if resized else 1.0
    return Resize(size, how.filters[draws.below(len(how.filters))])
