"""What is done to low-resolution images besides the bicubic reduction, and presets of it.

After Real-ESRGAN (arXiv:2107.10833): blur, resizing, noise and compression, then all of it a second
time, and a sinc filter.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from ganforge.settings import Strict, setting, shown

Filter = Literal["bicubic", "bilinear", "area", "lanczos"]

_RANGES = {
    "blur": (0, 32),
    "cutoff": (0.1, 1),
    "last_cutoff": (0.1, 1),
    "resize": (0.25, 8),
    "noise": (0, 128),
    "jpeg": (1, 100),
}

_KINDS = {"anisotropic": 0.28, "sinc": 0.1}
_NOISES = {"poisson": 0.5, "grey_noise": 0.4}
_ALL = ("bicubic", "bilinear", "area", "lanczos")
_PAPER = ("bicubic", "bilinear", "area")

#: What may be given in place of the group, such as data.degradation = mild.
DEGRADATIONS: Mapping[str, Mapping[str, Any]] = {
    "bicubic": {},
    # a lens, a sensor and the page that shows the image
    "mild": {
        "blur": (0.2, 1.5),
        "blur_probability": 0.8,
        "anisotropic": 0.3,
        "resize": (0.8, 2.0),
        "resize_probability": 0.5,
        "filters": _ALL,
        "noise": (0.0, 6.0),
        "noise_probability": 0.6,
        **_NOISES,
        "jpeg": (60.0, 95.0),
        "compression_probability": 0.8,
        "webp": 0.25,
        "compressed_last": 0.75,
    },
    # second order: section 3.2 and the published training settings. Sizes are in low-resolution
    # sides: 0.15 to 1.5 of the target at ×4 would be 0.6 to 6, and 0.3 for the second; a window of
    # 32 pixels is left with little at 0.3, and at more than the target's side nothing is lost.
    "strong": {
        "blur": (0.2, 3.0),
        **_KINDS,
        "resize": (0.6, 4.0),
        "resize_probability": 0.9,
        "filters": _PAPER,
        "noise": (1.0, 30.0),
        **_NOISES,
        "jpeg": (30.0, 95.0),
        "second": {
            "probability": 1.0,
            "blur": (0.2, 1.5),
            "blur_probability": 0.8,
            **_KINDS,
            "resize": (0.5, 1.2),
            "resize_probability": 0.7,
            "filters": _PAPER,
            "noise": (1.0, 25.0),
            **_NOISES,
            "jpeg": (30.0, 95.0),
        },
        "last_sinc": 0.8,
        "compressed_last": 0.5,
    },
}


class Pass(Strict):
    """Blur, resizing, noise and compression, each by itself on or off. Every value is drawn evenly
    from its range, sample by sample."""

    #: ranges that may be given from the larger to the smaller limit
    _either_way: ClassVar[tuple[str, ...]] = ()

    blur: tuple[float, float] = setting(
        (0.0, 0.0),
        "sigma of a Gaussian before the reduction, in target pixels (second: of what is there)",
    )
    noise: tuple[float, float] = setting(
        (0.0, 0.0), "deviation of noise after it, in levels of 0 to 255; of Poisson noise, at 128"
    )
    jpeg: tuple[float, float] = setting(
        (100.0, 100.0), "quality of JPEG compression after that; 100: none"
    )
    blur_probability: float = setting(
        1.0, "part of the samples that are blurred", ge=0, le=1, added=True
    )
    anisotropic: float = setting(
        0.0,
        "part of the blurs with two sigmas, drawn each, and a drawn angle",
        ge=0,
        le=1,
        added=True,
    )
    sinc: float = setting(
        0.0, "part of the blurs that are a sinc filter, which rings", ge=0, le=1, added=True
    )
    cutoff: tuple[float, float] = setting(
        (0.33, 1.0), "highest frequency that a sinc filter keeps, as a part of all", added=True
    )
    resize: tuple[float, float] = setting(
        (1.0, 1.0), "side after the blur, where it is resized, in low-resolution sides", added=True
    )
    resize_probability: float = setting(
        1.0,
        "part of the samples that are resized so; the others are reduced at once",
        ge=0,
        le=1,
        added=True,
    )
    filters: tuple[Filter, ...] = setting(
        ("bicubic",), "filters of the reduction, one is drawn", added=True
    )
    noise_probability: float = setting(
        1.0, "part of the samples with noise", ge=0, le=1, added=True
    )
    poisson: float = setting(
        0.0,
        "part of the noises that are Poisson's, not Gaussian: variance grows with the level",
        ge=0,
        le=1,
        added=True,
    )
    grey_noise: float = setting(
        0.0, "part of the noises that are the same in all channels", ge=0, le=1, added=True
    )
    compression_probability: float = setting(
        1.0, "part of the samples compressed", ge=0, le=1, added=True
    )
    webp: float = setting(
        0.0, "part of the compressions that are WebP, not JPEG", ge=0, le=1, added=True
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = [
            f"{key}.{number} = {limit}: must be from {least} to {most}"
            for key, (least, most) in _RANGES.items()
            for number, limit in enumerate(getattr(self, key, ()))
            if not least <= limit <= most
        ]
        problems += [
            f"{key}.0 = {low}: must be at most {key}.1 ({high}); exchange the two"
            for key in _RANGES
            for low, high in [getattr(self, key, (0, 0))]
            if low > high and key not in self._either_way
        ]
        if self.anisotropic + self.sinc > 1 and not problems:
            problems.append(
                f"anisotropic = {self.anisotropic}: must be at most 1 with sinc ({self.sinc}), "
                "since a blur is of one kind; lower one of the two"
            )
        if not self.filters:
            problems.append(
                f"filters = {shown(list(self.filters))}: must have at least one; give bicubic"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def active(self) -> bool:
        """Whether it does anything else than the bicubic reduction to any sample."""
        return (
            (self.blur_probability > 0 and (max(self.blur) > 0 or self.sinc > 0))
            or (self.resize_probability > 0 and self.resize != (1, 1))
            or self.filters != ("bicubic",)
            or (self.noise_probability > 0 and max(self.noise) > 0)
            or (self.compression_probability > 0 and min(self.jpeg) < 100)
        )


class SecondPass(Pass):
    """The same again, to what the first made: sigma counts the pixels of that."""

    probability: float = setting(
        0.0, "part of the samples that are degraded a second time", ge=0, le=1
    )


class Degradation(Pass):
    """What is done to low-resolution images besides the bicubic reduction; nothing by default."""

    by_name: ClassVar[Mapping[str, Mapping[str, Any]]] = DEGRADATIONS
    # recorded settings may have these so; a value between two limits is drawn from either
    _either_way: ClassVar[tuple[str, ...]] = ("blur", "noise", "jpeg")

    second: SecondPass = setting(SecondPass(), "the same once more", added=True)
    last_sinc: float = setting(
        0.0, "part of the samples with a sinc filter at the low resolution", ge=0, le=1, added=True
    )
    last_cutoff: tuple[float, float] = setting(
        (0.33, 1.0), "highest frequency that this filter keeps, as a part of all", added=True
    )
    compressed_last: float = setting(
        0.0,
        "part of the samples whose last compression comes at the very end",
        ge=0,
        le=1,
        added=True,
    )

    @property
    def active(self) -> bool:
        """Whether it does anything else than the bicubic reduction to any sample."""
        twice = self.second.probability > 0 and self.second.active
        return super().active or twice or self.last_sinc > 0

    @property
    def extended(self) -> bool:
        """Whether anything is given that came after blur, noise and compression of one kind."""
        return self != Degradation(blur=self.blur, noise=self.noise, jpeg=self.jpeg)
