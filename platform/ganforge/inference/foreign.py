"""Super-resolution models of other trainers: files whose architecture spandrel recognises."""

from importlib.util import find_spec
from pathlib import Path

from ganforge.assets import from_path
from ganforge.inference.model import Model
from ganforge.networks.foreign import ForeignGenerator
from ganforge.precision import full_float32
from ganforge.settings import SettingsError, shown_path
from ganforge.systems.super_resolution import ClampedGenerator

SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")


def is_foreign(path: Path) -> bool:
    """Whether a file is one of tensors without ganforge's settings next to it or above."""
    if path.suffix not in SUFFIXES:
        return False
    own = path.suffix == ".safetensors"
    return not (own and any((folder / "settings.json").is_file() for folder in path.parents))


def from_foreign(path: Path) -> Model:
    """The network in a file of tensors: .safetensors, or a state dict that torch saved.

    Nothing in the file is run. SettingsError where spandrel is not installed or does not know the
    architecture, and for a network that enlarges no images.
    """
    prefix = f"model = {shown_path(path)}"
    if find_spec("spandrel") is None:
        raise SettingsError(
            f"{prefix}: there is no settings.json next to or above it, so it is of another "
            "trainer; to read such files: pip install 'ganforge[models]'"
        )
    from spandrel import ModelLoader, UnsupportedModelError

    tensors = from_path(str(path), "model", "a file of tensors, a folder or a run")
    try:
        found = ModelLoader(device="cpu").load_from_state_dict(tensors)
    except UnsupportedModelError:
        raise SettingsError(
            f"{prefix}: spandrel recognises no architecture in its {len(tensors)} tensors; give a "
            "super-resolution model of a known family, or a model of ganforge's with settings.json"
        ) from None
    except Exception as error:  # tensors of a known family that do not make a network
        reason = (str(error).splitlines() or [""])[0][:200]
        raise SettingsError(
            f"{prefix}: cannot be loaded ({type(error).__name__}: {reason}); give another file"
        ) from None
    family, channels = found.architecture.name, found.input_channels
    if not hasattr(found, "size_requirements") or found.output_channels != channels:
        raise SettingsError(f"{prefix}: {family} takes no plain images; give another model")
    if found.scale < 2 or channels not in (1, 3):
        raise SettingsError(
            f"{prefix}: {family} with {channels} channels enlarges {found.scale} times; give a "
            "model that enlarges grey or colour images"
        )
    full_float32()
    generator = ForeignGenerator(found)  # pyright: ignore[reportArgumentType]
    network = ClampedGenerator(generator).eval().requires_grad_(False)
    return Model(network, None, 0, found.scale, family, channels=channels)
