"""Figures of sets of images: what a generator makes beside what is real."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from ganforge.assets import Assets
from ganforge.layers import upsample_nearest
from ganforge.metrics.features import Distances, InceptionFeatures, RandomFeatures
from ganforge.metrics.ms_ssim import Diversity
from ganforge.metrics.swd import PATCH, descriptors, sliced_wasserstein

#: What `System.set_metrics` may name.
SET_METRICS = ("swd", "ms_ssim", "fid", "kid")


class SetMetric(Protocol):
    """Images are described chunk by chunk, each by one worker; whoever has the descriptions of
    all chunks, in their order, compares the sets. Any number of workers gives the same bits."""

    def describe(self, images: Tensor, index: Tensor) -> Any:
        """What is kept of a chunk, (N, C, H, W) in [-1, 1] numbered (N,)."""
        ...

    def compare(self, real: Sequence[Any], fake: Sequence[Any]) -> dict[str, float]:
        """Figures by name; none where the images are too small or too few."""
        ...


class SlicedWasserstein:
    """Sliced Wasserstein distance of each level of a Laplacian pyramid, and their mean as "swd".

    Images too small for a patch, the first of a growing system, are enlarged by nearest neighbour
    first, so that every stage has the figure.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def describe(self, images: Tensor, index: Tensor) -> list[list[Tensor]]:
        shown = images.float().cpu()
        if min(shown.shape[-2:]) < PATCH:
            shown = upsample_nearest(shown, -(-PATCH // min(shown.shape[-2:])))
        return [
            descriptors(image, self.seed, "swd", number)
            for image, number in zip(shown, index.tolist(), strict=True)
        ]

    def compare(
        self, real: Sequence[list[list[Tensor]]], fake: Sequence[list[list[Tensor]]]
    ) -> dict[str, float]:
        first, second = ([one for chunk in chunks for one in chunk] for chunks in (real, fake))
        found = sliced_wasserstein(first, second, self.seed, "swd")
        return {f"swd_{n}" if n != "mean" else "swd": value for n, value in found.items()}


def chosen(names: Sequence[str], settings: Any, seed: int, assets: Assets) -> list[SetMetric]:
    """The figures that a system names and its settings do not switch off."""
    unknown = sorted(set(names) - set(SET_METRICS))
    if unknown:
        known = ", ".join(SET_METRICS)
        raise ValueError(f"set_metrics: unknown '{unknown[0]}'; there are {known}")
    held_out = settings.validation
    found: list[SetMetric] = []
    if "swd" in names and held_out.sliced_wasserstein:
        found.append(SlicedWasserstein(seed))
    if "ms_ssim" in names:
        found.append(Diversity())
    if {"fid", "kid"} & set(names) and held_out.fid_network != "none":
        found.append(Distances(RandomFeatures(), names, "_proxy"))
        if held_out.fid_network in assets:
            found.append(Distances(InceptionFeatures(assets[held_out.fid_network]), names))
    return found
