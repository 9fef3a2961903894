"""What rank 0 records of a run: its reports as entries of an outbox, sent by a thread.

A store that is slow or down never slows or ends training.
"""

import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from ganforge.append_log import Entry
from ganforge.tracking.outbox.entry import entry_error
from ganforge.tracking.outbox.log import default_outbox_folder
from ganforge.tracking.outbox.outbox import open_outbox
from ganforge.tracking.outbox.remote import RemoteOutbox
from ganforge.tracking.outbox.sender import Sender
from ganforge.tracking.queries import state_path
from ganforge.tracking.run_ref import RunRef
from ganforge.training.report import Report, StageResult, read_stages

GRID = "samples/grid"
_FORBIDDEN = re.compile(r"[^\w\-. :/]")
_THUMBNAIL = 256  # the largest side of the images that the store's page shows in a row


class Recorder:
    """Appends reports to a run. `metric` and `mode` name the metric whose best is recorded too;
    `stages` are the results that a resumed run has already. `folder` is the outbox's;
    with `remote`, the URI of states in an object store, what the tracking store has not confirmed
    is copied there at each `flush_to_store`.

    `log` returns at once and never raises. `trouble` is the first reason for a report not written.
    """

    def __init__(
        self,
        run: RunRef,
        metric: str,
        mode: str,
        *,
        folder: Path | None = None,
        remote: str | None = None,
        stages: Iterable[StageResult] = (),
    ):
        self.run = run
        self.metric, self.sign = metric, 1 if mode == "max" else -1
        self.best: float | None = None
        self.non_finite = 0
        self._stages = {result.index: result for result in stages}
        self._recorded: set[tuple[int, int]] | None = None
        every = {"run": run.entry()}
        folder = folder or default_outbox_folder(run.run_id or run.key)
        self.outbox = open_outbox(folder, self._entry, every)
        self._remote = RemoteOutbox(remote, self.outbox) if remote else None
        if self._remote is not None:
            self._remote.restore()
        self._sender = Sender(self.outbox, run.uri)

    @property
    def trouble(self) -> str:
        lost = f"{self.outbox.lost} points were lost" if self.outbox.lost else ""
        return lost or self._sender.trouble or self.outbox.trouble

    def log(self, report: Report) -> None:
        """Hand over a report."""
        self.outbox.put_later(report)

    def flush_to_store(self, timeout: float) -> bool:
        """Have the disk confirm what was logged, and give the store `timeout` seconds to take it; a
        store that is known to be down gets none. Whether the store has everything."""
        self.outbox.flush(timeout)
        complete = self._sender.wait(timeout)
        if self._remote is not None:
            self._remote.save({"best": self.best})
        return complete

    def close(self, timeout: float = 30.0) -> bool:
        """Send what is left, for at most `timeout` seconds; the rest stays in the outbox."""
        self.outbox.flush(timeout)
        complete = self._sender.close(timeout)
        if self._remote is not None:
            self._remote.save({"best": self.best})
        self.outbox.close(1.0)
        return complete and not self.trouble

    def _entry(self, report: Report) -> Entry | None:
        """A report as an entry; none for one that is recorded already."""
        if self._recorded is None:
            self._recorded = self._look_back()
        position = (report.position.index, report.position.step)
        if position in self._recorded:
            return None
        self._recorded.add(position)
        entry: Entry = {
            "step": report.images,
            "position": position,
            "metrics": self._metrics(report),
        }
        files = self._files(report)
        if files:
            entry["files"] = {path: self.outbox.log.keep(content) for path, content in files}
        if report.samples is not None:
            entry["tags"] = {"mlflow.loggedImages": "True"}
        if report.stage is not None:
            self._stages[report.stage.index] = report.stage
            entry["stages"] = [self._stages[k].to_json() for k in sorted(self._stages)]
        return entry

    def _look_back(self) -> set[tuple[int, int]]:
        """Restore the best value and the stages from before a restart; the recorded positions."""
        recorded: set[tuple[int, int]] = set()
        for entry in self.outbox.log.entries():
            if entry_error(entry):
                continue
            if "position" in entry:
                index, step = entry["position"]
                recorded.add((index, step))
            metrics = entry.get("metrics", {})
            self._improve(metrics.get(f"{self.metric}_best"))
            self.non_finite = max(self.non_finite, int(metrics.get("tracking/non_finite", 0)))
            self._stages = read_stages(entry.get("stages", ())) | self._stages
        if self._remote is not None:
            self._improve(self._remote.facts.get("best"))
        return recorded

    def _improve(self, value: object) -> None:
        # it may come from a record in the storage
        if not isinstance(value, int | float) or not math.isfinite(value):
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
            files.append((f"grids/stage-{index}-{step:06d}.png", grid_png(report.samples)))
            if step > 0 or index == 0:
                # trials' stages differ in images, and the slider of the comparison is one for all:
                # 100 to a stage. A stage's start has the mark of the end before it: one image.
                mark = round(100 * (index + report.metrics.get("stage/done", 0.0)))
                for key, grid in {GRID: report.samples, **report.extra}.items():
                    files += grid_files(key, _as_image(grid), mark)
        if report.averaged is not None:
            files.append((f"stages/{index}/generator.safetensors", report.averaged))
        if report.state is not None:
            files.append((state_path(report.position), json.dumps(report.state).encode()))
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


def grid_png(samples: Tensor) -> bytes:
    """A sample grid, uint8 (H, W, 3), as a PNG file."""
    return _encoded(_as_image(samples), "PNG")


def _as_image(samples: Tensor) -> Image.Image:
    return Image.fromarray(samples.cpu().numpy())


def _encoded(image: Image.Image, kind: str) -> bytes:
    content = io.BytesIO()
    image.save(content, kind)
    return content.getvalue()
