"""What is reported and stored of a run with its tensors: results of stages, seconds, manifests."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from ganforge.data.base import Data
from ganforge.schedule import Kind, Plan, Position
from ganforge.settings import to_json
from ganforge.systems.base import System
from ganforge.systems.catalog import load_system
from ganforge.training.checkpoint import Snapshot, pack, state_hashes
from ganforge.training.lineage import Lineage, digest
from ganforge.training.loop import Training
from ganforge.training.measure import draw, measure
from ganforge.training.prepare import Prepared
from ganforge.training.report import Report, RungResult, StageResult, read_rungs
from ganforge.training.resume import Equivalent
from ganforge.training.workers import Workers


class Clock:
    """Seconds and images per second: reported to people, never used by the training. `devices` are
    the device-seconds before `world` workers began."""

    def __init__(self, images: int, seconds: float, devices: float = 0.0, world: int = 1):
        self._last = self._stage = time.monotonic()
        self._images, self._before = images, seconds
        self._devices, self.world = devices, world

    def timed(self, report: Report) -> Report:
        """The report with the speed since the last one, the time others took with that included."""
        now = time.monotonic()
        shown, spent = report.images - self._images, now - self._last
        self._last, self._images = now, report.images
        if shown <= 0 or spent <= 0:  # nothing new, or gone back
            return report
        return replace(report, metrics=report.metrics | {"speed/images_per_second": shown / spent})

    @property
    def stage_seconds(self) -> float:
        return self._before + time.monotonic() - self._stage

    @property
    def stage_devices(self) -> float:
        return self._devices + self.world * (self.stage_seconds - self._before)

    def skip(self, seconds: float) -> None:
        """Count `seconds` that have just passed to no stage."""
        self._last, self._stage = self._last + seconds, self._stage + seconds

    def next_stage(self) -> None:
        self._before, self._devices, self._stage = 0.0, 0.0, time.monotonic()


class RunRecord:
    """What reports and manifests say of one run, with what came before `snapshot`."""

    def __init__(
        self,
        prepared: Prepared,
        plan: Plan,
        lineage: Lineage,
        environment: dict[str, Any],
        snapshot: Snapshot | None,
        rank: int,
        equivalent: Equivalent | None = None,
        world: int = 1,
    ):
        self.equivalent = equivalent
        #: recorded where it may change
        self.world = None if prepared.settings.workers_at_least is None else world
        self.prepared, self.plan, self.lineage, self.rank = prepared, plan, lineage, rank
        self.environment, self.environment_id = environment, digest(environment)
        self.stages: list[StageResult] = []
        #: those inside stages
        self.rungs: dict[int, RungResult] = {}
        shown, seconds, devices = 0, 0.0, 0.0
        if snapshot is not None:
            position = snapshot.position
            shown, seconds = plan.images_before(position), snapshot.manifest["seconds"]
            before = snapshot.manifest["settings"].get("settings", {}).get("workers", 1)
            devices = snapshot.manifest.get("device_seconds", seconds * before)
            self.stages = [StageResult.from_json(r) for r in snapshot.manifest["stages"]]
            if position.step < plan.stages[position.index].steps:
                # a stage that has become longer continues, and its seconds are counted on
                for result in self.stages[position.index :]:
                    seconds, devices = result.seconds, result.devices
                del self.stages[position.index :]
            self.rungs = rungs_inside(snapshot.manifest, plan)
        self.clock = Clock(shown, seconds, devices, world)

    def describe(self, training: Training, report: Report) -> Report:
        """The report with its speed, and the hashes of a state that is stored.

        At a stage's end with its result and the averaged network; at a rung inside one with that.
        """
        report = self.clock.timed(report)
        if self.world is not None:
            count = {"speed/workers": float(self.world)}
            report = replace(report, metrics=report.metrics | count)
        if training.rollbacks:
            count = {"training/rollbacks": float(len(training.rollbacks))}
            report = replace(report, metrics=report.metrics | count)
        if not self.plan.stores(report.position):
            return report
        hashes = state_hashes(training.system)
        report = replace(report, state=hashes)
        if report.kind != "stage":
            rung = self.plan.rung(report.position)
            if rung is None:
                return report
            index, step = report.position.index, report.position.step
            seconds = round(self.clock.stage_seconds, 3)
            found = RungResult(
                rung, index, step, seconds, self._workers, report.metrics, False, self._devices
            )
            self.rungs[rung] = found
            return replace(report, rungs=(found,))
        codes = self.equivalent.codes_of(report.position.index) if self.equivalent else ()
        index, stage = report.position.index, self.plan.stages[report.position.index]
        result = StageResult(
            index=index,
            resolution=stage.resolution,
            images=stage.steps * stage.batch_size,
            steps=stage.steps,
            epochs=self.prepared.settings.stages[index].epochs,
            seconds=round(self.clock.stage_seconds, 3),
            workers=self._workers,
            device_seconds=self._devices,
            stage_id=self.lineage.stage_ids[index],
            environment_id=self.environment_id,
            hashes=hashes,
            metrics=report.metrics,
            parent=self.lineage.parent(index),
            settings=self.lineage.settings[index],
            data=self.lineage.data,
            code=self.lineage.code,
            environment=self.environment,
            measurement_id=digest(self.prepared.measurement),
            measurement=self.prepared.measurement,
            equivalent=list(codes),
            rollbacks=[where.step for where in training.rollbacks if where.index == index],
        )
        self.stages[index:] = [result]
        self.clock.next_stage()
        metrics = report.metrics | {"stages_done": float(index + 1)}
        averaged = self._averaged(training.system, report.position)
        return replace(report, stage=result, averaged=averaged, metrics=metrics)

    @property
    def _workers(self) -> int:
        return self.prepared.settings.workers if self.world is None else self.world

    @property
    def _devices(self) -> float | None:
        return None if self.world is None else round(self.clock.stage_devices, 3)

    def manifest(self, report: Report, training: Training) -> dict[str, Any]:
        """What a checkpoint's manifest says next to its files."""
        start = self.lineage.start
        ended = report.kind == "stage"
        devices = {} if ended or self.world is None else {"device_seconds": self._devices}
        return {
            "kind": report.kind,
            "stage_id": self.lineage.stage_ids[report.position.index],
            "environment_id": self.environment_id,
            "environment": self.environment,
            "identity": self.lineage.facts(),
            "settings": json.loads(to_json(self.prepared.settings)),
            "stage": asdict(self.plan.stages[report.position.index]),
            "state": report.state,
            "equivalent": self.equivalent and asdict(self.equivalent),
            "rollbacks": [[where.index, where.step] for where in training.rollbacks],
            "start": start and {"stage_ids": start.stage_ids, "step": start.step},
            "metrics": report.metrics,
            "stages": [result.to_json() for result in self.stages],
            "rungs": [self.rungs[rung].to_json() for rung in sorted(self.rungs)],
            "seconds": 0.0 if ended else self.clock.stage_seconds,
            "score": self._score(report),
            **({"scored_by": [*named]} if (named := self.prepared.settings.keep_by) else {}),
            **devices,
        }

    def _score(self, report: Report) -> float | list[float] | None:
        """What the state is kept by, more is better: a number, or one for each of several metrics;
        None where one of them was not measured."""
        kind = load_system(self.prepared.system)
        modes = {metric.name: metric.mode for metric in (kind.metric, *kind.metrics)}
        names = self.prepared.settings.keep_by or (kind.metric.name,)
        values = [report.metrics.get(name, math.nan) for name in names]
        if any(map(math.isnan, values)):
            return None
        # what networks compare, which a kind does not list, is a distance
        signs = [1 if modes.get(name, "min") == "max" else -1 for name in names]
        found = [sign * value for sign, value in zip(signs, values, strict=True)]
        return found if len(found) > 1 else found[0]

    def reported_again(self, snapshot: Snapshot, training: Training, data: Data) -> Report:
        """The report of a stored state: the process may have died between storing and reporting."""
        manifest, position = snapshot.manifest, snapshot.position
        ended = position.step == self.plan.stages[position.index].steps
        kind: Kind = manifest["kind"]
        metrics = manifest["metrics"]
        if kind == "stage" and not ended:
            kind = "checkpoint"
            metrics = {name: value for name, value in metrics.items() if name != "stages_done"}
        report = Report(
            position,
            kind,
            self.plan.images_before(position),
            metrics,
            stage=self.stages[position.index] if ended else None,
            averaged=self._averaged(training.system, position) if ended else None,
            state=manifest["state"],
            rungs=tuple(self.rungs.values()),
        )
        return draw(training, self.plan, data, self.rank, report)

    def taken_over(
        self, snapshot: Snapshot, training: Training, data: Data, workers: Workers
    ) -> Report:
        """The report of a stage that came from the ledger, measured here: only its tensors are
        vouched for by the state's hash. Its rungs inside were measured by the run that trained it.
        """
        manifest, position = snapshot.manifest, snapshot.position
        result = StageResult.from_json(manifest["stages"][-1])
        again = ("validation/", "speed/", "stages_done")
        trained = {n: v for n, v in manifest["metrics"].items() if not n.startswith(again)}
        images, state = self.plan.images_before(position), state_hashes(training.system)
        report = Report(position, "stage", images, trained, state=state)
        report = measure(training, self.plan, data, workers, report, self.prepared.assets)
        measurement = self.prepared.measurement
        result = replace(
            result,
            metrics=report.metrics,
            measurement_id=digest(measurement),
            measurement=measurement,
            hashes=state,
            reused=True,
        )
        self.stages[position.index :] = [result]
        found = rungs_inside(manifest, self.plan).values()
        inside = tuple(replace(r, reused=True) for r in found if r.index == position.index)
        self.rungs |= {rung.rung: rung for rung in inside}
        self.clock.next_stage()
        metrics = report.metrics | {"stages_done": float(position.index + 1)}
        averaged = self._averaged(training.system, position)
        return replace(report, stage=result, averaged=averaged, metrics=metrics, rungs=inside)

    def _averaged(self, system: System, position: Position) -> bytes | None:
        """The deployable network of a stage as safetensors, on rank 0."""
        if self.rank:
            return None
        progress = self.plan.progress(position.index, position.step)
        return pack(dict(system.deploy(progress).state_dict()))


def rungs_inside(manifest: Mapping[str, Any], plan: Plan) -> dict[int, RungResult]:
    """The rungs inside stages that a stored state remembers, as far as `plan` has the same ones."""
    found = read_rungs(manifest.get("rungs", ()))
    return {
        number: rung
        for number, rung in found.items()
        if 0 < number <= plan.num_rungs
        and plan.rung_end(number) == Position(rung.index, rung.steps)
        and rung.steps < plan.stages[rung.index].steps
    }
