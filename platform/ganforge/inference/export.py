"""A generator as a file that runs without this package: torch.export (.pt2) and ONNX."""

import copy
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ganforge.inference.tiles import upscale
from ganforge.quiet import quiet
from ganforge.settings import SettingsError

#: The largest difference from torch that a written file may have.
TOLERANCE = 1e-5
#: Batch, height and width of the images on which a file is compared with torch.
SIZES = ((1, 16, 24), (3, 33, 20), (2, 40, 56))
_TRACED = (2, 17, 23)  # a batch of one, or equal sides, would be taken for constants
ONNX_EXTRA = ("onnx", "onnxruntime", "onnxscript")


class Exported(NamedTuple):
    """A file that was written, and its largest difference from torch over `SIZES`."""

    path: Path
    difference: float


def onnx_missing() -> list[str]:
    """The packages of the extra `export` that are not installed."""
    return [name for name in ONNX_EXTRA if find_spec(name) is None]


def trace(network: nn.Module, channels: int) -> torch.export.ExportedProgram:
    """The network as a program for (N, C, H, W) images of any number, height and width."""
    count, height, width = (torch.export.Dim(name, min=1) for name in ("batch", "height", "width"))
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)  # pyright: ignore
    example = _image(*_TRACED, channels)
    with quiet():
        return torch.export.export(
            plain.cpu().eval(), (example,), dynamic_shapes=({0: count, 2: height, 3: width},)
        )


def export_torch(
    program: torch.export.ExportedProgram, network: nn.Module, channels: int, path: Path
) -> Exported:
    """Write a .pt2, to be read by `torch.export.load(path).module()`, and check it."""
    with quiet():
        torch.export.save(program, path)
        loaded = torch.export.load(path).module()
    return _checked(path, network, channels, loaded)


def export_onnx(
    program: torch.export.ExportedProgram, network: nn.Module, channels: int, path: Path
) -> Exported:
    """Write an .onnx with input `source` and output `target`, and check it in ONNX Runtime."""
    if missing := onnx_missing():
        raise SettingsError(
            f"ONNX needs {', '.join(missing)}: pip install 'ganforge[export]', or use "
            "the format of torch.export"
        )
    # an extra: everything else works without it
    import onnxruntime

    with quiet():
        made = torch.onnx.export(
            program, input_names=["source"], output_names=["target"], verbose=False
        )
        assert made is not None
        made.save(path, external_data=False)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"source": images.numpy()})[0])

    return _checked(path, network, channels, run)


FORMATS: dict[str, tuple[str, Callable[..., Exported]]] = {
    "torch": ("pt2", export_torch),
    "onnx": ("onnx", export_onnx),
}


def _checked(
    path: Path, network: nn.Module, channels: int, run: Callable[[Tensor], Tensor]
) -> Exported:
    """The file's largest difference from torch; one that is too large is removed and refused."""
    largest = 0.0
    with torch.inference_mode():
        for size in SIZES:
            images = _image(*size, channels)
            difference = (run(images) - upscale(network, images)).abs().max().item()
            largest = max(largest, difference)
    if not largest <= TOLERANCE:
        path.unlink(missing_ok=True)
        raise SettingsError(
            f"{path.name} differs from torch by {largest:.1e}, more than {TOLERANCE:.0e}; "
            "it was not kept"
        )
    return Exported(path, largest)


def _image(count: int, height: int, width: int, channels: int) -> Tensor:
    """Waves and edges in [-1, 1], (count, channels, height, width)."""
    shape = (count, channels, height, width)
    grid = torch.arange(count * channels * height * width).reshape(shape)
    return torch.sin(grid * 0.37) * 0.8 + ((grid // 5) % 2) * 0.2
