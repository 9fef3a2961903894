"""The device that a generator is used on, and the precision of its passes."""

import torch

from ganforge.settings import SettingsError, shown_key

_KINDS = ("cpu", "cuda", "mps")


def find_device(gpu: bool, name: str | None) -> torch.device | None:
    """What `--gpu` or `--device` names; None for neither: the network stays where it is."""
    if name is None:
        if not gpu:
            return None
        if not torch.cuda.is_available():
            raise SettingsError("--gpu: torch sees no CUDA device here; leave --gpu out")
        return torch.device("cuda")
    if gpu and not name.startswith("cuda"):
        raise SettingsError(
            f"--gpu and --device {shown_key(name)}: name two devices; give one of them"
        )
    try:
        found = torch.device(name)
    except RuntimeError:
        found = None
    if found is None or found.type not in _KINDS:
        raise SettingsError(f"--device {shown_key(name)}: must be cpu, cuda, cuda:NUMBER or mps")
    if found.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (found.index or 0) >= count:
            many = f"cuda:0 to cuda:{count - 1}" if count else "no CUDA device"
            raise SettingsError(f"--device {name}: torch sees {many} here; give another device")
    if found.type == "mps" and not torch.backends.mps.is_available():
        raise SettingsError("--device mps: torch has none here; give another device")
    return found


def half_type(device: torch.device) -> torch.dtype:
    """The type of half precision on a device.

    A GPU has float16, whose 11 bits keep 8-bit levels apart. A CPU computes float16 several times
    slower than float32 and bfloat16 faster (measured: docs/inference.md), so it has bfloat16.
    """
    return torch.bfloat16 if device.type == "cpu" else torch.float16
