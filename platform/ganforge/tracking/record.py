"""From the loop to the store without waiting: a bounded queue, one thread, a file for the rest.

A store that is slow or down never slows or ends training. What it did not take goes to a JSONL
file, one report a line, whole enough to be written later.
"""

import json
import logging
import queue
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganforge.training.report import Report

if TYPE_CHECKING:
    from ganforge.tracking.writer import Writer

logger = logging.getLogger("ganforge")
_RETRY_SECONDS = 30.0


@dataclass(frozen=True)
class Tracking:
    """Where one run is recorded; small and picklable, the way from the driver to rank 0."""

    uri: str
    run_id: str


def default_spool(tracking: Tracking) -> Path:
    """Where reports go that a store did not take, when nobody says otherwise."""
    return Path(tempfile.gettempdir()) / "ganforge-spool" / f"{tracking.run_id}.jsonl"


class Recorder:
    """Appends reports to a run. `metric` and `mode` name the figure whose best is kept beside it;
    `stages` are the rows of stages.json that a resumed run knows already.

    `log` returns at once and never raises. `trouble` is the first reason for a report not written.
    """

    def __init__(
        self,
        tracking: Tracking,
        metric: str,
        mode: str,
        *,
        spool: Path | None = None,
        stages: Sequence[dict[str, Any]] = (),
        capacity: int = 64,
    ):
        self.tracking = tracking
        self.metric, self.mode = metric, mode
        self.spool = spool or default_spool(tracking)
        self._stages = stages
        self.trouble = ""
        self.spooled = 0
        self._writer: Writer | None = None
        self._retry_at = 0.0
        self._queue: queue.Queue[Report | None] = queue.Queue(capacity)
        self._pending = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def log(self, report: Report) -> None:
        """Hand over a report."""
        with self._changed:
            self._pending += 1
        try:
            self._queue.put_nowait(report)
        except queue.Full:
            self._put_aside(report, "the store is slower than the reports")
            self._done()

    def flush(self, timeout: float) -> bool:
        """Wait until all is written or put aside; whether that happened in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._pending == 0, timeout)

    def close(self, timeout: float = 30.0) -> bool:
        """Write what is left, for at most `timeout` seconds; put aside what is left then."""
        complete = self.flush(timeout)
        while not complete:
            try:
                report = self._queue.get_nowait()
            except queue.Empty:
                break
            if report is not None:
                self._put_aside(report, "training ended before the store had taken it")
                self._done()
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            logger.debug("recorder thread left behind")
        self._thread.join(1.0 if complete else 0.0)
        return complete and not self.spooled

    def _work(self) -> None:
        while (report := self._queue.get()) is not None:
            try:
                self._deliver(report)
            finally:
                self._done()

    def _done(self) -> None:
        with self._changed:
            self._pending -= 1
            self._changed.notify_all()

    def _deliver(self, report: Report) -> None:
        if time.monotonic() < self._retry_at:
            self._put_aside(report, self.trouble)
            return
        try:
            if self._writer is None:
                # here and not above: its import takes seconds, in which training already runs
                from ganforge.tracking.writer import Writer

                self._writer = Writer(self.tracking, self.metric, self.mode, self._stages)
            self._writer.write(report)
        except Exception as error:
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            self._put_aside(report, f"{type(error).__name__}: {error}".splitlines()[0][:300])

    def _put_aside(self, report: Report, reason: str) -> None:
        if not self.trouble:
            self.trouble = reason
            logger.warning(
                "tracking: %s. Training goes on; what is not recorded is kept in %s",
                reason,
                self.spool,
            )
        line = {
            "run_id": self.tracking.run_id,
            "position": [report.position.index, report.position.step],
            "kind": report.kind,
            "images": report.images,
            "time": time.time(),
            "metrics": report.metrics,
            "stage": report.stage,
        }
        try:
            self.spool.parent.mkdir(parents=True, exist_ok=True)
            with open(self.spool, "a") as file:
                file.write(json.dumps(line) + "\n")
            self.spooled += 1
        except OSError as error:
            logger.debug("tracking: %s cannot be written (%s)", self.spool, error)
