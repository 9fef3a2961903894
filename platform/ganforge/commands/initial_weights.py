"""What `--from` may name, and the setting `initial_weights` that it becomes."""

from pathlib import Path

from torch import Tensor

from ganforge.assets import keep, tensors_sha256
from ganforge.inference.foreign import SUFFIXES
from ganforge.settings import SettingsError, shown

ALL, GENERATOR = "all", "generator"


def initial_weights(
    reference: str | None, part: str, tracking_uri: str | None, *, trust_code: bool = False
) -> str:
    """The setting's value: a file of tensors stays one; what else `--model` takes (a run, a
    registered model, a folder, a stored state) is its hash, in the cache of this machine.

    Of a stored state `part` takes all networks, or the averaged generator alone; the others have
    no more than that.
    """
    if part not in (ALL, GENERATOR):
        raise SettingsError(f"--from-part {shown(part)}: must be {ALL} or {GENERATOR}")
    if reference is None:
        raise SettingsError(f"--from-part {part}: is a part of what --from names; give --from")
    path = Path(reference).expanduser()
    if path.is_file() and path.suffix in SUFFIXES:
        if part != ALL:
            raise SettingsError(
                f"--from-part {part}: is for a stored state; of a file all that fits is taken"
            )
        return str(path.absolute())
    try:
        tensors = _of_state(reference, part) or _of_model(reference, tracking_uri, trust_code)
    except SettingsError as error:
        text = str(error)
        raise SettingsError(f"--from: {text}" if text.startswith("model = ") else text) from None
    name = f"sha256:{tensors_sha256(tensors)}"
    keep(name, tensors)
    return name


def _of_state(reference: str, part: str) -> dict[str, Tensor]:
    """All networks of a stored state, or of the newest one of a run's storage; averages where there
    are some. Nothing where it is neither."""
    from ganforge.inference.stored import snapshot_in

    scheme = reference.partition(":")[0] if ":/" in reference else ""
    if scheme in ("runs", "models") or not (scheme or Path(reference).expanduser().is_dir()):
        return {}
    found = snapshot_in(reference if scheme else str(Path(reference).expanduser()))
    if found is None:
        return {}
    tensors: dict[str, Tensor] = {}
    for group, mine in found.groups.items():
        if group.startswith("average."):
            tensors |= {f"{group.removeprefix('average.')}.{name}": t for name, t in mine.items()}
    if part == ALL or not tensors:
        tensors = found.groups["networks"] | tensors
    return tensors


def _of_model(reference: str, tracking_uri: str | None, trust_code: bool) -> dict[str, Tensor]:
    from ganforge.commands.models import find_model

    found = find_model(reference, tracking_uri, trust_code=trust_code)
    return {name: tensor.contiguous() for name, tensor in found.model.network.state_dict().items()}
