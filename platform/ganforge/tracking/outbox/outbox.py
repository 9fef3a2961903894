"""The outbox: a queue in memory and a file on the disk between a loop and a store.

The file is the record; the store is brought up to it. Every entry is one JSON line with the time at
which it was made, so that sending it twice stores it once.

A written line survives the death of its process. The disk confirms lines only when `flush` asks,
once before each report to the driver: a run goes back to its last stored state at most, and what
came after that is made again. Confirming each line would cost milliseconds a line and save nothing
more. The offset up to which the store has confirmed is never synced: an old one means that lines
are sent again which the store already has, and it recognises them.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ganforge.append_log import CHUNK_BYTES, Entry, logger
from ganforge.local_files import Busy
from ganforge.tracking.outbox.log import OutboxLog

_COALESCE_SECONDS = 0.02
_HANG_SECONDS, _LEAVE_ALONE_SECONDS = 1.0, 10.0
_MOST_OUTBOXES = 10


class Outbox:
    """The outbox in `folder`; one process at a time may hold it.

    `put` takes about 5 µs, never waits and never raises. At `capacity` queued entries the caller
    writes the queue to the file itself, if no other thread is writing; only if a disk that hangs
    takes nothing until ten times as many are queued are entries dropped, and counted in `lost`.
    `encode` makes an entry, or none, of what `put_later` was given, in the outbox's thread. `every`
    is part of every entry.
    """

    def __init__(
        self,
        folder: Path,
        encode: Callable[[Any], Entry | None] = lambda item: item,
        *,
        every: Mapping[str, Any] | None = None,
        capacity: int = 20_000,
        patience_seconds: float = 2.0,
    ):
        self.log = OutboxLog(folder, patience_seconds)
        self.capacity, self.lost, self.trouble = capacity, 0, ""
        #: set whenever the file has grown
        self.grown = threading.Event()
        #: the thread that sends what is in the file, if there is one
        self.reader: threading.Thread | None = None
        self._encode = encode
        parts = "".join(f"{json.dumps(k)}: {json.dumps(v)}, " for k, v in (every or {}).items())
        # an entry's own parts come last, and so take precedence
        self._begin = b'{"at": %d, ' + parts.encode().replace(b"%", b"%%") + b"%s\n"
        self._queue: deque[bytes | tuple[int, Any]] = deque()
        self._unwritten = b""
        self._writing = threading.Lock()
        self._wake, self._hurry = threading.Event(), threading.Event()
        self._confirmed = threading.Event()
        self._closing, self._hangs_until = False, 0.0
        self._thread = threading.Thread(target=self._work, name="outbox", daemon=True)
        self._thread.start()

    def put(self, entry: Mapping[str, Any]) -> None:
        """Append an entry; `at`, in milliseconds, is now where it is not given."""
        try:
            line = self._begin % (time.time_ns() // 1_000_000, json.dumps(entry)[1:].encode())
        except (TypeError, ValueError) as error:
            self._set_trouble(f"an entry is not JSON ({error})")
            return
        self._push(line)

    def put_later(self, item: Any) -> None:
        """Append what `encode` makes of `item`."""
        self._push((time.time_ns() // 1_000_000, item))

    def _push(self, item: bytes | tuple[int, Any]) -> None:
        if len(self._queue) >= self.capacity and not self._spill():
            self.lost += 1
            return
        self._queue.append(item)
        if not self._wake.is_set():
            self._wake.set()

    def _spill(self) -> bool:
        """Write the queue from the caller's thread; whether the queue has room now."""
        full = len(self._queue) >= 10 * self.capacity
        # the thread that writes may only be waiting for its turn to run; a disk that hangs is
        # waited for now and then
        waits = full and time.monotonic() >= self._hangs_until
        if self._writing.acquire(timeout=_HANG_SECONDS if waits else 0):
            try:
                self._drain()
            finally:
                self._writing.release()
        elif waits:
            self._hangs_until = time.monotonic() + _LEAVE_ALONE_SECONDS
        return len(self._queue) < 10 * self.capacity

    def flush(self, timeout: float) -> bool:
        """Wait until all entries are on the disk; whether that happened in time."""
        self._confirmed.clear()
        self._hurry.set()
        self._wake.set()
        return self._confirmed.wait(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Write what is queued, have the disk confirm it, close the file."""
        self.flush(timeout)
        self._closing = True
        self._wake.set()
        self._thread.join(timeout)
        threads = (self._thread, self.reader)
        # the number of a closed file is given to another file: not while a thread uses it
        if not any(thread is not None and thread.is_alive() for thread in threads):
            self.log.close()

    def _work(self) -> None:
        while not self._closing:
            self._wake.wait()
            self._hurry.wait(_COALESCE_SECONDS)
            self._wake.clear()
            asked = self._hurry.is_set()
            self._hurry.clear()
            with self._writing:
                self._drain()
            if asked:
                with suppress(OSError):
                    self.log.sync()
                self._confirmed.set()

    def _drain(self) -> None:
        """Move the queue to the file, in order. With the lock held."""
        while self._queue or self._unwritten:
            parts, length = [self._unwritten], len(self._unwritten)
            while self._queue and length < 4 * CHUNK_BYTES:
                item = self._queue.popleft()
                line = self._encoded(*item) if isinstance(item, tuple) else item
                parts.append(line)
                length += len(line)
            self._unwritten = b"".join(parts)
            try:
                done = self.log.write(self._unwritten)
            except OSError as error:
                self._set_trouble(f"{self.log.folder} cannot be written to ({error.strerror})")
                return
            self._unwritten = self._unwritten[done:]
            self.grown.set()

    def _encoded(self, at: int, item: Any) -> bytes:
        try:
            entry = self._encode(item)
            return b"" if entry is None else self._begin % (at, json.dumps(entry)[1:].encode())
        except Exception as error:  # a record that cannot be made must not end a training
            self._set_trouble(f"{type(error).__name__}: {error}")
            return b""

    def _set_trouble(self, problem: str) -> None:
        if not self.trouble:
            self.trouble = problem
            logger.warning("tracking: %s. Training continues", problem)


def open_outbox(
    folder: Path,
    encode: Callable[[Any], Entry | None] = lambda item: item,
    every: Mapping[str, Any] | None = None,
) -> Outbox:
    """The outbox of a folder, or one next to it while a process that should be dead holds that."""
    for number in range(1, _MOST_OUTBOXES):
        try:
            return Outbox(folder, encode, every=every)
        except Busy:
            folder = folder.with_name(f"{folder.name.partition('.')[0]}.{number}")
    raise Busy(f"{folder}: too many processes hold outboxes here")
