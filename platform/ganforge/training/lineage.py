"""What makes two stages the same stage, and two states the same state.

stage_id       = sha256(parent's stage_id and the step at which it was left, the settings of the
                 stage that can change weights, data fingerprint, seed, code fingerprint)
environment_id = sha256(versions, device and CPU, threads, deterministic flags)
state          = f(stage_id, environment_id, step)
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ganforge.schedule import Plan
from ganforge.systems.settings import SystemSettings

#: Whatever decodes, resizes or computes: another version of one can give other bits.
PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "imagecodecs",
    "tifffile",
    "scikit-image",
    "scikit-learn",
)


def digest(value: Any) -> str:
    """sha256 of plain data, by its JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class Start(NamedTuple):
    """The stored state that a run began at: the ids of its stages, and the step it was left at."""

    stage_ids: tuple[str, ...]
    step: int


@dataclass(frozen=True)
class Lineage:
    """The identity of every stage of a run, each with its parent's inside.

    With `start`, the stages up to that state keep the ids they were recorded with. `recorded` are
    the ids of stages that were trained by other code, which gives the same bits: they stay.
    """

    settings: tuple[dict[str, Any], ...]
    data: str
    seed: int
    code: dict[str, str]
    left_at: tuple[int, ...]
    start: Start | None = None
    recorded: tuple[str, ...] = ()

    @cached_property
    def stage_ids(self) -> tuple[str, ...]:
        found = list(self.recorded or (self.start.stage_ids if self.start else ()))
        for index in range(len(found), len(self.settings)):
            record = {
                "parent": [found[-1], self.left(index - 1)] if found else None,
                "settings": self.settings[index],
                "data": self.data,
                "seed": self.seed,
                "code": self.code,
            }
            found.append(digest(record))
        return tuple(found)

    def left(self, index: int) -> int:
        """The step at which stage `index` is left: its last one, or a later one it was found at."""
        if self.start is not None and index == len(self.start.stage_ids) - 1:
            return max(self.left_at[index], self.start.step)
        return self.left_at[index]

    def parent(self, index: int) -> list[Any] | None:
        """(stage_id, step) of what stage `index` grows from, as it enters the stage's id."""
        return [self.stage_ids[index - 1], self.left(index - 1)] if index else None

    def facts(self) -> dict[str, Any]:
        """All that the ids are made of, flat and as JSON gives it back: for naming differences."""
        found: dict[str, Any] = {"data": self.data, "seed": self.seed}
        found |= {f"code {name}": value for name, value in self.code.items()}
        for index, (settings, steps) in enumerate(zip(self.settings, self.left_at, strict=True)):
            found |= {f"stages.{index}: {key}": value for key, value in settings.items()}
            found[f"stages.{index}: steps"] = steps
        return json.loads(json.dumps(found))


def lineage(
    settings: SystemSettings,
    plan: Plan,
    data: str,
    code: dict[str, str],
    start: Start | None = None,
    recorded: tuple[str, ...] = (),
) -> Lineage:
    """The lineage of a run. A stage's own length is not in its identity; its parent's is, through
    the step at which the parent was left."""
    rows = []
    for index, stage in enumerate(plan.stages):
        row = settings.identity(index) | {
            "stage.resolution": stage.resolution,
            "stage.fade_images": stage.fade_images,
            "stage.task": stage.task,
        }
        if settings.at(index).counts_epochs:
            row["stage.epoch_images"] = stage.epoch_images
        if settings.at(index).counts_length:
            row["stage.steps"] = stage.steps
        rows.append(row)
    left_at = tuple(stage.steps for stage in plan.stages)
    return Lineage(tuple(rows), data, plan.seed, code, left_at, start, recorded)


def environment(
    device: torch.device, threads: int, packages: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What, next to a stage's identity, decides the bits of its results. `packages` are those that
    its settings use besides."""
    found: dict[str, Any] = {}
    for package in (*PACKAGES, *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    found["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model()
    found["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
    found["threads"] = threads
    found["deterministic"] = torch.are_deterministic_algorithms_enabled()
    found["tf32"] = False
    if device.type == "cuda":
        found["tf32"] = bool(torch.backends.cudnn.allow_tf32)
        found |= cuda_versions(device)
    return found


def cuda_versions(device: torch.device) -> dict[str, Any]:
    """What chooses a GPU's kernels: CUDA and cuDNN of this torch, the driver, the architecture."""
    return {
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "cuda_driver": driver_version(),
        "cuda_capability": ".".join(map(str, torch.cuda.get_device_capability(device))),
    }


def driver_version() -> str:
    """The NVIDIA driver's version as its kernel module gives it."""
    try:
        return Path("/sys/module/nvidia/version").read_text().strip()
    except OSError:
        return "unknown"


def cpu_model() -> str:
    """The processor's name as Linux gives it, or what the standard library knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        import platform

        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"


def differences(recorded: dict[str, Any], present: dict[str, Any]) -> list[str]:
    """One line per key whose values differ."""
    lines = []
    for key in sorted({*recorded, *present}):
        old, new = recorded.get(key, "absent"), present.get(key, "absent")
        if old != new:
            lines.append(f"{key}: recorded {old}, here {new}")
    return lines


def code_differences(recorded: dict[str, str], present: dict[str, str]) -> list[str]:
    """One line per definition (or file) that differs.

    Records of versions before 0.2 name files, later ones definitions: between the two nothing can
    be named.
    """
    if recorded == present:
        return []
    if recorded and present and not recorded.keys() & present.keys():
        return [
            f"recorded by {len(recorded)} names, here by {len(present)} others (files, or "
            "definitions): what changed has no name in common"
        ]
    short = [{name: sha[:12] for name, sha in code.items()} for code in (recorded, present)]
    lines = differences(short[0], short[1])
    return lines if len(lines) <= 20 else [*lines[:20], f"and {len(lines) - 20} more"]
