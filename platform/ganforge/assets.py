"""Files that settings name, turned into tensors and known by the sha256 of their content."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save
from torch import Tensor

from ganforge.local_files import cache_directory, replacing
from ganforge.settings import SettingsError, shown_path

Assets = dict[str, dict[str, Tensor]]
#: under which names a trainer's file has the state dict, and how many tables deep it is looked for
_DEEPEST = 2
_INSIDE = ("params_ema", "params", "state_dict", "model_state_dict", "model", "generator")
_NAME = re.compile(r"sha256:[0-9a-f]{64}")


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, dtypes, shapes and bytes, in order of names; independent of layout."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def keep(name: str, tensors: Mapping[str, Tensor]) -> None:
    """Put resolved tensors into the cache, where `reproduce` looks for them by their hash.

    SettingsError if they are not what their name says: they may come from somebody else's run.
    """
    path = _cached_path(name)
    if (found := "sha256:" + tensors_sha256(tensors)) != name:
        raise SettingsError(
            f"{name}: the tensors that are recorded under this name have the hash {found}. Fix: "
            "give the file that they come from"
        )
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(save({n: t.contiguous() for n, t in tensors.items()}))


def keep_bytes(name: str, content: bytes) -> None:
    """The same for safetensors bytes."""
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise SettingsError(
            f"{name}: what is recorded under this name is not safetensors ({error}). Fix: give the "
            "file that the tensors come from"
        ) from None
    keep(name, tensors)


def present(name: str) -> bool:
    """Whether resolved tensors are in the cache of this machine."""
    return _cached_path(name).exists()


def check_hash(name: str, key: str) -> None:
    """SettingsError unless `name` is sha256: and 64 hexadecimal digits: it becomes a file's name.

    `key` is the setting that gives it."""
    if not _NAME.fullmatch(name):
        shown = name if name.isprintable() else ascii(name)
        raise SettingsError(
            f"{key} = {shown[:100]}: a hash is sha256: and 64 hexadecimal digits. Fix: give those "
            "of the recorded run, or the path of a file"
        )


def _cached_path(name: str, key: str = "a recorded file") -> Path:
    check_hash(name, key)
    return cache_directory() / "assets" / f"{name.removeprefix('sha256:')}.safetensors"


def from_cache(name: str, key: str) -> dict[str, Tensor]:
    """Tensors resolved before, by their hash; SettingsError if they are not on this machine."""
    path = _cached_path(name, key)
    if not path.exists():
        raise SettingsError(
            f"{key} = {name}: these tensors are not on this machine; give the path of the file "
            "they come from"
        )
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError):
        tensors = {}
    if "sha256:" + tensors_sha256(tensors) != name:
        raise SettingsError(f"{key} = {name}: {path} is damaged; delete it and give the file again")
    return tensors


def from_path(text: str, key: str, rule: str = "a path") -> dict[str, Tensor]:
    """The tensors of a file that the setting `key` names, or SettingsError.

    `rule` says in errors which values the setting takes.
    """
    try:
        path = Path(text).expanduser()
        found_there = path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # too long, ~nobody, a zero byte
        why = getattr(error, "strerror", None) or str(error)
        where = f"{key} = {shown_path(text)}"
        raise SettingsError(f"{where}: not a path ({why}); give {rule}") from None
    if not found_there:
        raise SettingsError(f"{key} = {shown_path(text)}: no such file; give {rule}")
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise SettingsError(
            f"{key} = {text}: not a file of tensors ({type(error).__name__}); give a state dict "
            "saved with torch.save or safetensors"
        ) from None
    return _state_dict(found)


def _state_dict(found: object, depth: int = 0) -> dict[str, Tensor]:
    """The tensors of a state dict, or of the first table in it that trainers are known to write:
    averages before weights. Sparse tensors are in none."""
    if not isinstance(found, Mapping) or depth > _DEEPEST:
        return {}
    for name in _INSIDE:
        if inner := _state_dict(found.get(name), depth + 1):
            return inner
    return {
        str(name): tensor
        for name, tensor in found.items()
        if isinstance(tensor, Tensor) and tensor.layout == torch.strided
    }
