"""The part of an outbox that a tracking store has not confirmed, kept in an object store.

An outbox is lost with its machine. A run that continues elsewhere restores what lies next to its
states, and the process that closes the run sends it. States on a disk need none of this: their
outbox lies next to them.
"""

import contextlib
import json
import logging
from typing import Any

from ganforge.append_log import Entry
from ganforge.local_files import Linked
from ganforge.tracking.outbox.entry import entry_error
from ganforge.tracking.outbox.outbox import Outbox
from ganforge.training.files import open_folders

logger = logging.getLogger("ganforge")
FOLDER = "tracking"
_REST, _FACTS, _BLOB = "rest.jsonl", "facts.json", "content"


def blob_folder(name: str) -> str:
    """The folder of a kept content next to the states."""
    return f"{FOLDER}-{name}"


class RemoteOutbox:
    """Copies the unsent part of an outbox to `uri` and back; `facts` is what lay there with it."""

    def __init__(self, uri: str, outbox: Outbox):
        self.folders, self.outbox = open_folders(uri), outbox
        self.facts: dict[str, Any] = {}
        self._last: tuple[int, int] | None = None
        self._blobs: set[str] = set()

    def restore(self) -> int:
        """Append what lies there to the outbox, with the times it has; how many entries."""
        try:
            facts = json.loads(self.folders.read(FOLDER, _FACTS))
            rest = self.folders.read(FOLDER, _REST)
        except (OSError, ValueError, RecursionError):
            return 0
        self.facts = facts if isinstance(facts, dict) else {}
        here = (entry for entry in self.outbox.log.entries() if not entry_error(entry))
        known = {json.dumps(entry, sort_keys=True) for entry in here}
        restored = 0
        for line in rest.splitlines():
            if (entry := _restored(line)) is None:
                continue
            if json.dumps(entry, sort_keys=True) in known:
                continue
            for name in entry.get("files", {}).values():
                with contextlib.suppress(OSError):
                    content = self.folders.read(blob_folder(name), _BLOB)
                    self.outbox.log.keep(content, name)
                    self._blobs.add(name)
            self.outbox.put(entry)
            restored += 1
        self.outbox.flush(10.0)
        return restored

    def save(self, facts: dict[str, Any]) -> None:
        """Write what is not sent yet; an error is logged and not raised."""
        state = (self.outbox.log.acknowledged, self.outbox.log.size)
        if state == self._last:
            return
        try:
            self._write(facts)
            self._last = state
        except Exception as error:
            logger.warning("tracking: the outbox could not be copied to the storage (%s)", error)

    def _write(self, facts: dict[str, Any]) -> None:
        log = self.outbox.log
        rest = list(log.entries(log.acknowledged))
        good = [entry for entry in rest if not entry_error(entry)]
        needed = {name for entry in good for name in entry.get("files", {}).values()}
        for name in needed - self._blobs:
            with contextlib.suppress(Linked, ValueError):  # not ours: refused when it is sent
                content = log.open_blob(name)
                if content is None:  # sent meanwhile
                    continue
                with content:
                    self.folders.write(blob_folder(name), {_BLOB: content.read()})
                self._blobs.add(name)
        # the others, which are refused when they are sent, stay in the outbox itself
        content = b"".join(json.dumps(entry).encode() + b"\n" for entry in good)
        self.folders.write(FOLDER, {_REST: content, _FACTS: json.dumps(facts).encode()})
        for name in self._blobs - needed:
            self.folders.delete(blob_folder(name))
        self._blobs &= needed


def _restored(line: bytes) -> Entry | None:
    """An entry that lay in the storage; None, and a warning, for what is not one of ganforge's."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        entry = None
    why = entry_error(entry) if isinstance(entry, dict) else "it is not a JSON object"
    if not why:
        return entry
    logger.warning("tracking: an entry of the outbox in the storage is left out (%s)", why)
    return None
