"""A network over a whole image, or over tiles of it that come out as the same pixels."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ganforge.inference.device import half_type
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


class _Cut(NamedTuple):
    """A tile, rows and columns of the source, in the window that its pixels depend on."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    window: tuple[slice, slice]

    @property
    def shape(self) -> tuple[int, int]:
        high, wide = self.window
        return high.stop - high.start, wide.stop - wide.start


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
def upscale(network: nn.Module, image: Tensor, *, half: bool = False) -> Tensor:
    """The output of a deployed generator for (C, H, W) or (N, C, H, W) in [-1, 1]; same range out.

    The network is put in evaluation mode. One image at a time goes to its device, so that memory
    does not grow with N; the result is float32 on the device of `image`.
    """
    if image.ndim not in (3, 4):
        raise ValueError(f"an image of shape {tuple(image.shape)}: give (C, H, W) or (N, C, H, W)")
    if not len(image):
        raise ValueError("no image: N is 0")
    made = [
        _run(network, one[None], half)[0].to(image.device, torch.float32)
        for one in (image if image.ndim == 4 else image[None])
    ]
    return torch.stack(made) if image.ndim == 4 else made[0]


@torch.inference_mode()
def upscale_tiles(
    network: nn.Module,
    image: Tensor,
    scale: int,
    tile: int | None,
    *,
    batch: int = 1,
    half: bool = False,
) -> Iterator[UpscaledTile]:
    """The network's output for (C, H, W) in [-1, 1], in tiles of `tile` source pixels a side.

    A tile is cut out with the margin that its pixels depend on, so that zeros are padded only where
    the whole image is padded. Without `tile` there is one tile, the whole image. Tiles have the
    device of the network, and its precision unless `half` (device.py). Up to `batch` tiles of equal
    sides go through the network together, which may change last bits and is faster on a GPU.
    """
    if tile is None:
        yield UpscaledTile(0, 0, _run(network, image[None], half)[0])
        return
    waiting: dict[tuple[int, int], list[_Cut]] = {}
    height, width = image.shape[-2:]
    for cut in _cuts(height, width, tile, find_reach(network, scale)):
        alike = waiting.setdefault(cut.shape, [])
        alike.append(cut)
        if len(alike) == batch:
            yield from _together(network, image, scale, alike, half)
            alike.clear()
    for alike in waiting.values():
        if alike:
            yield from _together(network, image, scale, alike, half)


def upscale_in_tiles(
    network: nn.Module,
    image: Tensor,
    scale: int,
    tile: int | None,
    *,
    batch: int = 1,
    half: bool = False,
) -> Tensor:
    """`upscale` for (C, H, W), from tiles: the same pixels in less memory."""
    if tile is None:
        return upscale(network, image, half=half)
    height, width = (side * scale for side in image.shape[-2:])
    made: Tensor | None = None
    for top, left, part in upscale_tiles(network, image, scale, tile, batch=batch, half=half):
        if made is None:
            made = image.new_empty(len(part), height, width, dtype=torch.float32)
        made[:, top : top + part.shape[1], left : left + part.shape[2]] = part
    assert made is not None
    return made


def _cuts(height: int, width: int, tile: int, margin: Reach) -> Iterator[_Cut]:
    """The tiles of an image, row by row."""
    for top in range(0, height, tile):
        rows = top, min(top + tile, height)
        high = slice(*_window(rows[0], rows[1], height, margin))
        for left in range(0, width, tile):
            columns = left, min(left + tile, width)
            wide = slice(*_window(columns[0], columns[1], width, margin))
            yield _Cut(rows, columns, (high, wide))


def _together(
    network: nn.Module, image: Tensor, scale: int, cuts: Sequence[_Cut], half: bool
) -> Iterator[UpscaledTile]:
    """Tiles of equal sides through the network at once, each without its margin."""
    windows = torch.stack([image[:, high, wide] for _, _, (high, wide) in cuts])
    for (rows, columns, (high, wide)), made in zip(cuts, _run(network, windows, half), strict=True):
        inner_rows = slice(*(scale * (side - high.start) for side in rows))
        inner_columns = slice(*(scale * (side - wide.start) for side in columns))
        pixels = made[:, inner_rows, inner_columns]
        yield UpscaledTile(scale * rows[0], scale * columns[0], pixels)


def _window(first: int, end: int, length: int, margin: Reach) -> tuple[int, int]:
    """first … end with its margin, inside 0 … `length` and at least `_MIN_SIDE` pixels long."""
    start, stop = max(0, first - margin.before), min(length, end + margin.after)
    start = max(0, min(start, stop - _MIN_SIDE))
    return start, min(length, max(stop, start + _MIN_SIDE))


def _run(network: nn.Module, images: Tensor, half: bool = False) -> Tensor:
    """(N, C, H, W) in [-1, 1] through the network, on its device."""
    network.eval()
    like = next(network.parameters(), images.float())
    # Copied into a layout in which a pixel's sums have one order whatever the size of the image:
    # tiles have the bits of the whole. In the other layout, and with the strides that a view has,
    # they are off by up to 3e-6 (measured on a CPU).
    images = images.to(like).clone(memory_format=torch.channels_last)
    if not half:
        return network(images).clamp(-1, 1)
    # weights stay float32, and so does what autocast knows to need it
    with torch.autocast(like.device.type, half_type(like.device)):
        made = network(images)
    if not torch.isfinite(made).all():
        raise SettingsError(
            "--half: the network leaves the range of half precision; leave --half out"
        )
    return made.clamp(-1, 1)


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
        _run(network, torch.zeros(1, channels, _PROBE, _PROBE))
    finally:
        for hook in hooks:
            hook.remove()
    return _TEMPORARIES * largest // _PROBE**2


def memory_bytes(device: torch.device | None = None) -> int:
    """Memory of a GPU that is free, or of this machine or container as a whole."""
    if device is not None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return machine_bytes()
