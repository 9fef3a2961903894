"""A generator as a file that is used without this package: a program, torch.export (.pt2) or ONNX,
or its weights, .safetensors or .pth."""

import copy
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ganforge.inference.tiles import upscale
from ganforge.networks.foreign import ForeignGenerator
from ganforge.quiet import quiet
from ganforge.settings import SettingsError
from ganforge.systems.super_resolution import ClampedGenerator

Size = tuple[int, int, int]
#: The largest difference from torch that a written file may have.
TOLERANCE = 1e-5
#: Batch, height and width of the images on which a file is compared with torch.
SIZES = ((1, 16, 24), (3, 33, 20), (2, 40, 56))
_TRACED = (2, 17, 23)  # a batch of one, or equal sides, would be taken for constants
ONNX_EXTRA = ("onnx", "onnxruntime", "onnxscript")


class Traced(NamedTuple):
    """A network as a program, and the sizes on which it is compared with the network."""

    program: torch.export.ExportedProgram
    sizes: Sequence[Size]


class Exported(NamedTuple):
    """A file that was written, and its largest difference from torch over the sizes of its trace;
    of weights the largest difference of a weight, which is 0."""

    path: Path
    difference: float


def onnx_missing() -> list[str]:
    """The packages of the extra `export` that are not installed."""
    return [name for name in ONNX_EXTRA if find_spec(name) is None]


def trace(network: nn.Module, channels: int, side: tuple[int, int] | None = None) -> Traced:
    """The network as a program for (N, C, H, W) images of any number, height and width; with `side`
    for one image of that height and width."""
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)  # pyright: ignore
    plain = plain.cpu().eval()
    if side is not None:
        sizes = ((1, *side),)
        with quiet():
            return Traced(torch.export.export(plain, (_image(*sizes[0], channels),)), sizes)
    count, height, width = (torch.export.Dim(name, min=1) for name in ("batch", "height", "width"))
    with quiet():
        program = torch.export.export(
            plain,
            (_image(*_TRACED, channels),),
            dynamic_shapes=({0: count, 2: height, 3: width},),
        )
    return Traced(program, SIZES)


def weights(network: nn.Module) -> dict[str, Tensor]:
    """The weights of a deployed network; those of a published architecture under the names that
    its own code gives them."""
    found = _named(network).state_dict()
    return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}


def load_weights(network: nn.Module, found: Mapping[str, Tensor]) -> None:
    """The inverse of `weights`; RuntimeError where the names or shapes are others."""
    _named(network).load_state_dict(dict(found))


def _named(network: nn.Module) -> nn.Module:
    """The part of a deployed network whose names its weights have in a file."""
    if isinstance(network, ClampedGenerator) and isinstance(network.network, ForeignGenerator):
        return network.network.network
    return network


def export_safetensors(
    network: nn.Module, path: Path, description: Mapping[str, str] | None = None
) -> Exported:
    """Write the weights as .safetensors, with a description as metadata, and read them again."""
    save_file(weights(network), path, dict(description or {}))
    return _same(path, network, load_file(path))


def export_pth(
    network: nn.Module, path: Path, description: Mapping[str, str] | None = None
) -> Exported:
    """Write the weights as a state dict that torch.load opens with weights_only; the description
    stands next to `params`, where most tools look for them."""
    torch.save({"params": weights(network), "about": dict(description or {})}, path)
    return _same(path, network, torch.load(path, weights_only=True)["params"])


def _same(path: Path, network: nn.Module, found: Mapping[str, Tensor]) -> Exported:
    mine = weights(network)
    if mine.keys() != found.keys() or not all(torch.equal(mine[k], found[k]) for k in mine):
        path.unlink(missing_ok=True)
        raise SettingsError(f"{path.name} was read back with other weights; it was not kept")
    return Exported(path, 0.0)


def export_torch(traced: Traced, network: nn.Module, channels: int, path: Path) -> Exported:
    """Write a .pt2, to be read by `torch.export.load(path).module()`, and check it."""
    with quiet():
        torch.export.save(traced.program, path)
        loaded = torch.export.load(path).module()
    return _checked(path, network, channels, loaded, traced.sizes)


def export_onnx(traced: Traced, network: nn.Module, channels: int, path: Path) -> Exported:
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
            traced.program, input_names=["source"], output_names=["target"], verbose=False
        )
        assert made is not None
        made.save(path, external_data=False)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"source": images.numpy()})[0])

    return _checked(path, network, channels, run, traced.sizes)


#: those that are programs
FORMATS: dict[str, tuple[str, Callable[..., Exported]]] = {
    "torch": ("pt2", export_torch),
    "onnx": ("onnx", export_onnx),
}
WEIGHTS: dict[str, Callable[..., Exported]] = {
    "safetensors": export_safetensors,
    "pth": export_pth,
}


def _checked(
    path: Path,
    network: nn.Module,
    channels: int,
    run: Callable[[Tensor], Tensor],
    sizes: Sequence[Size],
) -> Exported:
    """The file's largest difference from torch; one that is too large is removed and refused."""
    largest = 0.0
    with torch.inference_mode():
        for size in sizes:
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
