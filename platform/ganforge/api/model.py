"""A trained generator in Python: enlarge, sample, measure, take home."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganforge.api.checks import check_switches, check_texts, check_whole, given_path
from ganforge.settings import SettingsError, shown

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from PIL.Image import Image
    from torch import Tensor

    from ganforge.commands.models import FoundModel
    from ganforge.inference.images import Photo
    from ganforge.inference.model import Model
    from ganforge.inference.output_size import OutputSize


@dataclass(frozen=True, repr=False)
class TrainedModel:
    """What `--model` names, loaded. `model.network` is the generator: one tensor in, one out."""

    reference: str
    model: "Model"

    @property
    def scale(self) -> int:
        """Side of an enlarged image by side of its source."""
        return self.model.scale

    def __repr__(self) -> str:
        return f"TrainedModel({self.reference!r}: {self.model.system}, scale {self.model.scale})"

    def upscale(
        self,
        image: Any,
        output: str | Path | None = None,
        tile: int | None = None,
        *,
        batch: int = 1,
        outscale: float | None = None,
        width: int | None = None,
        height: int | None = None,
        max_side: int | None = None,
        filter: str = "lanczos",
        half: bool = False,
        device: str | None = None,
        skip_existing: bool = False,
        overwrite: bool = False,
    ) -> Any:
        """An enlarged image of the kind that was given.

        A PIL image, a path of an image file (a PIL image comes back), an array uint8 or uint16 of
        (H, W) or (H, W, C), or a tensor (N, C, H, W) in [-1, 1]. With `output` the path may be a
        folder: its images are written there, as `ganforge upscale` does, and their paths come back,
        also of those that `skip_existing` left as they were; NotAllUpscaled where some failed.

        `tile` is the side of tiles in source pixels, 16 or more: the same pixels in less memory;
        `batch` of them go through the network at a time. `outscale` is the factor of the result,
        `width` and `height` its sides, `max_side` the longest that it may have, by a resize with
        `filter` after the network. `device` (cpu, cuda, …) is where the network is from now on,
        `half` computes in half precision.
        """
        import torch

        from ganforge.inference.device import find_device
        from ganforge.inference.output_size import OutputSize

        check_whole("tile", tile, 16)
        check_whole("batch", batch, 1)
        check_texts(device=device)
        size = OutputSize(outscale, width, height, max_side, filter)
        size.check(as_options=False)
        check_switches(half=half, skip_existing=skip_existing, overwrite=overwrite)
        if output is not None:
            if not isinstance(image, str | Path):
                raise SettingsError(
                    f"output = {shown(output)}: images from memory are returned and not written; "
                    "leave output out and save what comes back, or give the path of an image or of "
                    "a folder"
                )
            return self._folder(
                image, output, tile, batch, size, half, device, skip_existing, overwrite
            )
        self._check_images("upscale")
        chosen, model = find_device(False, device), self.model
        if chosen is not None:
            model.network.to(chosen)
        if isinstance(image, torch.Tensor):
            _check_tensor(image, model.channels)
            made = [_tensor(model, one, tile, batch, size, half) for one in image]
            return torch.stack(made)
        from ganforge.inference.enlarge import enlarge
        from ganforge.inference.output_size import check_room, resized

        photo, back = _photo(image)
        rows, columns = photo.colour.shape[-2:]
        sides = size.sides(rows, columns, model.scale)
        check_room((rows * model.scale, columns * model.scale), sides, photo, "image")
        levels = enlarge(
            model.network,
            photo,
            scale=model.scale,
            channels=model.channels,
            tile=tile,
            batch=batch,
            half=half,
        )
        return back(resized(levels, sides, size.filter))

    def sample(
        self,
        count: int = 1,
        label: int | None = None,
        seed: int = 0,
        upscale: "Sequence[TrainedModel]" = (),
    ) -> "list[Image]":
        """Images of a generator from noise: image k is a function of weights, seed and k. With
        `upscale` each goes through those models next, in order."""
        from ganforge.commands.sample import labels_for, sampled

        check_whole("count", count, 1)
        check_whole("label", label, 0)
        check_whole("seed", seed, 0)
        labels = labels_for(self.model.network, self.reference, count, label)
        images = [
            sampled(self.model.network, seed, number, None if labels is None else labels[number])
            for number in range(count)
        ]
        for further in upscale:
            images = [further.upscale(image) for image in images]
        return images

    def evaluate(
        self,
        benchmark: str | Path,
        *,
        tile: int | None = None,
        rgb: bool = False,
        half: bool = False,
        lpips: str | None = None,
        device: str | None = None,
    ) -> "pd.DataFrame":
        """PSNR and SSIM of the Y channel (with `rgb` of R, G and B) of each image of a benchmark
        folder (HR/ and LR/), NIQE, and LPIPS over the network `lpips` (alex, vgg or squeeze), next
        to bicubic's; the last row has the means."""
        import pandas as pd

        from ganforge.inference.benchmark import evaluate_benchmark, means
        from ganforge.inference.device import find_device
        from ganforge.metrics.lpips import load_lpips

        self._check_images("measure on a benchmark")
        check_whole("tile", tile, 16)
        check_texts(device=device, lpips=lpips)
        check_switches(rgb=rgb, half=half)
        benchmark = given_path("benchmark", benchmark)
        chosen, model = find_device(False, device), self.model
        if chosen is not None:
            model.network.to(chosen)
        rows = evaluate_benchmark(
            model.network,
            benchmark,
            model.scale,
            model.channels,
            tile=tile,
            half=half,
            rgb=rgb,
            lpips=None if lpips is None else load_lpips(lpips),
        )
        return pd.DataFrame([vars(row) for row in [*rows, means(rows)]])

    def export(self, path: str | Path, *, overwrite: bool = False, size: str | None = None) -> Path:
        """Write a file whose ending says its kind (.onnx, .pt2, .safetensors, .pth), checked
        against this model; its path."""
        from ganforge.commands.export import ExportOptions, export
        from ganforge.inference.export import FORMATS

        check_switches(overwrite=overwrite)
        suffix = Path(given_path("path", path)).suffix.removeprefix(".")
        kinds = {suffix: name for name, (suffix, _) in FORMATS.items()}
        kind = kinds.get(suffix, suffix)
        options = ExportOptions(self.reference, str(path), kind, overwrite=overwrite, size=size)
        export(options, self._found)
        return Path(path)

    def _folder(
        self,
        images: Any,
        output: str | Path,
        tile: int | None,
        batch: int,
        size: "OutputSize",
        half: bool,
        device: str | None,
        skip_existing: bool,
        overwrite: bool,
    ) -> list[Path]:
        from ganforge.commands.upscale import UpscaleOptions, upscale

        options = UpscaleOptions(
            str(images), self.reference, str(output), tile, batch=batch, size=size, half=half,
            device=device, skip_existing=skip_existing, overwrite=overwrite,
        )  # fmt: skip
        return [Path(one.target) for one in upscale(options, self._found).images]

    @property
    def _found(self) -> "FoundModel":
        """The weights that are loaded: what the reference names may be others by now."""
        from ganforge.commands.models import FoundModel

        return FoundModel(self.model, self.reference)

    def _check_images(self, action: str) -> None:
        from ganforge.commands.models import needs_images

        needs_images(self._found, action)


def load(
    reference: str | Path,
    *,
    stage: int | None = None,
    tracking_uri: str | None = None,
    trust_code: bool = False,
) -> TrainedModel:
    """What `--model` takes: the id of a run, models:/NAME@champion, a folder of states or a file of
    weights, also of another trainer. SettingsError where there is none."""
    from ganforge.commands.models import find_model

    found = find_model(str(reference), tracking_uri, stage, trust_code=trust_code)
    return TrainedModel(str(reference), found.model)


def _check_tensor(images: "Tensor", channels: int) -> None:
    right = images.ndim == 4 and images.shape[1] == channels and images.numel()
    if not right or not images.is_floating_point():
        raise SettingsError(
            f"image: a tensor {images.dtype} of shape {tuple(images.shape)}; it must be of floats "
            f"in [-1, 1], (N, {channels}, H, W)"
        )


def _tensor(
    model: "Model", image: "Tensor", tile: int | None, batch: int, size: "OutputSize", half: bool
) -> "Tensor":
    """One tensor (C, H, W) in [-1, 1] enlarged, and resized where a size is given."""
    from ganforge.inference.output_size import resized_planes
    from ganforge.inference.tiles import upscale_in_tiles

    made = upscale_in_tiles(model.network, image, model.scale, tile, batch=batch, half=half)
    height, width = image.shape[-2:]
    return resized_planes(made, size.sides(height, width, model.scale), size.filter).to(image.dtype)


def _photo(image: Any) -> "tuple[Photo, Any]":
    """An image as the decoder gives it, and what turns levels into its kind again."""
    import numpy as np
    from PIL import Image as Images
    from PIL import ImageOps

    from ganforge.inference.images import photo_of, read_photo

    if isinstance(image, str | Path):
        return read_photo(Path(image)), _as_image
    if isinstance(image, Images.Image):
        if image.mode.startswith(("I", "F")):
            raise SettingsError(
                f"image: PIL's mode {image.mode} is not enlarged; give the path of the file, or an "
                "array uint8 or uint16"
            )
        image = ImageOps.exif_transpose(image)  # upright, as a file is read
        if image.mode not in ("L", "LA", "RGB", "RGBA"):
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        levels, back = np.asarray(image), _as_image
    elif isinstance(image, np.ndarray):
        flat = image.ndim == 2
        levels, back = image, (lambda made: made[..., 0] if flat else made)
    else:
        raise SettingsError(
            f"image: a {type(image).__name__} is not enlarged; give a path, a PIL image, an array "
            "(H, W, C) uint8 or uint16, or a tensor (N, C, H, W) in [-1, 1]"
        )
    if levels.dtype not in (np.uint8, np.uint16) or levels.ndim not in (2, 3) or not levels.size:
        raise SettingsError(
            f"image: an array {levels.dtype} of shape {levels.shape}; it must be uint8 or uint16, "
            "(H, W) or (H, W, C)"
        )
    levels = levels[..., None] if levels.ndim == 2 else levels
    if levels.shape[-1] not in (1, 2, 3, 4):
        raise SettingsError(f"image: has {levels.shape[-1]} channels; 1 to 4 are enlarged")
    return photo_of(levels, 8 if levels.dtype == np.uint8 else 16), back


def _as_image(levels: "np.ndarray[Any, Any]") -> "Image":
    """Levels (H, W, C) as a PIL image; 16 bits become 8, which PIL has in colour."""
    import numpy as np
    from PIL import Image as Images

    if levels.dtype == np.uint16:
        levels = ((levels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    return Images.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)
