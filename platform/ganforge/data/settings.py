"""Which pictures are used, and what is done to them."""

from typing import Literal

from ganforge.settings import Strict, setting


class DataSettings(Strict):
    """Which pictures, and what is done to them."""

    root: str | None = setting(None, "folder of images; none: data.source", weights=False)
    source: Literal[
        "photographs",
        "digits",
        "torchvision:MNIST",
        "torchvision:FashionMNIST",
        "torchvision:CIFAR10",
        "torchvision:CelebA",
        "torchvision:EuroSAT",
    ] = setting("photographs", "pictures used where data.root is none", weights=False)
    download: bool = setting(False, "fetch a torchvision data set that is not here", weights=False)
    view: Literal["resize", "crop"] = setting(
        "resize", "whole pictures at the stage's size, or random crops of the originals"
    )
    max_side: int | None = setting(
        None,
        "larger pictures are reduced to this longer side for view = crop; none: as they are",
        ge=16,
    )
    smaller: Literal["refuse", "skip", "enlarge"] = setting(
        "refuse", "what is done with pictures smaller than the last stage needs", weights=False
    )
    horizontal_flip: bool | None = setting(
        None, "mirror half of the samples; none: photographs yes, digits and clothes no"
    )
    low_resolution_from: Literal["original", "target"] = setting(
        "target", "what the low resolution of view = resize is computed from"
    )
    cache_directory: str | None = setting(
        None, "where packed pictures are kept; none: the user's cache", weights=False
    )
    cache_bytes: int = setting(
        16 * 2**30, "packed pictures larger than this are decoded on demand", ge=0, weights=False
    )


class ValidationSettings(Strict):
    """The pictures held out, and what is measured on them."""

    fraction: float = setting(0.1, "part of the pictures that is held out", gt=0, lt=1)
    pictures: int = setting(
        16, "pictures measured at most, the first of those held out", ge=1, weights=False
    )
    max_side: int = setting(
        512, "longer sides are cut to their centre, in pixels", ge=32, weights=False
    )
    every_epochs: int | None = setting(
        None, "also measure each so many epochs; none: at stage ends", ge=1, weights=False
    )
    sliced_wasserstein: bool = setting(
        True, "sliced Wasserstein distance between sets of pictures", weights=False
    )
    fid_network: str = setting(
        "auto",
        "features of FID and KID: proxy, inception (beside the proxy), none; auto: if it is here",
        pattern=r"^(auto|proxy|inception|none|sha256:[0-9a-f]{64})$",
        weights=False,
    )
    samples: int = setting(6, "pictures in the sample grid", ge=1, le=64, weights=False)
