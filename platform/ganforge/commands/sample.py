"""`ganforge sample`: new images from a trained generator."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from ganforge.commands.models import find_model
from ganforge.draws import latents
from ganforge.metrics.image_quality import to_bytes
from ganforge.settings import SettingsError
from ganforge.training.grid import sheets

GRID = "grid.png"


def sample(
    model: str,
    count: int,
    label: int | None,
    seed: int,
    output: str,
    grid: bool,
    tracking_uri: str | None,
) -> None:
    """Write `count` images as PNG files, and a sheet of all of them where asked for.

    Image k is a function of the weights, the seed and k alone. A conditional generator's labels
    go round, 0, 1, 2, … unless one is given.
    """
    network = find_model(model, tracking_uri).model.network
    labels = _labels(network, model, count, label)
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"output = {output}: cannot be a folder ({error.strerror}); name another place"
        ) from None
    images = []
    for number in range(count):
        image = _made(network, seed, number, None if labels is None else labels[number])
        name = f"{number:05d}.png" if labels is None else f"{number:05d}-{labels[number]}.png"
        _write(folder / name, to_bytes(image[0]).permute(1, 2, 0))
        if grid:
            images.append(image)
    if grid:
        _write(folder / GRID, sheets([torch.cat(images)], labels=labels))
    print(f"{count} images in {folder}" + (f", all of them in {GRID}" if grid else ""))


@torch.inference_mode()
def _made(network: nn.Module, seed: int, number: int, label: int | None) -> Tensor:
    """One image (1, C, H, W) in [-1, 1]: alone, so that others leave no trace in its bits."""
    latent = latents(network.latent_size, torch.tensor([number]), seed, "sample")  # pyright: ignore
    given = (latent,) if label is None else (latent, torch.tensor([label]))
    return network(*given).float()


def _labels(network: nn.Module, model: str, count: int, label: int | None) -> list[int] | None:
    """The label of each image; None for a generator without labels. Refuses what cannot be."""
    if not hasattr(network, "latent_size"):
        raise SettingsError(
            f"model = {model}: its generator makes images from images, not from noise; "
            "give a model of a system such as dcgan"
        )
    classes = network.num_classes
    if classes is None:
        if label is not None:
            raise SettingsError(
                f"--label {label}: the generator of {model} knows no labels; leave --label out"
            )
        return None
    assert isinstance(classes, int)
    if label is not None and not 0 <= label < classes:
        raise SettingsError(
            f"--label {label}: the generator of {model} has labels 0 to {classes - 1}; give one"
        )
    return [number % classes if label is None else label for number in range(count)]


def _write(path: Path, pixels: Tensor) -> None:
    """Pixels (H, W, 1 or 3) uint8 as a PNG file."""
    levels = pixels.cpu().contiguous().numpy()
    Image.fromarray(levels if levels.shape[-1] == 3 else levels[..., 0]).save(path)
