"""What rank 0 records of a run: its reports as entries of a spool, sent by a thread.

A store that is slow or down never slows or ends training.
"""

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ganforge.assets import cache_directory
from ganforge.tracking.outbox.log import Busy, Entry
from ganforge.tracking.outbox.outbox import Outbox
from ganforge.tracking.outbox.remote import RemoteOutbox
from ganforge.tracking.outbox.sender import Sender
from ganforge.tracking.run_ref import RunRef
from ganforge.training.report import Report, StageResult, read_stages

GRID = "samples/grid"
_FORBIDDEN = re.compile(r"[^\w\-. :/]")
_THUMBNAIL = 256  # the largest side of the images that the store's page shows in a row


def default_spool(tracking: RunRef) -> Path:
    """Where the spool of a run lies that has no store for its states on a disk."""
    name = tracking.run_id or tracking.key.replace("/", "-")
    return cache_directory() / "spools" / name


def open_spool(
    folder: Path, encode: Any = lambda item: item, every: Mapping[str, Any] | None = None
) -> Outbox:
    """The spool of a folder; one beside it where a process that should be dead still holds it."""
    for number in range(1, 10):
        try:
            return Outbox(folder, encode, every=every)
        except Busy:
            folder = folder.with_name(f"{folder.name.partition('.')[0]}.{number}")
    raise Busy(f"{folder}: too many processes hold spools here")


class Recorder:
    """Appends reports to a run. `metric` and `mode` name the figure whose best is kept beside it;
    `stages` are the results that a resumed run knows already. `spool` is a folder; with
    `beside`, a place for states in an object store, what the tracking store has not confirmed is
    put there at each `settle`.

    `log` returns at once and never raises. `trouble` is the first reason for a report not written.
    """

    def __init__(
        self,
        tracking: RunRef,
        metric: str,
        mode: str,
        *,
        spool: Path | None = None,
        beside: str | None = None,
        stages: Iterable[StageResult] = (),
    ):
        self.tracking = tracking
        self.metric, self.sign = metric, 1 if mode == "max" else -1
        self.best: float | None = None
        self.non_finite = 0
        self._stages = {result.index: result for result in stages}
        self._told: set[tuple[int, int]] | None = None
        every = {"run": tracking.entry()}
        self.spool = open_spool(spool or default_spool(tracking), self._entry, every)
        self._carrier = RemoteOutbox(beside, self.spool) if beside else None
        if self._carrier is not None:
            self._carrier.adopt()
        self._sender = Sender(self.spool, tracking.uri)

    @property
    def trouble(self) -> str:
        lost = f"{self.spool.lost} points were lost" if self.spool.lost else ""
        return lost or self._sender.trouble or self.spool.trouble

    def log(self, report: Report) -> None:
        """Hand over a report."""
        self.spool.put_later(report)

    def log_points(self, metrics: Mapping[str, float], step: int) -> None:
        """Hand over some points; about 5 µs each."""
        self.spool.put({"step": step, "metrics": metrics})

    def settle(self, timeout: float) -> bool:
        """Have the disk confirm what was handed over, and give the store `timeout` seconds to take
        it; a store that is known to be down gets none. Whether the store has everything."""
        self.spool.flush(timeout)
        complete = self._sender.wait(timeout)
        if self._carrier is not None:
            self._carrier.put({"best": self.best})
        return complete

    def flush(self, timeout: float) -> bool:
        """The same as `settle`, for one who waits for the store."""
        return self.settle(timeout)

    def close(self, timeout: float = 30.0) -> bool:
        """Send what is left, for at most `timeout` seconds; the rest stays in the spool."""
        self.spool.flush(timeout)
        complete = self._sender.close(timeout)
        if self._carrier is not None:
            self._carrier.put({"best": self.best})
        self.spool.close(1.0)
        return complete and not self.trouble

    def _entry(self, report: Report) -> Entry | None:
        """A report as an entry; none for one that the spool has already."""
        if self._told is None:
            self._told = self._look_back()
        position = (report.position.index, report.position.step)
        if position in self._told:
            return None
        self._told.add(position)
        entry: Entry = {
            "step": report.images,
            "position": position,
            "metrics": self._metrics(report),
        }
        files = self._files(report)
        if files:
            entry["files"] = {path: self.spool.lines.keep(content) for path, content in files}
        if report.samples is not None:
            entry["tags"] = {"mlflow.loggedImages": "True"}
        if report.stage is not None:
            self._stages[report.stage.index] = report.stage
            entry["stages"] = [self._stages[k].to_json() for k in sorted(self._stages)]
        return entry

    def _look_back(self) -> set[tuple[int, int]]:
        """What the spool knows from before a restart: positions, the best value, stages."""
        told: set[tuple[int, int]] = set()
        for entry in self.spool.lines.entries():
            if "position" in entry:
                index, step = entry["position"]
                told.add((index, step))
            metrics = entry.get("metrics", {})
            self._improve(metrics.get(f"{self.metric}_best"))
            self.non_finite = max(self.non_finite, int(metrics.get("tracking/non_finite", 0)))
            self._stages = read_stages(entry.get("stages", ())) | self._stages
        if self._carrier is not None:
            self._improve(self._carrier.facts.get("best"))
        return told

    def _improve(self, value: float | None) -> None:
        if value is None or not math.isfinite(value):
            return
        if self.best is None or self.sign * value > self.sign * self.best:
            self.best = value

    def _metrics(self, report: Report) -> dict[str, float]:
        found = dict(report.metrics)
        value = found.get(self.metric)
        if value is not None and math.isfinite(value):
            self._improve(value)
            # tables show the last value, so the best is a metric of its own
            found[f"{self.metric}_best"] = value if self.best is None else self.best
        finite = {_FORBIDDEN.sub("_", k): v for k, v in found.items() if math.isfinite(v)}
        if len(finite) < len(found):
            # the store would turn infinity into 1.8e308 and chart it
            self.non_finite += len(found) - len(finite)
            finite["tracking/non_finite"] = float(self.non_finite)
        return finite

    def _files(self, report: Report) -> Sequence[tuple[str, bytes]]:
        files: list[tuple[str, bytes]] = []
        index, step = report.position.index, report.position.step
        if report.samples is not None:
            image = Image.fromarray(report.samples.cpu().numpy())
            files.append((f"grids/stage-{index}-{step:06d}.png", _encoded(image, "PNG")))
            if step > 0 or index == 0:
                # trials' stages differ in images, and the slider of the comparison is one for all:
                # 100 to a stage. A stage's start has the mark of the end before it: one image.
                mark = round(100 * (index + report.metrics.get("stage/done", 0.0)))
                files += grid_files(GRID, image, mark)
                for key, grid in report.extra.items():
                    files += grid_files(key, Image.fromarray(grid.cpu().numpy()), mark)
        if report.averaged is not None:
            files.append((f"stages/{index}/generator.safetensors", report.averaged))
        return files


def grid_files(key: str, image: Image.Image, step: int) -> list[tuple[str, bytes]]:
    """The files that `log_image(key=…, step=…)` makes, under names that do not change when they are
    made again: its time and its random part are functions of the step here."""
    name = f"images/{key.replace('/', '~')}+step+{step}+timestamp+{step}+{step:032x}"
    scale = _THUMBNAIL / max(image.size)
    small = image.resize([max(1, int(side * scale)) for side in image.size])
    return [
        (f"{name}.png", _encoded(image, "PNG")),
        (f"{name}+compressed.webp", _encoded(small, "WEBP")),
    ]


def _encoded(image: Image.Image, kind: str) -> bytes:
    content = io.BytesIO()
    image.save(content, kind)
    return content.getvalue()
