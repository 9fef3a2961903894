"""Sends an outbox to the store, in a thread: in order, in batches, until all is there."""

import logging
import threading
import time
from typing import TYPE_CHECKING

from ganforge.append_log import Entry
from ganforge.tracking.outbox.outbox import Outbox
from ganforge.tracking.run_ref import METRICS_PER_REQUEST

if TYPE_CHECKING:
    from ganforge.tracking.outbox.writer import Writer

logger = logging.getLogger("ganforge")
_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.5, 15.0


class Sender:
    """Brings the store at `uri` up to an outbox. `trouble` is the first reason for a failure;
    `healthy` whether the last attempt succeeded.

    With `once`, what is in the file now is sent, and nobody waits for entries that the store cannot
    take yet: they are appended to the file again, for another time, and `waiting` says why.
    """

    def __init__(self, outbox: Outbox, uri: str, *, once: bool = False):
        self.outbox, self.uri, self.once = outbox, uri, once
        self.waiting: list[str] = []
        self._end = outbox.log.size if once else None
        self.trouble, self.healthy, self.sent = "", True, 0
        #: why entries were set aside that will never be taken, one line each
        self.refused: list[str] = []
        self._writer: Writer | None = None
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="sender", daemon=True)
        outbox.reader = self._thread
        self._thread.start()

    @property
    def drained(self) -> bool:
        """Whether the store has everything that is in the file, or was when that is sent once."""
        return self.outbox.log.acknowledged >= self._size

    @property
    def _size(self) -> int:
        return self.outbox.log.size if self._end is None else self._end

    def wait(self, timeout: float) -> bool:
        """Wait until the store has everything; not for a store that is known to be down."""
        with self._changed:
            self._changed.wait_for(lambda: self.drained or not self.healthy, timeout)
        return self.drained

    def close(self, timeout: float) -> bool:
        """Send what is left, for at most `timeout` seconds; whether the store has everything.

        A store that is down is tried once more.
        """
        self._closing.set()
        self.outbox.grown.set()
        self._thread.join(timeout)
        return self.drained

    def resolved(self, key: str) -> str | None:
        """Id of the run that was opened under `key`, once it is."""
        return self._writer.ids.get(key) if self._writer is not None else None

    def _work(self) -> None:
        pause = _SHORTEST_SECONDS
        while True:
            if self.drained:
                if self._closing.is_set():
                    return
                self.outbox.grown.wait()
                self.outbox.grown.clear()
                continue
            try:
                self._send()
                self._set_healthy(True)
                pause = _SHORTEST_SECONDS
            except Exception as error:
                # another client next time: a server may be back, or gone for good
                self._writer = None
                if not self.trouble:
                    self.trouble = first_line(error)
                    logger.warning(
                        "tracking: %s. %s is not recorded is kept in %s, and `ganforge sync` sends "
                        "it",
                        self.trouble,
                        "What" if self.once else "Training continues; what",
                        self.outbox.log.folder,
                    )
                self._set_healthy(False)
                if self._closing.is_set():
                    return
                self._closing.wait(pause)
                pause = min(2 * pause, _LONGEST_SECONDS)

    def _set_healthy(self, healthy: bool) -> None:
        with self._changed:
            self.healthy = healthy
            self._changed.notify_all()

    def _send(self) -> None:
        """Send some of the log, in batches."""
        if self._writer is None:
            # here and not above: its import takes seconds, in which training already runs
            from ganforge.tracking.outbox.writer import Writer

            blob = self.outbox.log.open_blob
            self._writer = Writer(self.uri, blob, pass_over=self.once)
        batch: list[Entry] = []
        metrics = 0
        begin = end = self.outbox.log.acknowledged
        for entry, after in self.outbox.log.read(end):
            if end >= self._size:
                break
            found = entry.get("metrics")
            more = len(found) if isinstance(found, dict) else 0
            if batch and metrics + more > METRICS_PER_REQUEST:
                self._deliver(batch, end)
                batch, metrics = [], 0
            batch.append(entry)
            metrics, end = metrics + more, after
        # the last batch is not full: it waits for what follows, if something does
        if batch and (end >= self._size or self.outbox.log.acknowledged == begin):
            self._deliver(batch, end)

    def _deliver(self, batch: list[Entry], end: int) -> None:
        assert self._writer is not None
        refused = self._writer.deliver(batch)
        for entry, why in refused:
            self.outbox.log.refuse(entry)
            self.refused.append(why)
            self.trouble = self.trouble or f"an entry is refused ({why})"
        waiting = self._writer.waiting
        for entry, why in waiting:
            self.outbox.put(entry)
            self.waiting.append(why)
        if waiting:
            self.outbox.flush(10.0)  # on the disk a second time, before the first counts as sent
        left = {id(entry) for entry, _ in (*refused, *waiting)}
        self._writer.waiting = []
        batch = [entry for entry in batch if id(entry) not in left]
        self.sent += sum(len(entry.get("metrics", ())) for entry in batch)
        blobs = [name for entry in batch for name in entry.get("files", {}).values()]
        self.outbox.log.acknowledge(end, blobs)
        self._set_healthy(True)


def first_line(error: BaseException) -> str:
    """An error in one line of at most 300 characters."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def drain(outbox: Outbox, uri: str, timeout: float) -> tuple[int, list[str], str]:
    """Send all of an outbox: (metrics sent, why entries were set aside, why some is left; empty
    when none is)."""
    sender = Sender(outbox, uri, once=True)
    until = time.monotonic() + timeout
    complete = sender.close(max(0.0, until - time.monotonic()))
    left = "" if complete else sender.trouble or f"it took longer than {timeout:.0f} s"
    if complete and sender.waiting:
        left = f"{sender.waiting[0]}; what does not wait for that is sent"
    return sender.sent, sender.refused, left
