"""Frozen VGG-19 features, cut at a named layer (arXiv:1409.1556).

Weights follow torchvision's convention: images in [0, 1] with ImageNet's mean and deviation.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
#: Convolutions of VGG-19 by torchvision's number of their module, and where pooling stands.
_BLOCKS = (2, 2, 4, 4, 4)


def layer_numbers() -> dict[str, int]:
    """Torchvision's module number of each convolution: {"block1_conv1": 0, …}."""
    numbers, number = {}, 0
    for block, count in enumerate(_BLOCKS, start=1):
        for conv in range(1, count + 1):
            numbers[f"block{block}_conv{conv}"] = number
            number += 2  # the convolution and its ReLU
        number += 1  # the pooling
    return numbers


def tensor_names(layer: str) -> list[str]:
    """The tensors, by torchvision's names, that features at `layer` are computed from."""
    numbers = layer_numbers()
    if layer not in numbers:
        raise ValueError(f"layer = {layer!r}: VGG-19 has {', '.join(numbers)}")
    return [
        f"features.{number}.{part}"
        for number in numbers.values()
        if number <= numbers[layer]
        for part in ("weight", "bias")
    ]


class VGGFeatures(nn.Module):
    """Features after `layer` and its ReLU (or before it): images (N, 3, H, W) in [-1, 1].

    "block5_conv4" after its ReLU is SRGAN's VGG54 (torchvision's features[:36]), before it ESRGAN's
    (features[:35]).

    `tensors` needs the keys features.K.weight and features.K.bias of the layers up to `layer`.
    Parameters are frozen; gradients flow to the images.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        layer: str = "block1_conv2",
        *,
        before_activation: bool = False,
    ):
        super().__init__()
        missing = [key for key in tensor_names(layer) if key not in tensors]
        if missing:
            raise ValueError(
                f"layer = {layer}: the VGG-19 file has no {missing[0]}; "
                "give a file that holds all layers up to it"
            )
        numbers = layer_numbers()
        self.names = [n for n, number in numbers.items() if number <= numbers[layer]]
        self.before_activation = before_activation
        for name in self.names:
            for part in ("weight", "bias"):
                tensor = tensors[f"features.{numbers[name]}.{part}"]
                self.register_buffer(f"{name}_{part}", tensor.clone())
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).reshape(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        images = images.expand(-1, 3, -1, -1)  # grey images are seen as grey RGB
        features = ((images + 1) / 2 - self.mean) / self.deviation
        for position, name in enumerate(self.names):
            if name.endswith("conv1") and not name.startswith("block1"):
                features = F.max_pool2d(features, 2)
            weight, bias = self.get_buffer(f"{name}_weight"), self.get_buffer(f"{name}_bias")
            features = F.conv2d(features, weight, bias, padding=1)
            if not (self.before_activation and position == len(self.names) - 1):
                features = F.relu(features)
        return features
