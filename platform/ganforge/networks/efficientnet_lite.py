"""Frozen features of EfficientNet-Lite0 (arXiv:1905.11946, without squeeze-and-excitation and with
ReLU6), at five depths and pooled.

Weights are those that a Python package carries, under its names. Images are normalised with
ImageNet's mean and deviation, as the package says; padding is TensorFlow's `SAME`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganforge.networks.vgg import DEVIATION, MEAN

#: of each group of blocks: how many, kernel, stride of the first, channels
_GROUPS = (
    (1, 3, 1, 16),
    (2, 3, 2, 24),
    (2, 5, 2, 40),
    (3, 3, 2, 80),
    (3, 5, 1, 112),
    (4, 5, 2, 192),
    (1, 3, 1, 320),
)
#: the blocks after which the side is halved next, and the last one: features at 1/2 … 1/32
DEPTHS = (0, 2, 4, 10, 15)
_EPSILON = 1e-3
#: of the pooled features
FEATURES = 1280


def _blocks() -> list[tuple[int, int]]:
    """Kernel and stride of each of the sixteen blocks."""
    return [
        (kernel, stride if number == 0 else 1)
        for count, kernel, stride, _ in _GROUPS
        for number in range(count)
    ]


class EfficientNetLite0(nn.Module):
    """Features of images (N, 1 or 3, H, W) in [-1, 1], H and W at least 32.

    `tensors` needs the names of the package's state dict. Parameters are frozen; gradients flow to
    the images.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        if missing := [name for name in tensor_names() if name not in tensors]:
            raise ValueError(f"an EfficientNet-Lite0 file has {missing[0]}, and this one does not")
        for name in tensor_names():
            self.register_buffer(name.replace(".", "-"), tensors[name].clone())
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).reshape(1, 3, 1, 1))

    def depths(self, images: Tensor) -> list[Tensor]:
        """Features at `DEPTHS`: (N, 16, H/2, W/2), (N, 24, H/4, …), 40, 112 and (N, 320, H/32, …),
        sides rounded up."""
        return self._run(images)[1]

    def forward(self, images: Tensor) -> Tensor:
        """The last features, averaged over the image: (N, 1280)."""
        last = self._normed(self._conv(self._run(images)[0], "_conv_head"), "_bn1")
        return F.relu6(last).mean(dim=(2, 3))

    def _run(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        images = images.expand(-1, 3, -1, -1)  # grey images are seen as grey RGB
        found = ((images + 1) / 2 - self.mean) / self.deviation
        found = F.relu6(self._normed(self._conv(found, "_conv_stem", 2), "_bn0"))
        depths = []
        for number, (_, stride) in enumerate(_blocks()):
            found = self._block(found, f"_blocks.{number}", stride, expands=number > 0)
            if number in DEPTHS:
                depths.append(found)
        return found, depths

    def _block(self, source: Tensor, name: str, stride: int, expands: bool) -> Tensor:
        found = source
        if expands:
            found = F.relu6(self._normed(self._conv(found, f"{name}._expand_conv"), f"{name}._bn0"))
        found = self._conv(found, f"{name}._depthwise_conv", stride, groups=found.shape[1])
        found = F.relu6(self._normed(found, f"{name}._bn1"))
        found = self._normed(self._conv(found, f"{name}._project_conv"), f"{name}._bn2")
        return found + source if found.shape == source.shape and stride == 1 else found

    def _conv(self, images: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = self._tensor(f"{name}.weight")
        pads = [_same(side, weight.shape[-1], stride) for side in reversed(images.shape[-2:])]
        images = F.pad(images, [pad for pair in pads for pad in pair])
        return F.conv2d(images, weight, stride=stride, groups=groups)

    def _normed(self, images: Tensor, name: str) -> Tensor:
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, variance, weight, bias = (self._tensor(f"{name}.{part}") for part in parts)
        return F.batch_norm(images, mean, variance, weight, bias, eps=_EPSILON)

    def _tensor(self, name: str) -> Tensor:
        return self.get_buffer(name.replace(".", "-"))


def _same(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's `SAME`: the output has ceil(side / stride) pixels, the odd one is at the end."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def is_efflite0(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are this network's."""
    return "_conv_head.weight" in tensors


def tensor_names() -> list[str]:
    """The tensors that the features are computed from, by the package's names."""
    convs = [("_conv_stem", "_bn0"), ("_conv_head", "_bn1")]
    for number in range(len(_blocks())):
        name = f"_blocks.{number}"
        if number:
            convs.append((f"{name}._expand_conv", f"{name}._bn0"))
        convs.append((f"{name}._depthwise_conv", f"{name}._bn1"))
        convs.append((f"{name}._project_conv", f"{name}._bn2"))
    norms = ("weight", "bias", "running_mean", "running_var")
    return [
        name
        for conv, norm in convs
        for name in (f"{conv}.weight", *(f"{norm}.{part}" for part in norms))
    ]
