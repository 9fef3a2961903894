"""How long, at which resolution, how far: everything that is a function of a position.

Nothing here reads a clock. Lengths are counted in images of the global batch.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

#: a plan asks for the first three; at a notice a state is stored between two batches because the
#: process may end soon, at a departure it does end, to be resumed
Kind = Literal["progress", "checkpoint", "stage", "notice", "departure"]


@dataclass(frozen=True)
class Stage:
    """One row of the plan. `fade_images` is the first part of `images`; `resolution` is the side
    of the target images; `epoch_images` is the length of one pass over the data."""

    resolution: int
    images: int
    fade_images: int
    batch_size: int
    shards: int
    task: str = "adversarial"
    epoch_images: int = 0
    alpha_unit: str = "step"

    @property
    def steps(self) -> int:
        """Global batches in this stage; the last one is full, so `images` is rounded up."""
        return max(1, math.ceil(self.images / self.batch_size))

    @property
    def shard_size(self) -> int:
        return self.batch_size // self.shards

    def fading(self, step: int) -> bool:
        return step * self.batch_size < self.fade_images

    def alpha(self, step: int) -> float:
        """Weight of the newest block at `step`: 0 at growth, linear, exactly 1 after the fade.

        With `alpha_unit = "epoch"` it moves once per epoch e of E fade epochs: e / (E - 1).
        """
        if not self.fading(step):
            return 1.0
        shown = step * self.batch_size
        if self.alpha_unit == "epoch":
            epochs = math.ceil(self.fade_images / self.epoch_images)
            return (shown // self.epoch_images) / max(epochs - 1, 1)
        return shown / self.fade_images


@dataclass(frozen=True, order=True)
class Position:
    """`step` batches of stage `index` are done."""

    index: int = 0
    step: int = 0

    def __str__(self) -> str:
        return f"stage {self.index}, step {self.step}"

    def step_in(self, index: int) -> int:
        """The first step of stage `index` that is not done yet."""
        return self.step if index == self.index else 0


@dataclass(frozen=True)
class Progress:
    """Where one step is: an argument of every network and objective, never their attribute.

    `fading` is a constant of the graph, `alpha` a run-time value: a tensor of shape () that is
    exactly 1 when not fading. `settings` are those in force at this stage. `rate` multiplies all
    learning rates.
    """

    index: int
    stage: Stage
    step: int
    settings: Any
    fading: bool
    alpha: Tensor
    rate: float = 1.0


def finished(settings: Any, index: int) -> Progress:
    """The end of a stage, as a generator sees it: nothing fades."""
    row = settings.stages[index]
    stage = Stage(row.resolution, 1, 0, settings.batch_size, settings.shards)
    alpha = torch.tensor(1.0)
    return Progress(index, stage, 1, settings.at(index), fading=False, alpha=alpha)


@dataclass(frozen=True)
class Plan:
    """All stages of a run, and the positions at which it yields.

    `settings[k]` are the settings in force at stage k. With `stores_reports` every report but those
    right after a growth is a checkpoint. `rate` multiplies all learning rates. Each stage has as
    many `rungs`, the last of which is its end: a search decides there whether the run goes on, so
    its state is stored and its networks are validated.
    """

    stages: tuple[Stage, ...]
    settings: tuple[Any, ...]
    seed: int
    reports_per_stage: int = 10
    rungs: int = 1
    checkpoint_every: int | None = None
    validate_every_epochs: int | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    stores_reports: bool = False
    rate: float = 1.0

    def stages_from(self, position: Position) -> Iterator[tuple[int, Stage]]:
        """The stages that still have steps to do, from `position` on."""
        for index, stage in enumerate(self.stages):
            if index >= position.index and position.step_in(index) < stage.steps:
                yield index, stage

    @property
    def num_rungs(self) -> int:
        """Those of the whole run."""
        return len(self.stages) * self.rungs

    def rung(self, position: Position) -> int | None:
        """The rung that ends at `position`, from 1 on through the run; None where none does."""
        step, steps = position.step, self.stages[position.index].steps
        part = step * self.rungs // steps
        if step == 0 or part == (step - 1) * self.rungs // steps:
            return None
        return position.index * self.rungs + part

    def part(self, rung: int) -> tuple[int, int]:
        """(stage, how many of its parts are done) at a rung, counted from 1 through the run."""
        index, before = divmod(rung - 1, self.rungs)
        return index, before + 1

    def rung_end(self, rung: int) -> Position:
        """Where a rung ends, counted from 1 through the run."""
        index, part = self.part(rung)
        return Position(index, math.ceil(part * self.stages[index].steps / self.rungs))

    def progress(self, index: int, step: int) -> Progress:
        stage = self.stages[index]
        # filled in place: a number that is copied to a GPU would wait for the kernels before it
        alpha = torch.full((), stage.alpha(step), device=self.device)
        fading = stage.fading(step)
        return Progress(index, stage, step, self.settings[index], fading, alpha, self.rate)

    def images_before(self, position: Position) -> int:
        """Images shown to the critic up to `position`, all stages summed."""
        full = sum(s.steps * s.batch_size for s in self.stages[: position.index])
        return full + position.step * self.stages[position.index].batch_size

    def yields(self, position: Position) -> Kind | None:
        """What is reported at `position`: a function of the position, the same on every rank."""
        stage = self.stages[position.index]
        step = position.step
        if step == stage.steps:
            return "stage"
        if step == 0:
            return "progress"
        if self.rung(position) is not None:
            return "checkpoint"
        if self.checkpoint_every and step % self.checkpoint_every == 0:
            return "checkpoint"
        # the r-th of `reports` equal parts ends where floor(step·reports/steps) goes up
        reports = min(self.reports_per_stage, stage.steps)
        if step * reports // stage.steps > (step - 1) * reports // stage.steps:
            return "progress"
        return "progress" if self._validation_step(stage, step) else None

    def stores(self, position: Position) -> bool:
        """Stage ends and checkpoints are stored; without `checkpoint_every` every report but those
        right after a growth is a checkpoint."""
        kind = self.yields(position)
        if kind != "progress":
            return kind is not None
        return (self.checkpoint_every is None or self.stores_reports) and position.step > 0

    def validates(self, position: Position) -> bool:
        """Validation at rungs, right after a growth, and each k epochs where asked for."""
        stage = self.stages[position.index]
        if position.step in (0, stage.steps):
            return position.step > 0 or position.index > 0
        return self.rung(position) is not None or self._validation_step(stage, position.step)

    def samples(self, position: Position) -> bool:
        """Sample grids at the start, a tenth, a fifth, the half and the end of a stage: most fades
        happen early, and `done` is the same in every trial of a search."""
        stage = self.stages[position.index]
        reports = min(self.reports_per_stage, stage.steps)
        marks = {max(1, reports // part) for part in (10, 5, 2)}
        steps = {math.ceil(mark * stage.steps / reports) for mark in marks}
        return position.step in {0, *steps, stage.steps}

    def done(self, position: Position) -> float:
        """Part of its stage that is done at `position`, in whole parts of `reports_per_stage`, so
        that stages of different lengths are reported at equal values; 0 to 1."""
        stage = self.stages[position.index]
        reports = min(self.reports_per_stage, stage.steps)
        return position.step * reports // stage.steps / reports

    def _validation_step(self, stage: Stage, step: int) -> bool:
        every = self.validate_every_epochs
        if not every or not stage.epoch_images:
            return False
        images = every * stage.epoch_images
        size = stage.batch_size
        return step * size // images > (step - 1) * size // images
