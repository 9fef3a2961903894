"""Too little memory, told apart from an accident: what failed, what was used, what to change."""

import ctypes
import resource
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from ganforge.schedule import Plan

#: what torch, its CPU allocator, CUDA and the libraries on it say
_SAID = (
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "out of memory",
    "alloc_failed",
)


class OutOfMemory(RuntimeError):
    """A worker needs more memory than it can have. It would fail again at the same size."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of a step is a failed allocation, on the CPU or on a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError | OSError) and any(said in text for said in _SAID)


def peak_bytes() -> int:
    """The most memory that this process has held: of its GPU where it has one, else of the CPU."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_reserved()
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak() -> None:
    """Count the peak from now on, where the machine can: this process goes on with another run."""
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def give_back() -> None:
    """Give memory that nothing uses back to the machine and to the GPU."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    # glibc keeps what it has freed; another C library has no such function
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def kernel_kills() -> int:
    """How many processes of this machine the kernel has ended for want of memory since it started;
    0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


@dataclass(frozen=True)
class Size:
    """What decides how much memory a stage needs, besides its networks."""

    resolution: int
    steps: int
    batch_size: int
    shards: int


def sizes(plan: Plan) -> list[Size]:
    """The sizes of a run's stages."""
    return [Size(row.resolution, row.steps, row.batch_size, row.shards) for row in plan.stages]


def explained(
    sizes: list[Size], index: int, step: int, peak: int, fault: str, gpu: bool = False
) -> str:
    """The line for the user. (index, step) is the last report's position, `peak` what a process had
    used by then, in bytes; 0 where nothing was reported."""
    now = index + 1 if step >= sizes[index].steps and index + 1 < len(sizes) else index
    begins = now != index or step == 0
    here, before = sizes[now], sizes[max(now - begins, 0)]
    where = "at its beginning" if begins else f"after {step} steps"
    text = (
        f"stage {now} ({here.resolution} px, batch_size {here.batch_size} in {here.shards} shards "
        f"of {here.batch_size // here.shards}) {where}: {fault}"
    )
    if peak:
        text += f". A process had used {_gib(peak)} until then"
        if before is not here:
            times = (here.resolution / before.resolution) ** 2
            times *= (here.batch_size / here.shards) / (before.batch_size / before.shards)
            text += f", and a shard of this stage has {times:g} times the pixels: "
            text += f"up to {_gib(peak * times)}"
    fixes = ["more shards (each holds fewer images; another definition, so other weights)"]
    fixes += ["a smaller stages.K.batch_size"]
    fixes += ["precision=bfloat16"] if gpu else ["fewer trials or workers on a machine"]
    return f"{text}. Fix: {', '.join(fixes)}"


def _gib(number: float) -> str:
    return f"{number / 2**30:.1f} GiB"
