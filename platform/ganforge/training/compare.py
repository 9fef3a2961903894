"""A run done again against its record: what must be equal, and whether it is."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ganforge.data.cache import cache_directory
from ganforge.data.stored_catalog import stored_digests
from ganforge.training.lineage import code_differences, differences
from ganforge.training.prepare import Prepared
from ganforge.training.report import StageResult

#: Across environments bits differ. Metrics on held-out images then agree within these.
TOLERANCES = {"validation/psnr": 0.2, "validation/ssim": 0.01, "validation/swd": 3.0}


@dataclass(frozen=True)
class Verdict:
    """One stage compared. `lines` name what differs; `exact` says that bits were compared;
    `notes` explain what differs and is no fault."""

    index: int
    equal: bool
    exact: bool
    lines: tuple[str, ...]
    notes: tuple[str, ...] = ()


def obstacles(
    prepared: Prepared, results: Iterable[StageResult], images: dict[str, str]
) -> dict[str, list[str]]:
    """What differs between a record and what would be trained here: code, data, settings.

    `images` are the recorded sha256 of each image by name: those that differ are named.
    """
    found: dict[str, list[str]] = {"code": [], "data": [], "settings": []}
    present = prepared.lineage().settings
    for result in results:
        index = result.index
        found["code"] += code_differences(result.code, prepared.code)
        if result.data != prepared.facts.fingerprint:
            found["data"] += changed_images(images, present_images(prepared))
            found["data"].append(
                f"fingerprint: recorded {result.data[:12]}, here "
                f"{prepared.facts.fingerprint[:12]} ({prepared.facts.num_images} images)"
            )
        if index >= len(present):
            found["settings"].append(f"stage {index} is recorded, the settings have {len(present)}")
            continue
        recorded, here = result.settings, plain(present[index])
        found["settings"] += [f"stage {index}: {line}" for line in differences(recorded, here)]
        steps = prepared.lineage().left_at[index]
        if result.steps != steps:
            found["settings"].append(f"stage {index}: recorded {result.steps} steps, here {steps}")
    return {kind: list(dict.fromkeys(lines)) for kind, lines in found.items()}


def images_since(fingerprint: object, prepared: Prepared) -> list[str]:
    """A line for each image that was added, changed or removed since the images of a recorded
    fingerprint, if those were prepared on this machine."""
    if fingerprint == prepared.facts.fingerprint:
        return []
    recorded = stored_digests(fingerprint, cache_directory(prepared.settings.data))
    return changed_images(recorded, present_images(prepared))


def present_images(prepared: Prepared) -> dict[str, str]:
    """The sha256 of each image that a run would train on here, by name."""
    facts = prepared.facts
    if facts.digests:
        return dict(facts.digests)
    return stored_digests(facts.fingerprint, cache_directory(prepared.settings.data))


def changed_images(recorded: dict[str, str], here: dict[str, str]) -> list[str]:
    """A line for each image that differs, at most ten."""
    lines = []
    for name in sorted({*recorded, *here} if recorded else ()):
        if recorded.get(name) != here.get(name):
            word = "changed" if name in recorded and name in here else "missing"
            lines.append(f"image {name}: {word if name in recorded else 'not in the record'}")
    return lines if len(lines) <= 10 else [*lines[:10], f"and {len(lines) - 10} more images"]


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives it back: tuples are lists."""
    return {key: list(v) if isinstance(v, tuple) else v for key, v in settings.items()}


def differing(recorded: dict[str, str], here: dict[str, str]) -> list[str]:
    """A line for each group of a state (generator, critic, …) whose hash differs."""
    return [
        f"{key}: recorded {value[:12]}, here {here.get(key, 'nothing')[:12]}"
        for key, value in recorded.items()
        if value != here.get(key)
    ]


def judge(recorded: StageResult, again: StageResult, *, other_code: bool) -> Verdict:
    """Compare one stage's results: bits where the environment is the same, else metrics.

    Metrics made by other code from equal states are explained in `notes`: no bit depends on them.
    """
    exact = recorded.environment == again.environment
    lines, notes = [], []
    if exact:
        lines += differing(recorded.hashes, again.hashes)
        if not (other_code or recorded.equivalent) and recorded.stage_id != again.stage_id:
            lines.append("stage_id differs")
    measured_alike = recorded.measurement_id == again.measurement_id
    for name, value in recorded.metrics.items():
        if name.startswith("speed/"):
            continue
        here = again.metrics.get(name)
        allowed = 0.0 if exact else TOLERANCES.get(name)
        if allowed is None or (here is not None and abs(here - value) <= allowed):
            continue
        line = f"{name}: recorded {value}, here {here}"
        if exact and not lines and not measured_alike and name.startswith("validation/"):
            notes.append(line)
        else:
            lines.append(line)
    if notes:
        changed = code_differences(recorded.measurement, again.measurement)
        notes += [f"measured by other code: {line}" for line in changed]
    return Verdict(recorded.index, not lines, exact, tuple(lines), tuple(notes))
