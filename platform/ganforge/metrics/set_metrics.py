"""Metrics of sets of images: what a generator makes, compared with real images."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor

from ganforge.assets import Assets
from ganforge.data.base import ImageSettings
from ganforge.metrics.features import InceptionFeatures, RandomFeatures
from ganforge.metrics.fid_kid import Distances
from ganforge.metrics.ms_ssim import Diversity
from ganforge.metrics.swd import SlicedWasserstein
from ganforge.networks.efficientnet_lite import EfficientNetLite0, is_efflite0

Description = TypeVar("Description")

#: What `System.set_metrics` may name.
SET_METRICS = ("swd", "ms_ssim", "fid", "kid", "diversity")


class SetMetric(Protocol[Description]):
    """Images are described chunk by chunk, each by one worker; the process that has the
    descriptions of all chunks, in their order, compares the sets. Any number of workers gives the
    same bits."""

    def describe(self, images: Tensor, index: Tensor) -> Description:
        """What is kept of a chunk, (N, C, H, W) in [-1, 1] numbered (N,)."""
        ...

    def compare(self, real: Sequence[Description], fake: Sequence[Description]) -> dict[str, float]:
        """Metrics by name; none where the images are too small or too few."""
        ...


def chosen(
    names: Sequence[str], settings: ImageSettings, seed: int, assets: Assets
) -> list[SetMetric[Any]]:
    """The metrics that a system names and its settings do not switch off."""
    unknown = sorted(set(names) - set(SET_METRICS))
    if unknown:
        known = ", ".join(SET_METRICS)
        raise ValueError(f"set_metrics: unknown '{unknown[0]}'; there are {known}")
    held_out = settings.validation
    found: list[SetMetric[Any]] = []  # each compares its own descriptions alone
    if "swd" in names and held_out.sliced_wasserstein:
        found.append(SlicedWasserstein(seed))
    if "ms_ssim" in names:
        found.append(Diversity())
    if {"fid", "kid", "diversity"} & set(names) and held_out.fid_network != "none":
        found.append(Distances(RandomFeatures(), names, "_proxy"))
        if held_out.fid_network in assets:
            found.append(_distances(assets[held_out.fid_network], names))
    return found


def _distances(tensors: Mapping[str, Tensor], names: Sequence[str]) -> Distances:
    """FID and KID over the network whose tensors these are."""
    if is_efflite0(tensors):
        wanted = (*names, "precision_recall")
        return Distances(EfficientNetLite0(tensors), wanted, "_efflite0", "fd")
    return Distances(InceptionFeatures(tensors), names)
