"""What the loop yields to its caller, and what is recorded of a finished stage."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from pydantic import TypeAdapter
from torch import Tensor

from ganforge.schedule import Kind, Position

_HASH = "_sha256"
#: stages are counted by settings, `stages.K`, which take six digits
_MOST_STAGES = 10**6
#: kinds of reports that no plan asks for: nothing is measured, recorded or shown of them
NOTICES = ("notice", "departure")


class _Trained:
    """What took seconds and workers. Where their number may change `device_seconds` are of all."""

    seconds: float
    workers: int
    device_seconds: float | None

    @property
    def devices(self) -> float:
        """Seconds times the workers that there were at the time."""
        found = self.device_seconds
        return self.seconds * self.workers if found is None else found


@dataclass(frozen=True)
class StageResult(_Trained):
    """What is recorded of a finished stage: one entry of stages.json.

    `hashes` are those of its last state: "generator_sha256" and so on, "state_sha256" over all.
    What the ids are made of stands with them, so that a difference can be named. `measurement_id`
    identifies the code that made the metrics; `equivalent` are the ids of the code under which the
    stage was trained, where it changed on the way and was seen to give the same bits. `rollbacks`
    are the steps at which the stage diverged and went back. The seconds of one that was `reused`,
    from the ledger, are those of the run that trained it. Where the number of workers may change
    `workers` are those at the end, and `device_seconds` those of all.
    """

    index: int
    resolution: int = 0
    images: int = 0
    steps: int = 0
    epochs: int = 0
    seconds: float = 0.0
    workers: int = 1
    stage_id: str = ""
    environment_id: str = ""
    hashes: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    parent: list[Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    code: dict[str, str] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    measurement_id: str = ""
    measurement: dict[str, str] = field(default_factory=dict)
    equivalent: list[str] = field(default_factory=list)
    rollbacks: list[int] = field(default_factory=list)
    reused: bool = False
    device_seconds: float | None = None

    @property
    def state_sha256(self) -> str:
        return self.hashes["state_sha256"]

    def score(self, metric: str) -> float | None:
        return self.metrics.get(metric)

    def bicubic(self, metric: str) -> float | None:
        """The same metric of bicubic interpolation, where that is measured."""
        return self.metrics.get(f"{metric}_bicubic")

    def to_json(self) -> dict[str, Any]:
        """Plain data; the hashes are keys of their own."""
        found = asdict(self)
        hashes = found.pop("hashes")
        return found | hashes

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`; what an older version did not record has its default."""
        names = {item.name for item in fields(cls)}
        known: dict[str, Any] = {key: value for key, value in record.items() if key in names}
        known["hashes"] = {key: value for key, value in record.items() if key.endswith(_HASH)}
        return cls(**known)


@dataclass(frozen=True)
class RungResult(_Trained):
    """What is recorded of a rung inside a stage, `rung` of the run, after `steps` steps of stage
    `index`; `seconds` are those of the stage up to there. One that was `reused` came with a stage
    from the ledger."""

    rung: int
    index: int
    steps: int
    seconds: float
    workers: int
    metrics: dict[str, float] = field(default_factory=dict)
    reused: bool = False
    device_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


_RUNG = TypeAdapter(RungResult)


def read_rungs(records: Iterable[Mapping[str, Any]]) -> dict[int, RungResult]:
    """Rungs in JSON form, by their number; ValueError where they are none."""
    found = (_RUNG.validate_python(dict(record)) for record in records)
    return {result.rung: result for result in found}


def read_stages(records: Iterable[Mapping[str, Any]]) -> dict[int, StageResult]:
    """The results in JSON form, by index."""
    return {result.index: result for result in map(StageResult.from_json, records)}


_STAGE = TypeAdapter(StageResult)


def checked_stages(records: Iterable[Mapping[str, Any]]) -> dict[int, StageResult]:
    """The same of records that anybody may have written; ValueError where they are of no stages."""
    found: dict[int, StageResult] = {}
    for record in records:
        try:
            result = StageResult.from_json(record)
            _STAGE.validate_json(json.dumps(vars(result)), strict=True)
        except (TypeError, RecursionError) as error:
            raise ValueError(str(error) or type(error).__name__) from None
        if not 0 <= result.index < _MOST_STAGES:
            raise ValueError(f"index: must be at least 0 and below {_MOST_STAGES}")
        found[result.index] = result
    return found


@dataclass(frozen=True)
class Report:
    """The state of a run at a position; a function of the position, the same on every rank.

    `images` is the number shown to the critic so far, all stages summed: the axis of every curve.
    `metrics` are named like "critic/wasserstein", "validation/psnr", "stage/alpha". `samples` is
    the sample grid, uint8 (H, W, 3), and `extra` are other grids by name. At a stage end `stage` is
    its result and `averaged` the safetensors bytes of the averaged generator. `rungs` are those
    inside stages that have come up since the last report. `state` are the hashes of a state that is
    stored here: "generator_sha256" and so on, "state_sha256" over all.
    """

    position: Position
    kind: Kind
    images: int
    metrics: dict[str, float]
    samples: Tensor | None = None
    stage: StageResult | None = None
    averaged: bytes | None = None
    state: dict[str, str] | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)
    rungs: tuple[RungResult, ...] = ()
