"""`ganforge sample`: new images from a trained generator."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from PIL import Image
from torch import Tensor, nn

from ganforge.commands.models import find_model
from ganforge.console import show
from ganforge.draws import latents
from ganforge.metrics.image_quality import to_bytes
from ganforge.output_files import check_output, make_output_folder, output_file
from ganforge.settings import SettingsError
from ganforge.training.grid import sheets

GRID = "grid.png"


@dataclass(frozen=True)
class SampleOptions:
    """The arguments of `ganforge sample`."""

    model: str
    count: int = 16
    label: int | None = None
    seed: int = 0
    output: str = "samples"
    grid: bool = False
    overwrite: bool = False
    tracking_uri: str | None = None
    trust_code: bool = False


def sample(options: SampleOptions) -> None:
    """Write `count` images as PNG files, and with `grid` one image that shows them all.

    Image k is a function of the weights, the seed and k alone. A conditional generator gets the
    labels 0, 1, 2, … in turn unless one is given.
    """
    found = find_model(options.model, options.tracking_uri, trust_code=options.trust_code)
    network = found.model.network
    labels = labels_for(network, options.model, options.count, options.label)
    folder = Path(options.output).expanduser()
    make_output_folder(folder)
    names = [
        f"{number:05d}.png" if labels is None else f"{number:05d}-{labels[number]}.png"
        for number in range(options.count)
    ]
    for name in [*names, GRID] if options.grid else names:
        check_output(folder, name, overwrite=options.overwrite)
    images = []
    for number, name in enumerate(names):
        image = _image(network, options.seed, number, None if labels is None else labels[number])
        with output_file(folder, name, overwrite=options.overwrite) as file:
            _write(file, to_bytes(image[0]).permute(1, 2, 0))
        if options.grid:
            images.append(image)
    if options.grid:
        with output_file(folder, GRID, overwrite=options.overwrite) as file:
            _write(file, sheets([torch.cat(images)], labels=labels))
    show(
        f"{options.count} images in {folder}" + (f", all of them in {GRID}" if options.grid else "")
    )


def sampled(network: nn.Module, seed: int, number: int, label: int | None) -> Image.Image:
    """One image of a generator from noise, by its number."""
    return _shown(to_bytes(_image(network, seed, number, label)[0]).permute(1, 2, 0))


@torch.inference_mode()
def _image(network: nn.Module, seed: int, number: int, label: int | None) -> Tensor:
    """One image (1, C, H, W) in [-1, 1]: alone, so that others leave no trace in its bits."""
    latent = latents(network.latent_size, torch.tensor([number]), seed, "sample")  # pyright: ignore
    given = (latent,) if label is None else (latent, torch.tensor([label]))
    return network(*given).float()


def labels_for(network: nn.Module, model: str, count: int, label: int | None) -> list[int] | None:
    """The label of each image, or None for a generator without labels. A label that the model does
    not have is refused."""
    if not hasattr(network, "latent_size"):
        raise SettingsError(
            f"model = {model}: its generator makes images from images, not from noise; "
            "give a model of a system such as dcgan"
        )
    classes = network.num_classes
    if classes is None:
        if label is not None:
            raise SettingsError(
                f"--label {label}: the generator of {model} has no labels; leave --label out"
            )
        return None
    assert isinstance(classes, int)
    if label is not None and not 0 <= label < classes:
        raise SettingsError(
            f"--label {label}: the generator of {model} has labels 0 to {classes - 1}; give one"
        )
    return [number % classes if label is None else label for number in range(count)]


def _write(file: BinaryIO, pixels: Tensor) -> None:
    """Pixels (H, W, 1 or 3) uint8 as a PNG file."""
    _shown(pixels).save(file, "PNG")


def _shown(pixels: Tensor) -> Image.Image:
    levels = pixels.cpu().contiguous().numpy()
    return Image.fromarray(levels if levels.shape[-1] == 3 else levels[..., 0])
