"""Which images are used, and what is done to them."""

import os
from typing import Literal, Self

from pydantic import model_validator

from ganforge.data.degradation_settings import Degradation
from ganforge.settings import Strict, setting, shown


def _is_path(text: str) -> bool:
    """Whether a file could be called so. An empty text is no path: it would be where one stands."""
    try:
        return bool(text.strip()) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


class DataSettings(Strict):
    """Which images, and what is done to them."""

    root: str | None = setting(None, "folder of images; none: data.source", weights=False)
    roots: tuple[str, ...] = setting(
        (), "several folders of images, in place of data.root", weights=False, added=True
    )
    weights: tuple[float, ...] = setting(
        (),
        "parts of an epoch that the folders of data.roots have; none: each image counts alike",
        added=True,
    )
    source: Literal[
        "photographs",
        "digits",
        "torchvision:MNIST",
        "torchvision:FashionMNIST",
        "torchvision:CIFAR10",
        "torchvision:CelebA",
        "torchvision:EuroSAT",
    ] = setting("photographs", "images used where data.root is none", weights=False)
    download: bool = setting(
        False, "download a torchvision data set that is not on this machine", weights=False
    )
    view: Literal["resize", "crop"] = setting(
        "resize", "whole images at the stage's size, or random crops of the originals"
    )
    max_side: int | None = setting(
        None,
        "view = crop: larger images are first reduced to this longer side; none: not reduced",
        ge=16,
    )
    smaller: Literal["refuse", "skip", "enlarge"] = setting(
        "refuse", "what to do with images smaller than the last stage needs", weights=False
    )
    strict: bool = setting(
        False,
        "refuse images that are converted, skipped or copies of others, not only list them",
        weights=False,
    )
    horizontal_flip: bool | None = setting(
        None, "mirror half of the samples; none: photographs yes, digits and clothes no"
    )
    rotate: bool = setting(False, "turn samples by 0, 90, 180 or 270 degrees")
    degradation: Degradation = setting(
        Degradation(), "what is done to low-resolution images besides the reduction, all at once"
    )
    low_resolution: str | None = setting(
        None,
        "folder of the low-resolution images that belong to the images; none: they are reduced",
        weights=False,
        added=True,
    )
    low_resolution_name: str = setting(
        "{name}",
        "name of the low-resolution image of {name}, such as {name}x2, without its suffix",
        weights=False,
        added=True,
    )
    low_resolution_from: Literal["original", "target"] = setting(
        "target", "what the low resolution of view = resize is computed from"
    )
    cache_directory: str | None = setting(
        None, "where packed images are kept; none: the user's cache", weights=False
    )
    cache_bytes: int = setting(
        16 * 2**30, "packed images larger than this are decoded on demand", ge=0, weights=False
    )

    @model_validator(mode="after")
    def _check_paths(self) -> Self:
        named = {
            "root": self.root,
            "low_resolution": self.low_resolution,
            "cache_directory": self.cache_directory,
        }
        problems = [
            f"{key} = {shown(path)}: must be the path of a folder, or none"
            for key, path in named.items()
            if path is not None and not _is_path(path)
        ]
        problems += [
            f"roots.{number} = {shown(path)}: must be the path of a folder"
            for number, path in enumerate(self.roots)
            if not _is_path(path)
        ]
        if self.root is not None and self.roots:
            problems.append(
                f"roots = {shown(list(self.roots))}: root = {shown(self.root)} names a folder too; "
                "give one of the two"
            )
        problems += [*self._weight_problems(), *self._pair_problems()]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of training images, in order; none of images that come with packages."""
        return self.roots if self.root is None else (self.root,)

    @property
    def given_pairs(self) -> bool:
        """Whether low-resolution images are the user's own, and not reduced from the others."""
        return self.low_resolution is not None or self.low_resolution_name != "{name}"

    def _pair_problems(self) -> list[str]:
        """What contradicts low-resolution images that are given."""
        if not self.given_pairs:
            return []
        name, problems = self.low_resolution_name, []
        if name.count("{name}") != 1:
            problems.append(
                f"low_resolution_name = {shown(name)}: must have {{name}} once, such as {{name}}x2"
            )
        if self.low_resolution is not None and len(self.roots) > 1:
            problems.append(
                f"low_resolution = {shown(self.low_resolution)}: is one folder, and roots names "
                f"{len(self.roots)}; put low-resolution images into the folders of the others, and "
                "give low_resolution_name"
            )
        said = f"low_resolution = {shown(self.low_resolution)}: "
        if self.low_resolution is None:
            said = f"low_resolution_name = {shown(name)}: "
        if self.view != "crop":
            problems.append(f"{said}pairs are cut, not resized; set data.view = crop")
        if self.max_side is not None:
            problems.append(f"{said}pairs are not reduced; set data.max_side = none")
        if self.degradation.active:
            problems.append(f"{said}given images are not degraded; leave data.degradation out")
        return problems

    def _weight_problems(self) -> list[str]:
        if self.weights and len(self.weights) != len(self.roots):
            return [
                f"weights = {shown(list(self.weights))}: must be one number for each folder of "
                f"data.roots, which names {len(self.roots)}; change one of the two"
            ]
        return [
            f"weights.{number} = {weight}: must be above 0; leave the folder out instead"
            for number, weight in enumerate(self.weights)
            if weight <= 0
        ]


class TranslationSettings(DataSettings):
    """Images of two kinds: what a generator is given, and what it should make."""

    jitter: int | None = setting(
        None,
        "view = resize: images are resized to this side, and a window of the stage's is taken",
        ge=4,
    )


class PairedSettings(TranslationSettings):
    """Aligned pairs of images."""

    pairing: Literal["auto", "folders", "side_by_side", "edges"] = setting(
        "auto",
        "folders source/ and target/, both images in one file, or edges of photographs; "
        "auto: folders, and edges of the built-in photographs",
    )
    split_column: int | None = setting(
        None, "pairing = side_by_side: where files are divided; none: in the middle", ge=1
    )
    source_side: Literal["left", "right"] = setting(
        "left", "pairing = side_by_side: which half is given to the generator"
    )
    edge_sigma: float = setting(
        2.0, "pairing = edges: sigma of the Gaussian before the edges are found, in pixels", gt=0
    )
    colour_jitter: float = setting(
        0.0, "part of the sources whose brightness, contrast and saturation change", ge=0, le=1
    )


class ValidationSettings(Strict):
    """The images held out, and what is measured on them."""

    fraction: float = setting(0.1, "part of the images that is held out", gt=0, lt=1)
    root: str | None = setting(
        None,
        "folder of validation images; none: a part of the training images is held out",
        weights=False,
        added=True,
    )
    low_resolution: str | None = setting(
        None,
        "folder of the low-resolution images of validation.root",
        weights=False,
        added=True,
    )
    images: int = setting(
        16, "images measured at most, the first of those held out", ge=1, weights=False
    )
    max_side: int = setting(
        512, "longer sides are cut to their centre, in pixels", ge=32, weights=False
    )
    every_epochs: int | None = setting(
        None, "also measure every so many epochs; none: only at stage ends", ge=1, weights=False
    )
    sliced_wasserstein: bool = setting(
        True, "sliced Wasserstein distance between sets of images", weights=False
    )
    fid_network: str = setting(
        "auto",
        "features of FID and KID: proxy, inception or efflite0 (in addition to the proxy), none; "
        "auto: inception if its file is on this machine; efflite0 also compares images in pairs",
        pattern=r"^(auto|proxy|inception|efflite0|none|sha256:[0-9a-f]{64})$",
        weights=False,
    )
    samples: int = setting(6, "images in the sample grid", ge=1, le=64, weights=False)

    @model_validator(mode="after")
    def _check_root(self) -> Self:
        problems = [
            f"{key} = {shown(path)}: must be the path of a folder, or none"
            for key, path in (("root", self.root), ("low_resolution", self.low_resolution))
            if path is not None and not _is_path(path)
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return self
