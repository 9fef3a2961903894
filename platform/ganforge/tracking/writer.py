"""Writes one report into a run: its metrics, its sample grid, a finished stage."""

import json
import math
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import Metric

from ganforge.tracking.read import STAGES, fetch_stages
from ganforge.tracking.record import Tracking
from ganforge.tracking.store import open_client
from ganforge.training.report import Report

_FORBIDDEN = re.compile(r"[^\w\-. :/]")
_BATCH = 1000
GRID = "samples/grid"


class Writer:
    """Writes synchronously and raises what the store raises; continues a run that has begun."""

    def __init__(
        self, tracking: Tracking, metric: str, mode: str, stages: Sequence[dict[str, Any]] = ()
    ):
        self.client = open_client(tracking.uri)
        self.run_id = tracking.run_id
        self.metric, self.sign = metric, 1 if mode == "max" else -1
        self.non_finite = 0
        self.best: float | None = self.client.get_run(self.run_id).data.metrics.get(
            f"{metric}_best"
        )
        rows = [*fetch_stages(tracking.uri, self.run_id), *stages]
        self.rows: dict[int, dict[str, Any]] = {row["index"]: row for row in rows}

    def write(self, report: Report) -> None:
        """Everything in a report, on the axis `images`. Writing twice leaves the same record."""
        self._metrics(report)
        if report.samples is not None:
            self._samples(report)
        if report.stage is not None:
            self._stage(report.stage, report.averaged)

    def _metrics(self, report: Report) -> None:
        found = dict(report.metrics)
        value = found.get(self.metric)
        if value is not None and math.isfinite(value):
            if self.best is None or self.sign * value > self.sign * self.best:
                self.best = value
            # tables show the last value, so the best is a metric of its own
            found[f"{self.metric}_best"] = self.best
        finite = {_FORBIDDEN.sub("_", k): v for k, v in found.items() if math.isfinite(v)}
        if len(finite) < len(found):
            # the store would turn infinity into 1.8e308 and chart it
            self.non_finite += len(found) - len(finite)
            finite["tracking/non_finite"] = float(self.non_finite)
        now = int(time.time() * 1000)
        points = [Metric(key, value, now, report.images) for key, value in finite.items()]
        for first in range(0, len(points), _BATCH):
            self.client.log_batch(self.run_id, metrics=points[first : first + _BATCH])

    def _samples(self, report: Report) -> None:
        assert report.samples is not None
        pixels = report.samples.cpu().numpy()
        index, step = report.position.index, report.position.step
        if step > 0 or index == 0:
            # trials' stages differ in images, and the slider of the comparison is one for all: 100
            # to a stage. A stage's start has the number of the end before it: one picture each.
            mark = round(100 * (index + report.metrics.get("stage/done", 0.0)))
            self.client.log_image(self.run_id, pixels, key=GRID, step=mark, synchronous=True)
        path = f"grids/stage-{index}-{step:06d}.png"
        self.client.log_image(self.run_id, pixels, artifact_file=path)
        for key, grid in report.extra.items() if step > 0 or index == 0 else ():
            self.client.log_image(
                self.run_id, grid.cpu().numpy(), key=key, step=report.images, synchronous=True
            )

    def _stage(self, row: dict[str, Any], averaged: bytes | None) -> None:
        index = row["index"]
        if averaged is not None:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "generator.safetensors"
                file.write_bytes(averaged)
                self.client.log_artifact(self.run_id, str(file), f"stages/{index}")
        self.rows[index] = row
        rows = [self.rows[number] for number in sorted(self.rows)]
        self.client.log_text(self.run_id, json.dumps(rows, indent=1), STAGES)
