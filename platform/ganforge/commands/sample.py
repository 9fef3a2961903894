"""`ganforge sample`: new images from a trained generator, and on through others that enlarge."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor, nn

from ganforge.commands.models import FoundModel, find_model, needs_images
from ganforge.console import Bars, complain, show
from ganforge.draws import latents
from ganforge.inference.chain import link, refined
from ganforge.metrics.image_quality import to_bytes
from ganforge.output_files import check_output, make_output_folder, output_file
from ganforge.settings import SettingsError
from ganforge.training.grid import sheets

GRID = "grid.png"
#: the record of a chain of models, next to its images
LINEAGE = "lineage.json"
#: the text of a PNG file that names the chain it came through
_KEY = "ganforge"


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
    upscale: tuple[str, ...] = ()
    tile: int | None = None


def sample(options: SampleOptions) -> None:
    """Write `count` images as PNG files, and with `grid` one image that shows them all.

    Image k is a function of the weights, the seed and k alone. A conditional generator gets the
    labels 0, 1, 2, … in turn unless one is given. With `upscale` each image goes through those
    models in order; the chain is recorded in each file, in lineage.json next to them, and with the
    run of the first model that has one.
    """
    found = find_model(options.model, options.tracking_uri, trust_code=options.trust_code)
    network = found.model.network
    labels = labels_for(network, options.model, options.count, options.label)
    further = [_further(reference, options) for reference in options.upscale]
    if options.tile is not None and not further:
        raise SettingsError(f"--tile {options.tile}: is of --upscale; give a model there, too")
    folder = Path(options.output).expanduser()
    make_output_folder(folder)
    names = [
        f"{number:05d}.png" if labels is None else f"{number:05d}-{labels[number]}.png"
        for number in range(options.count)
    ]
    others = [*([GRID] if options.grid else []), *([LINEAGE] if further else [])]
    for name in [*names, *others]:
        check_output(folder, name, overwrite=options.overwrite)
    lineage = _lineage([found, *further], options) if further else None
    images = []
    with Bars() as progress:
        bar = progress.add_task(f"{options.count} images", total=options.count)
        for number, name in enumerate(names):
            label = None if labels is None else labels[number]
            image = _image(network, options.seed, number, label)[0]
            levels = to_bytes(image).permute(1, 2, 0).numpy()
            if further:
                levels = refined(levels, [one.model for one in further], options.tile)
                image = torch.from_numpy(levels).permute(2, 0, 1) / 127.5 - 1
            about = None if lineage is None else lineage | {"number": number, "label": label}
            with output_file(folder, name, overwrite=options.overwrite) as file:
                _write(file, levels, about)
            if options.grid:
                images.append(image)
            progress.advance(bar)
    if options.grid:
        with output_file(folder, GRID, overwrite=options.overwrite) as file:
            _write(file, sheets([torch.stack(images)], labels=labels).numpy(), lineage)
    if lineage is not None:
        text = json.dumps(lineage, indent=2)
        with output_file(folder, LINEAGE, overwrite=options.overwrite) as file:
            file.write(text.encode())
        _log([found, *further], text)
    show(
        f"{options.count} images in {folder}" + (f", all of them in {GRID}" if options.grid else "")
    )


def _further(reference: str, options: SampleOptions) -> FoundModel:
    """A model that images go through after the first."""
    found = find_model(reference, options.tracking_uri, trust_code=options.trust_code)
    needs_images(found, "upscale")
    if found.model.channels not in (1, 3):
        raise SettingsError(
            f"--upscale {reference}: has {found.model.channels} channels, not 1 or 3"
        )
    return found


def _lineage(chain: Sequence[FoundModel], options: SampleOptions) -> dict[str, Any]:
    """What the images of a chain are a function of."""
    links = [asdict(link(one.model, one.name, one.run_id)) for one in chain]
    return {"schema": 1, "seed": options.seed, "count": options.count, "models": links}


def _log(chain: Sequence[FoundModel], text: str) -> None:
    """Record a chain with the first of its models that is of a run."""
    from hashlib import sha256

    found = next((one for one in chain if one.run_id is not None), None)
    if found is None:
        return
    from ganforge.tracking.registry import log_lineage

    assert found.run_id is not None and found.uri is not None
    name = sha256(text.encode()).hexdigest()[:16]
    try:
        log_lineage(found.uri, found.run_id, name, text)
    except Exception as error:  # the images are written: a store that is down loses none
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        complain(f"not recorded in run {found.run_id}: {reason[:200]}", "warning")
    else:
        show(f"recorded as lineage/{name}.json in run {found.run_id}")


def sampled(network: nn.Module, seed: int, number: int, label: int | None) -> Image.Image:
    """One image of a generator from noise, by its number."""
    return _shown(to_bytes(_image(network, seed, number, label)[0]).permute(1, 2, 0).numpy())


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


def _write(file: BinaryIO, levels: NDArray[Any], about: dict[str, Any] | None) -> None:
    """Levels (H, W, 1 or 3) uint8 as a PNG file, with a text about them."""
    text = PngInfo()
    if about is not None:
        text.add_text(_KEY, json.dumps(about))
    _shown(levels).save(file, "PNG", pnginfo=text)


def _shown(levels: NDArray[Any]) -> Image.Image:
    return Image.fromarray(levels if levels.shape[-1] == 3 else levels[..., 0])
