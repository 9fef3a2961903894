"""Runs opened and ended by a driver that never waits for a store which is down.

Every change is written into the driver's own outbox first. While the store answers, a run is made
at once; while it does not, the run has a key and no id, everything about it is kept, and the run is
made as soon as the store is back, or by `ganforge sync`.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ganforge.tracking.outbox.outbox import open_outbox
from ganforge.tracking.outbox.resend import Target, resend
from ganforge.tracking.outbox.sender import Sender
from ganforge.tracking.process import identity
from ganforge.tracking.run_ref import RunRef
from ganforge.tracking.runs import Opening, Status, describe, ending_tags

_OPEN_SECONDS = 20.0  # a new SQLite file is filled with tables first
_POLL_SECONDS = 0.01


class DriverClient:
    """The driver's way to the store at `uri`; its outbox lies in `folder`."""

    def __init__(self, uri: str, experiment: str, folder: Path):
        self.uri, self.experiment = uri, experiment
        self._outbox = open_outbox(folder)
        self._sender = Sender(self._outbox, uri)
        self._sending: dict[str, threading.Thread] = {}
        self._unsent: dict[str, str] = {}
        self._complete = False

    @property
    def trouble(self) -> str:
        """The first reason for something not recorded; none once everything is."""
        if self._complete:
            return ""
        return self._sender.trouble or self._outbox.trouble or next(iter(self._unsent.values()), "")

    def open(self, key: str, opening: Opening) -> RunRef:
        """A run; without an id where the store is down."""
        run = RunRef(self.uri, "", self.experiment, key)
        self._outbox.put({"run": run.entry(), "open": describe(opening)})
        self._outbox.flush(1.0)
        until = time.monotonic() + _OPEN_SECONDS
        while self._sender.healthy and time.monotonic() < until:
            if self._sender.resolved(key):
                break
            time.sleep(_POLL_SECONDS)
        return self.known(run)

    def known(self, run: RunRef) -> RunRef:
        """The run with its id, if it has one by now."""
        found = None if run.run_id else self._sender.resolved(run.key)
        return replace(run, run_id=found) if found else run

    def resume(self, run: RunRef) -> None:
        """Set a run to RUNNING again, under this process."""
        self._outbox.put({"run": run.entry(), "tags": identity(), "status": "RUNNING"})

    def tag(
        self, run: RunRef, tags: Mapping[str, str], metrics: Mapping[str, float] | None = None
    ) -> None:
        """Set tags of a run, and metrics."""
        more = {"metrics": dict(metrics)} if metrics else {}
        self._outbox.put({"run": run.entry(), "tags": dict(tags), **more})

    def files(self, run: RunRef, files: Mapping[str, bytes]) -> None:
        """Log files by their path inside the run."""
        kept = {path: self._outbox.log.keep(content) for path, content in files.items()}
        self._outbox.put({"run": run.entry(), "files": kept})

    def end(
        self,
        run: RunRef,
        status: Status,
        outcome: str,
        *,
        metrics: Mapping[str, float] | None = None,
        note: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """End a run explicitly; see `end_run` in tracking/runs.py."""
        entry = {"run": run.entry(), "tags": ending_tags(outcome, note, tags), "status": status}
        self._outbox.put({**entry, "metrics": dict(metrics or {})})

    def send(self, store: str) -> None:
        """Send, in a thread, what the workers left in the outboxes next to a run's states."""
        thread = threading.Thread(target=self._send, args=(store,), name="resend", daemon=True)
        self._sending[store] = thread
        thread.start()

    def _send(self, store: str) -> None:
        # the worker's process may take a moment to be gone
        if "://" not in store and not Path(store).exists():
            return  # it ended before its workers recorded anything
        sent = resend(store, Target(self.uri), patience_seconds=5.0)
        errors = [outbox.error for outbox in sent if outbox.error]
        self._unsent.pop(store, None)
        if errors:
            self._unsent[store] = errors[0]

    def flush(self, timeout: float) -> bool:
        """Wait until the store has everything; not for a store that is known to be down."""
        until = time.monotonic() + timeout
        for thread in list(self._sending.values()):
            thread.join(max(0.0, until - time.monotonic()))
        self._outbox.flush(1.0)
        return self._sender.wait(max(0.0, until - time.monotonic()))

    def close(self, timeout: float = 10.0) -> bool:
        """Send what is left, for at most `timeout` seconds; whether the store has everything."""
        until = time.monotonic() + timeout

        def left() -> float:
            return max(0.0, until - time.monotonic())

        for thread in list(self._sending.values()):
            thread.join(left())
        if self._sender.healthy:
            for store in list(self._unsent):
                self.send(store)
                self._sending[store].join(left())
        self._outbox.flush(min(1.0, left()))
        complete = self._sender.close(left())
        self._outbox.close(1.0)
        self._complete = complete and not self._unsent
        return self._complete
