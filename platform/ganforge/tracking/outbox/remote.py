"""What a tracking store has not confirmed, put beside the states of a run in an object store.

A spool dies with its machine. A run that goes on elsewhere adopts what lies there, and whoever
closes the run sends it. States on a disk need none of this: their spool lies beside them.
"""

import contextlib
import json
import logging
from typing import Any

from ganforge.tracking.outbox.log import Entry
from ganforge.tracking.outbox.outbox import Outbox
from ganforge.training.files import open_folders

logger = logging.getLogger("ganforge")
FOLDER = "tracking"
_REST, _FACTS, _BLOB = "rest.jsonl", "facts.json", "content"


def blob_folder(name: str) -> str:
    """The folder of a kept content beside the states."""
    return f"{FOLDER}-{name}"


class RemoteOutbox:
    """Carries a spool's rest to `place` and back. `facts` is what was told of it before."""

    def __init__(self, place: str, spool: Outbox):
        self.folders, self.spool = open_folders(place), spool
        self.facts: dict[str, Any] = {}
        self._last: tuple[int, int] | None = None
        self._blobs: set[str] = set()

    def adopt(self) -> int:
        """Append what lies at the place to the spool, with the times it has; how many entries."""
        try:
            self.facts = json.loads(self.folders.read(FOLDER, _FACTS))
            rest = self.folders.read(FOLDER, _REST)
        except (OSError, ValueError):
            return 0
        known = {json.dumps(entry, sort_keys=True) for entry in self.spool.lines.entries()}
        adopted = 0
        for line in rest.splitlines():
            entry: Entry = json.loads(line)
            if json.dumps(entry, sort_keys=True) in known:
                continue
            for name in entry.get("files", {}).values():
                with contextlib.suppress(OSError):
                    content = self.folders.read(blob_folder(name), _BLOB)
                    self.spool.lines.keep(content, name)
                    self._blobs.add(name)
            self.spool.put(entry)
            adopted += 1
        self.spool.flush(10.0)
        return adopted

    def put(self, facts: dict[str, Any]) -> None:
        """Bring the place up to the spool; trouble is told and not raised."""
        state = (self.spool.lines.acknowledged, self.spool.lines.size)
        if state == self._last:
            return
        try:
            self._put(facts)
            self._last = state
        except Exception as error:
            logger.warning("tracking: the rest of the spool could not be put aside (%s)", error)

    def _put(self, facts: dict[str, Any]) -> None:
        rest = list(self.spool.lines.entries(self.spool.lines.acknowledged))
        needed = {name for entry in rest for name in entry.get("files", {}).values()}
        for name in needed - self._blobs:
            with contextlib.suppress(FileNotFoundError):  # taken by the store meanwhile
                content = self.spool.lines.blob(name).read_bytes()
                self.folders.write(blob_folder(name), {_BLOB: content})
                self._blobs.add(name)
        content = b"".join(json.dumps(entry).encode() + b"\n" for entry in rest)
        self.folders.write(FOLDER, {_REST: content, _FACTS: json.dumps(facts).encode()})
        for name in self._blobs - needed:
            self.folders.delete(blob_folder(name))
        self._blobs &= needed
