"""The settings that every system shares."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from ganforge.data.settings import DataSettings, ValidationSettings
from ganforge.settings import (
    SettingsError,
    Strict,
    field_flags,
    flatten,
    override,
    per_stage_keys,
    setting,
    shown,
    unknown,
)
from ganforge.systems.optimizers import Optimized

#: which checkpoints are kept
_KEEP = re.compile(r"all|last|best:0*[1-9][0-9]{0,5}")


class StageSettings(Strict):
    """One stage. Settings marked per-stage may be overridden here under their own dotted key."""

    resolution: int = setting(32, "side of the target images in pixels", ge=4)
    epochs: int = setting(1, "length in epochs, the fade included", ge=1)
    fade_epochs: float = setting(0, "epochs over which the newest block fades in", ge=0)
    images: int | None = setting(None, "length in images; none: by `epochs`", ge=1)
    fade_images: int | None = setting(
        None, "images over which the newest block fades in; none: by `fade_epochs`", ge=0
    )
    iterations: int | None = setting(
        None, "length in batches; none: by `images`, `epochs`", ge=1, added=True
    )
    fade_iterations: int | None = setting(
        None, "batches over which the newest block fades in, where `iterations` is given", ge=0,
        added=True,
    )  # fmt: skip
    task: Literal["adversarial", "pixel"] = setting("adversarial", "which objectives are trained")
    overrides: dict[str, Any] = setting({}, "per-stage values by dotted key")


class SystemSettings(Strict):
    """Settings of every system; a system adds its own and sets its defaults."""

    #: Whether stages are a ladder of resolutions; else all have one size.
    grows: ClassVar[bool] = True

    system: str = setting("", "which system these settings are for")
    seed: int = setting(0, "seed of the training", ge=0, lt=2**31)
    channels: int = setting(3, "image channels: 3 colour, 1 grey", ge=1, le=4)
    batch_size: int = setting(16, "images per step over all workers", ge=1, per_stage=True)
    shards: int = setting(
        4, "slices of a batch with their own forward pass; also the most workers", ge=1
    )
    stages: tuple[StageSettings, ...] = setting((StageSettings(),), "the stages, in order")
    images_per_epoch: int | None = setting(
        None, "length of an epoch; none: images, or crops that tile them", ge=1, per_stage=True
    )
    alpha_unit: Literal["step", "epoch"] = setting("step", "how often the fade-in weight moves")
    reset_optimizer: bool = setting(False, "forget the optimizers' moments at each growth")
    precision: Literal["float32", "tf32", "bfloat16"] = setting(
        "float32",
        "of training. tf32: a GPU's matrix products and convolutions round their inputs to 11 "
        "bits; bfloat16: autocast with float32 weights, penalty and losses",
    )
    on_divergence: Literal["stop", "rollback"] = setting(
        "stop",
        "when a value is not finite: end the run, or go back to the last good state with halved "
        "learning rates, three times at most",
        added=True,
    )
    initial_weights: str = setting(
        "none", "weights that training begins with: none, or a file (--from takes more)", added=True
    )
    data: DataSettings = setting(DataSettings(), "images")
    validation: ValidationSettings = setting(ValidationSettings(), "held-out images")
    # How it runs. Threads, device and determinism enter environment_id; the rest reaches no weight.
    threads: int = setting(1, "CPU threads of each worker", ge=1, le=1024, weights=False)
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "where to train", weights=False)
    workers: int = setting(1, "training processes", ge=1, weights=False)
    workers_at_least: int | None = setting(
        None,
        "fewest training processes with which a run continues when machines are lost; it takes "
        "more, up to `workers`, when there are some; none: it waits for all",
        ge=1,
        weights=False,
        added=True,
    )
    exact_world_size: bool = setting(True, "same bits for any number of workers")
    deterministic: bool = setting(
        True, "only algorithms that repeat their bits on a GPU; off: faster", weights=False
    )
    cuda_graphs: bool = setting(
        True,
        "on a GPU, replay each shard's pass as one CUDA graph where the system allows it: the same "
        "bits, faster",
        weights=False,
    )
    reports_per_stage: int = setting(10, "progress reports in a stage", ge=1, weights=False)
    rungs: int = setting(
        1, "equal parts of a stage; at their ends a search may pause a trial", ge=1, weights=False
    )
    checkpoint_every: int | None = setting(
        None, "steps between checkpoints inside a stage; none: at reports", ge=1, weights=False
    )
    keep: str = setting(
        "last",
        "checkpoints kept: all, last, or best:N, which adds the N best that were measured",
        weights=False,
    )
    keep_by: tuple[str, ...] = setting(
        (),
        "the metrics that best:N goes by, such as validation/ssim; none: the system's own; of "
        "several, states that no other is as good as in all of them come first",
        weights=False,
        added=True,
    )

    @field_validator("keep_by", mode="before")
    @classmethod
    def _named_metrics(cls, value: Any) -> Any:
        """Names with blanks around them, as a list on a command line may have; none as no name."""
        names = (value,) if isinstance(value, str) else value
        if names is None or isinstance(names, list | tuple):
            found = [name.strip() if isinstance(name, str) else name for name in names or ()]
            return tuple(name for name in found if name not in ("", "none", None))
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = [*self._stage_problems(), *self._shard_problems()]
        if not _KEEP.fullmatch(self.keep):
            problems.append(f"keep = {shown(self.keep)}: must be all, last, or best:N with N ≥ 1")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _stage_problems(self) -> list[str]:
        if not self.stages:
            return ["stages is empty: give at least one stage"]
        problems: list[str] = []
        others: list[str] = []
        allowed = per_stage_keys(self) if any(s.overrides for s in self.stages) else set[str]()
        for number, stage in enumerate(self.stages):
            strange = [key for key in stage.overrides if key not in allowed]
            problems += [unknown(f"stages.{number}.{key}", self) for key in strange]
            problems += _length_problems(number, stage)
            if strange or not stage.overrides:
                continue
            try:
                typed = flatten(self.at(number))
                # as its type, and not as the text of a command line or a record
                stage.overrides.update({key: typed[key] for key in stage.overrides})
            except SettingsError as error:
                for line in str(error).split("\n"):
                    # what is wrong with the stages themselves is wrong without overrides too
                    if not line.startswith("stages."):
                        own = line.startswith(tuple(stage.overrides))
                        (problems if own else others).append(f"stages.{number}.{line}")
        return problems or others

    def _shard_problems(self) -> list[str]:
        problems = []
        sizes = [("batch_size", self.batch_size)]
        for number, stage in enumerate(self.stages):
            if "batch_size" in stage.overrides:
                given = stage.overrides["batch_size"]
                if isinstance(given, int):  # else it is named already
                    sizes.append((f"stages.{number}.batch_size", given))
        for key, size in sizes:
            if size % self.shards:
                problems.append(
                    f"{key} = {size}: must be a multiple of shards ({self.shards}); "
                    "change one of the two"
                )
        if self.exact_world_size and self.workers > self.shards:
            problems.append(
                f"workers = {self.workers}: must be at most shards ({self.shards}), since a shard "
                "is not divided; raise shards or lower workers"
            )
        return problems + self._elastic_problems()

    def _elastic_problems(self) -> list[str]:
        least = self.workers_at_least
        if least is None:
            return []
        if least > self.workers:
            return [
                f"workers_at_least = {least}: must be at most workers ({self.workers}), the most "
                "that a run takes; raise workers or lower workers_at_least"
            ]
        if not self.exact_world_size:
            return [
                f"workers_at_least = {least}: needs exact_world_size, without which the number of "
                "workers decides the bits; set exact_world_size = true or leave it out"
            ]
        return []

    @property
    def fewest_workers(self) -> int:
        """With how many workers a run trains at least."""
        return self.workers if self.workers_at_least is None else self.workers_at_least

    @property
    def counts_epochs(self) -> bool:
        """Whether a step's objectives or learning rates, or where a run goes back to, depend on the
        length of an epoch, which is then a part of the stage's identity."""
        going_back = self.on_divergence == "rollback"
        return self.alpha_unit == "epoch" or (going_back and bool(self.validation.every_epochs))

    @property
    def counts_length(self) -> bool:
        """Whether a learning rate, or where a run goes back to, depends on the stage's own length,
        which is then a part of the stage's identity."""
        if self.on_divergence == "rollback":
            return True
        groups = (getattr(self, name) for name in type(self).model_fields)
        return any(g.schedule.by_length for g in groups if isinstance(g, Optimized))

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages that these settings use and most do not, whose versions can change bits."""
        return ()

    def at(self, index: int) -> Self:
        """The settings in force at stage `index`: its overrides applied, `stages` without any."""
        bare = tuple(stage.model_copy(update={"overrides": {}}) for stage in self.stages)
        plain = self.model_copy(update={"stages": bare})
        return (
            override(plain, self.stages[index].overrides) if self.stages[index].overrides else plain
        )

    def identity(self, index: int) -> dict[str, Any]:
        """What can change a weight at stage `index`, by dotted key; without the stages' lengths."""
        effective = self.at(index)
        marks, values = field_flags(effective), flatten(effective)
        found = {
            key: value
            for key, value in values.items()
            if marks[key]["weights"]
            and not marks[key]["added"]
            and not key.startswith(("stages.", "images_per_epoch"))
        }
        if effective.on_divergence == "rollback":
            # a run that diverges goes back to its newest stored state: these say where states are
            found |= {key: values[key] for key, usual in _STORING.items() if values[key] != usual}
        return found


#: settings that decide at which steps of a stage states are stored, and what stays out of the ids
_STORING = {
    "reports_per_stage": 10,
    "rungs": 1,
    "checkpoint_every": None,
    "validation.every_epochs": None,
}


def _length_problems(number: int, stage: StageSettings) -> list[str]:
    """A stage has one length, its fade at most that, and both are counted in one unit."""
    where = f"stages.{number}"
    if stage.images is not None and stage.iterations is not None:
        return [
            f"{where}.iterations = {stage.iterations}: {where}.images = {stage.images} gives the "
            "length already; keep one of the two"
        ]
    unit = next((u for u in ("images", "iterations") if getattr(stage, u) is not None), "epochs")
    length = getattr(stage, unit)
    for other in ("epochs", "images", "iterations"):
        fade = getattr(stage, f"fade_{other}") or 0
        key = f"{where}.fade_{other} = {fade}"
        if other == unit and fade > length:
            return [f"{key}: must be at most {where}.{unit} ({length})"]
        if other != unit and fade and unit == "epochs":
            return [f"{key}: needs {where}.{other}, the stage's own length in {other}"]
        if other != unit and fade:
            return [
                f"{key}: {where}.{unit} = {length} is the stage's length; give {where}.fade_{unit}"
            ]
    return []


def doubling_problems(stages: Sequence[StageSettings], least: int, why: str) -> list[str]:
    """A ladder of powers of two from at least `least` pixels, each stage twice the one before."""
    first = stages[0].resolution
    problems = []
    if first & (first - 1) or first < least:
        problems.append(
            f"stages.0.resolution = {first}: must be a power of two, at least {least} ({why})"
        )
    for number, (old, new) in enumerate(pairwise(stages), 1):
        if new.resolution != 2 * old.resolution:
            problems.append(
                f"stages.{number}.resolution = {new.resolution}: must be twice the resolution of "
                f"the stage before it ({old.resolution})"
            )
    return problems


def constant_problems(stages: Sequence[StageSettings]) -> list[str]:
    """Networks that do not grow have one resolution."""
    first = stages[0].resolution
    return [
        f"stages.{number}.resolution = {stage.resolution}: these networks do not grow, so it must "
        f"be that of the first stage ({first})"
        for number, stage in enumerate(stages)
        if stage.resolution != first
    ]


def ladder(
    start: int,
    target: int,
    *,
    scale: int = 2,
    epochs: int | Sequence[int] = 1,
    fade_epochs: float | Sequence[float] = 0,
) -> tuple[StageSettings, ...]:
    """Stages whose source side doubles from `start` until the target side is `target`.

    Lengths are one number for every stage or one per stage; the first stage has nothing to fade.
    """
    for key, side in (("start", start), ("target", target)):
        if side < 4 or side & (side - 1):
            raise SettingsError(f"{key} = {side}: must be a power of two, at least 4")
    if target < start * scale:
        raise SettingsError(
            f"target = {target}: must be at least start × scale "
            f"({start} × {scale} = {start * scale})"
        )
    count = (target // (start * scale)).bit_length()
    stages = []
    for number in range(count):
        length = epochs if isinstance(epochs, int) else epochs[min(number, len(epochs) - 1)]
        fade = (
            fade_epochs
            if isinstance(fade_epochs, int | float)
            else fade_epochs[min(number, len(fade_epochs) - 1)]
        )
        stages.append(
            StageSettings(
                resolution=start * scale * 2**number,
                epochs=length,
                fade_epochs=0 if number == 0 else fade,
            )
        )
    return tuple(stages)
