"""A network over a whole image, or over tiles of it that come out as the same pixels."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ganforge.reach import Reach, reach
from ganforge.settings import SettingsError

#: Layers whose every output depends on the whole image.
_GLOBAL = (
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.MultiheadAttention,
    nn.Linear,
)
#: Torch convolves smaller images by another algorithm, with other last bits (up to 1e-6).
_LEAST = 64
_PROBE = 32
#: What is held at once, by the largest layer's input and output together (2.4 measured).
_TEMPORARIES = 3


class Piece(NamedTuple):
    """(C, h, w) pixels of the target in [-1, 1], the first of them at row `top`, column `left`."""

    top: int
    left: int
    pixels: Tensor


def find_reach(network: nn.Module, scale: int) -> Reach:
    """How far around a source pixel its target pixels depend on the source.

    SettingsError, with the reason, where that is everywhere or unknown.
    """
    receptive_field = getattr(network, "receptive_field", None)
    if receptive_field is not None:
        return reach(receptive_field, scale)
    layers = {type(m).__name__ for m in network.modules() if isinstance(m, _GLOBAL)}
    reason = (
        f"with {', '.join(sorted(layers))} each of its pixels depends on the whole image"
        if layers
        else "its network does not say on which part of the image a pixel depends (`sees`)"
    )
    raise SettingsError(f"--tile: not with this model, because {reason}; leave --tile away")


@torch.inference_mode()
def upscale(network: nn.Module, image: Tensor) -> Tensor:
    """What a deployed generator makes of (C, H, W) or (N, C, H, W) in [-1, 1]; same range out.

    The network is put in evaluation mode. One image at a time goes to its device, so that memory
    does not grow with N; the result is float32 on the device of `image`.
    """
    if image.ndim not in (3, 4):
        raise ValueError(f"an image of shape {tuple(image.shape)}: give (C, H, W) or (N, C, H, W)")
    if not len(image):
        raise ValueError("no image: N is 0")
    made = [
        _run(network, one).to(image.device, torch.float32)
        for one in (image if image.ndim == 4 else image[None])
    ]
    return torch.stack(made) if image.ndim == 4 else made[0]


@torch.inference_mode()
def pieces(network: nn.Module, image: Tensor, scale: int, tile: int | None) -> Iterator[Piece]:
    """What the network makes of (C, H, W) in [-1, 1], tile by tile of `tile` source pixels a side.

    A tile is cut out with as much around it as its pixels depend on: zeros outside the image are
    met only where they are met by the whole. Without `tile` there is one piece. Pieces are in the
    network's precision and on its device.
    """
    if tile is None:
        yield Piece(0, 0, _run(network, image))
        return
    around = find_reach(network, scale)
    height, width = image.shape[-2:]
    for top in range(0, height, tile):
        bottom = min(top + tile, height)
        first_row, last_row = _window(top, bottom, height, around)
        for left in range(0, width, tile):
            right = min(left + tile, width)
            first_column, last_column = _window(left, right, width, around)
            made = _run(network, image[:, first_row:last_row, first_column:last_column])
            rows = slice(scale * (top - first_row), scale * (bottom - first_row))
            columns = slice(scale * (left - first_column), scale * (right - first_column))
            yield Piece(scale * top, scale * left, made[:, rows, columns])


def _window(first: int, end: int, length: int, around: Reach) -> tuple[int, int]:
    """first … end with all that is seen from there, at least `_LEAST` pixels of the `length`."""
    start, stop = max(0, first - around.before), min(length, end + around.after)
    start = max(0, min(start, stop - _LEAST))
    return start, min(length, max(stop, start + _LEAST))


def _run(network: nn.Module, image: Tensor) -> Tensor:
    network.eval()
    like = next(network.parameters(), image.float())
    # Copied into a layout in which a pixel's sums have one order whatever the size of the image:
    # tiles have the bits of the whole. In the other layout, and with the strides that a view has,
    # they are off by up to 3e-6 (measured on a CPU).
    images = image[None].to(like).clone(memory_format=torch.channels_last)
    return network(images)[0].clamp(-1, 1)


def check_memory(network: nn.Module, channels: int, height: int, width: int, name: str) -> None:
    """Refuse a whole image that would take more than half of the memory there is."""
    needed = bytes_per_pixel(network, channels) * height * width
    limit = memory_bytes(next((p.device for p in network.parameters()), None)) // 2
    if needed > limit:
        gib = 2**30
        raise SettingsError(
            f"{name}: {width} × {height} pixels at once would take about {needed / gib:.1f} GiB, "
            f"more than half of the memory here ({limit / gib:.1f} GiB); use --tile 256"
        )


@torch.inference_mode()
def bytes_per_pixel(network: nn.Module, channels: int) -> int:
    """About how much memory a network needs for a source pixel, seen on a small image."""
    largest = 0

    def watch(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal largest
        tensors = [t for t in (*inputs, output) if isinstance(t, Tensor)]
        largest = max(largest, sum(t.numel() * t.element_size() for t in tensors))

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(watch) for module in leaves]
    try:
        _run(network, torch.zeros(channels, _PROBE, _PROBE))
    finally:
        for hook in hooks:
            hook.remove()
    return _TEMPORARIES * largest // _PROBE**2


def memory_bytes(device: torch.device | None = None) -> int:
    """Memory of a GPU that is free, or of this machine or container as a whole."""
    if device is not None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return min(found, int(text)) if text.isdigit() else found
