"""The ledger: ends of stages that any run with the same storage has trained, by what they are.

A stage is a pure function of its identity, so a stage that lies here is not trained again: a run
takes it over, verified by its hashes, and goes on behind it. One run at a time trains a stage; the
others wait for it. On a disk the claim is a file lock, which dies with its holder; an object store
has none, so there two runs may train one stage at once, and must end in the same state.
"""

import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ganforge.local_files import Busy, lock, open_file
from ganforge.training.checkpoint import Damaged, Snapshot, Store
from ganforge.training.files import LocalFolders, join
from ganforge.training.lineage import digest

logger = logging.getLogger("ganforge")
#: the ledger's folder in a storage
FOLDER = "ledger"


class Impure(RuntimeError):
    """Two different states under one identity: what decides the bits is not all in the identity."""


@dataclass(frozen=True)
class Key:
    """Which stage end: index, id and length of the stage, and the environment's id."""

    index: int
    stage_id: str
    environment_id: str
    steps: int

    @property
    def name(self) -> str:
        """The folder's name in the ledger."""
        return digest([self.stage_id, self.environment_id, self.steps])[:40]


@dataclass(frozen=True)
class Entry:
    """An entry's name, its size, and the seconds that its stage took to train."""

    name: str
    num_bytes: int
    seconds: float


class Claim:
    """The right to train a stage, until `release`; held by nobody else that shares the disk."""

    def __init__(self, path: Path | None, file: int | None):
        self._path, self._file = path, file

    def release(self, done: bool = False) -> None:
        """Give it back; `done`: the stage is in the ledger, so that nobody needs a claim on it."""
        if self._file is None:
            return
        if done and self._path is not None:
            with suppress(OSError):
                self._path.unlink()
        os.close(self._file)
        self._file = None


class Ledger:
    """The ledger of a storage (a local path or an object store's URI)."""

    def __init__(self, storage: str):
        self.uri = join(storage, FOLDER)
        self._store = Store(self.uri)

    def find(self, key: Key) -> Snapshot | None:
        """The stored end of a stage, verified; a damaged one is removed, and trained again."""
        try:
            found = self._store.load(key.name)
        except Damaged as damage:
            if key.name in self.names():
                logger.warning("ledger %s: removed, and trained again", damage)
                with suppress(OSError):
                    self._store.folders.delete(key.name)
            return None
        manifest = found.manifest
        recorded = Key(
            manifest["index"],
            manifest.get("stage_id", ""),
            manifest.get("environment_id", ""),
            manifest["step"],
        )
        if recorded != key or manifest.get("kind") != "stage":
            logger.warning("ledger %s: holds another stage than it is named for", key.name)
            return None
        return found

    def claim(self, key: Key) -> Claim | None:
        """The right to train a stage; None while another run has it."""
        if not isinstance(self._store.folders, LocalFolders):
            return Claim(None, None)
        path = self._store.folders.root / f"{key.name}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open_file(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            logger.warning("ledger: no claim (%s); a stage may be trained twice", error)
            return Claim(None, None)
        try:
            lock(file, path, 0.0)
        except Busy:
            os.close(file)
            return None
        except OSError as error:  # a file system without locks
            logger.warning("ledger: no claim (%s); a stage may be trained twice", error)
            os.close(file)
            return Claim(None, None)
        return Claim(path, file)

    def publish(self, key: Key, store: Store, name: str) -> None:
        """Enter a stage end that lies in a run's own store, under `name`.

        Raises Impure where the ledger has another state under this identity.
        """
        if key.name not in self.names():
            self._store.folders.copy(store.folders, name, key.name)
            return
        here, there = store.manifest(name), self._store.manifest(key.name)
        if here["state"]["state_sha256"] != there["state"]["state_sha256"]:
            raise Impure(
                f"stage {key.index} ended in two different states under one identity "
                f"({key.stage_id[:12]}): {store.uri}/{name} and {self.uri}/{key.name}. "
                "Something outside of the settings, data, seed and code decides its bits"
            )

    def names(self) -> list[str]:
        """The entries there are."""
        return [name for name in self._store.folders.names() if not name.startswith(".")]

    def entries(self) -> list[Entry]:
        """Every whole entry."""
        found = []
        for name in self.names():
            with suppress(Damaged):
                manifest = self._store.manifest(name)
                size = sum(file["size"] for file in manifest["files"].values())
                found.append(Entry(name, size, float(manifest["stages"][-1]["seconds"])))
        return found

    def collect(self, keep_bytes: int, kept: Iterable[str] = ()) -> list[Entry]:
        """Drop entries until at most `keep_bytes` are left, never those of the names `kept`: first
        what takes the least seconds a byte to train again. What was dropped."""
        entries, kept = self.entries(), set(kept)
        total, dropped = sum(entry.num_bytes for entry in entries), list[Entry]()
        for entry in sorted(entries, key=lambda e: (e.seconds / max(e.num_bytes, 1), e.name)):
            if total <= keep_bytes:
                break
            if entry.name not in kept:
                self._store.folders.delete(entry.name)
                dropped.append(entry)
                total -= entry.num_bytes
        return dropped
