"""A network over a whole image, or over tiles of it that come out as the same pixels."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ganforge.memory import machine_bytes
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
_MIN_SIDE = 64
_PROBE = 32
#: How many times the input and output of the largest layer are held at once (2.4 measured).
_TEMPORARIES = 3


class UpscaledTile(NamedTuple):
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
        else "its network does not state its `receptive_field`"
    )
    raise SettingsError(
        f"--tile: is not possible with this model, because {reason}; leave --tile out"
    )


@torch.inference_mode()
def upscale(network: nn.Module, image: Tensor) -> Tensor:
    """The output of a deployed generator for (C, H, W) or (N, C, H, W) in [-1, 1]; same range out.

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
def upscale_tiles(
    network: nn.Module, image: Tensor, scale: int, tile: int | None
) -> Iterator[UpscaledTile]:
    """The network's output for (C, H, W) in [-1, 1], in tiles of `tile` source pixels a side.

    A tile is cut out with the margin that its pixels depend on, so that zeros are padded only where
    the whole image is padded. Without `tile` there is one tile, the whole image. Tiles have the
    precision and the device of the network.
    """
    if tile is None:
        yield UpscaledTile(0, 0, _run(network, image))
        return
    margin = find_reach(network, scale)
    height, width = image.shape[-2:]
    for top in range(0, height, tile):
        bottom = min(top + tile, height)
        first_row, last_row = _window(top, bottom, height, margin)
        for left in range(0, width, tile):
            right = min(left + tile, width)
            first_column, last_column = _window(left, right, width, margin)
            made = _run(network, image[:, first_row:last_row, first_column:last_column])
            rows = slice(scale * (top - first_row), scale * (bottom - first_row))
            columns = slice(scale * (left - first_column), scale * (right - first_column))
            yield UpscaledTile(scale * top, scale * left, made[:, rows, columns])


def _window(first: int, end: int, length: int, margin: Reach) -> tuple[int, int]:
    """first … end with its margin, inside 0 … `length` and at least `_MIN_SIDE` pixels long."""
    start, stop = max(0, first - margin.before), min(length, end + margin.after)
    start = max(0, min(start, stop - _MIN_SIDE))
    return start, min(length, max(stop, start + _MIN_SIDE))


def _run(network: nn.Module, image: Tensor) -> Tensor:
    network.eval()
    like = next(network.parameters(), image.float())
    # Copied into a layout in which a pixel's sums have one order whatever the size of the image:
    # tiles have the bits of the whole. In the other layout, and with the strides that a view has,
    # they are off by up to 3e-6 (measured on a CPU).
    images = image[None].to(like).clone(memory_format=torch.channels_last)
    return network(images)[0].clamp(-1, 1)


def check_memory(
    network: nn.Module,
    channels: int,
    height: int,
    width: int,
    name: str,
    fix: str = "use --tile 256",
) -> None:
    """Refuse a whole image that would take more than half of the memory there is; say the `fix`."""
    needed = bytes_per_pixel(network, channels) * height * width
    limit = memory_bytes(next((p.device for p in network.parameters()), None)) // 2
    if needed > limit:
        gib = 2**30
        raise SettingsError(
            f"{name}: {width} × {height} pixels at once would take about {needed / gib:.1f} GiB, "
            f"more than half of the memory here ({limit / gib:.1f} GiB); {fix}"
        )


@torch.inference_mode()
def bytes_per_pixel(network: nn.Module, channels: int) -> int:
    """About how much memory a network needs for a source pixel, measured on a small image."""
    largest = 0

    def record_size(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal largest
        tensors = [t for t in (*inputs, output) if isinstance(t, Tensor)]
        largest = max(largest, sum(t.numel() * t.element_size() for t in tensors))

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(record_size) for module in leaves]
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
    return machine_bytes()
