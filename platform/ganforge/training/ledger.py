"""The ledger: ends of stages that any run with the same storage has trained, by what they are.

A stage is a pure function of its identity, so a stage that lies here is not trained again: a run
takes it over, verified by its hashes, and goes on behind it. One run at a time trains a stage; the
others wait for it. On a disk the claim is a file lock, which dies with its holder; an object store
has none, so there two runs may train one stage at once, and must end in the same state.
"""

import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ganforge.local_files import Busy, check_no_link, lock, open_file
from ganforge.training.checkpoint import Damaged, Snapshot, Store, state_hash
from ganforge.training.files import LocalFolders, join
from ganforge.training.lineage import digest
from ganforge.training.report import StageResult, read_rungs

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


_Count = Annotated[int, Field(ge=0, lt=2**50)]
_STAGE = TypeAdapter(StageResult)


class _File(BaseModel):
    size: _Count


class _Seconds(BaseModel):
    seconds: Annotated[float, Field(ge=0, lt=1e9, allow_inf_nan=False)]


class _Manifest(BaseModel):
    """What an entry's manifest must be: others may be able to write to the storage."""

    model_config = ConfigDict(strict=True)
    index: _Count
    step: _Count
    kind: Literal["stage"]
    stage_id: str
    environment_id: str
    state: Annotated[dict[str, str], Field(min_length=1)]
    metrics: dict[str, float]
    rollbacks: list[Annotated[list[_Count], Field(min_length=2, max_length=2)]] = []
    settings: dict[str, Any]
    environment: dict[str, Any]
    files: dict[str, _File]
    stages: Annotated[list[dict[str, Any]], Field(min_length=1)]


def checked(manifest: dict[str, Any]) -> Key:
    """Which stage end a manifest is of; Damaged where it is not as this program writes it."""
    try:
        found = _Manifest.model_validate(manifest)
        _Seconds.model_validate(found.stages[-1])
        stages = [StageResult.from_json(row) for row in found.stages]
        for stage in stages:
            _STAGE.validate_python(asdict(stage))
        read_rungs(manifest.get("rungs", ()))
    except (ValidationError, TypeError, ValueError, RecursionError) as error:
        raise Damaged(f"its manifest is not that of a stage end ({_first(error)})") from None
    last = stages[-1]
    if (last.index, last.stage_id, last.steps) != (found.index, found.stage_id, found.step):
        raise Damaged("its manifest names two different stages")
    return Key(found.index, found.stage_id, found.environment_id, found.step)


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


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
        """The stored end of a stage, verified: its files by their sha256, its tensors by the one of
        the state, its manifest field by field. A damaged one is removed, and trained again."""
        try:
            check_no_link_of(self._store)
            if key.name not in self.names():
                return None
            if checked(self._store.manifest(key.name)) != key:
                raise Damaged("it holds another stage than it is named for")
            found = self._store.load(key.name)
            if state_hash(found.groups) != found.manifest["state"].get("state_sha256"):
                raise Damaged("its tensors are not those of the state that it names")
        except Damaged as damage:
            self.drop(key, str(damage))
            return None
        except OSError as error:
            logger.warning("ledger %s: unavailable (%s)", self.uri, error)
            return None
        return found

    def drop(self, key: Key, reason: str) -> None:
        """Remove an entry that cannot be used."""
        logger.warning("ledger %s: removed, and trained again: %s", key.name[:12], reason)
        self._delete(key.name)

    def _delete(self, name: str) -> None:
        try:
            self._store.folders.delete(name)
        except FileNotFoundError:
            pass  # another search was faster
        except OSError as error:
            logger.warning("ledger %s: cannot be removed (%s)", name[:12], error)

    def claim(self, key: Key) -> Claim | None:
        """The right to train a stage; None while another run has it."""
        if not isinstance(self._store.folders, LocalFolders):
            return Claim(None, None)
        path = self._store.folders.root / f"{key.name}.lock"
        try:
            check_no_link(path.parent)
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open_file(path, os.O_RDWR | os.O_CREAT)
            # who may only read must not hold it
            with suppress(PermissionError):
                os.fchmod(file, 0o600)
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
        """Enter a stage end that lies in a run's own store, under `name`. An entry that cannot be
        written is a warning: the run has its own state.

        Raises Impure where the ledger has another state under this identity.
        """
        try:
            there = self.find(key)
            if there is None:
                check_no_link_of(self._store)
                self._store.folders.copy(store.folders, name, key.name)
                return
        except (OSError, Damaged) as error:
            logger.warning("ledger: stage %d is not entered (%s)", key.index, error)
            return
        here = store.manifest(name)
        if here["state"]["state_sha256"] == there.manifest["state"]["state_sha256"]:
            # an entry without these rungs is of no use to a search that compares trials there
            if not _rungs(here, key) <= _rungs(there.manifest, key):
                self._replace(key, store, name)
        else:
            raise Impure(
                f"stage {key.index} ended in two different states under one identity "
                f"({key.stage_id[:12]}): {store.uri}/{name} and {self.uri}/{key.name}. "
                "Something outside of the settings, data, seed and code decides its bits"
            )

    def _replace(self, key: Key, store: Store, name: str) -> None:
        try:
            self._delete(key.name)
            self._store.folders.copy(store.folders, name, key.name)
        except (OSError, Damaged) as error:
            logger.warning("ledger: stage %d is not entered (%s)", key.index, error)

    def names(self) -> list[str]:
        """The entries there are."""
        return [name for name in self._store.folders.names() if not name.startswith(".")]

    def entries(self, known: Mapping[str, Entry] = MappingProxyType({})) -> list[Entry]:
        """Every whole entry. Those that are `known` are not read again: an entry stays as it is, or
        is replaced by one of the same stage."""
        found = []
        for name in self.names():
            if name in known:
                found.append(known[name])
                continue
            with suppress(Damaged):
                manifest = self._store.manifest(name)
                checked(manifest)
                size = sum(file["size"] for file in manifest["files"].values())
                found.append(Entry(name, size, float(manifest["stages"][-1]["seconds"])))
        return found

    def collect(
        self,
        keep_bytes: int,
        kept: Iterable[str] = (),
        entries: Iterable[Entry] | None = None,
    ) -> list[Entry]:
        """Drop entries, of those given or of all, until at most `keep_bytes` of them are left, and
        never those of the names `kept`: first what takes the least seconds a byte to train again.
        What was dropped."""
        entries, kept = list(self.entries() if entries is None else entries), set(kept)
        total, dropped = sum(entry.num_bytes for entry in entries), list[Entry]()
        for entry in sorted(entries, key=lambda e: (e.seconds / max(e.num_bytes, 1), e.name)):
            if total <= keep_bytes:
                break
            if entry.name not in kept:
                self._delete(entry.name)
                dropped.append(entry)
                total -= entry.num_bytes
        return dropped


def _rungs(manifest: dict[str, Any], key: Key) -> set[int]:
    """The steps of its own stage at which a state has rungs."""
    found = read_rungs(manifest.get("rungs", ())).values()
    return {rung.steps for rung in found if rung.index == key.index}


def check_no_link_of(store: Store) -> None:
    """Linked where the folder of a store on a disk is a link: it would lead elsewhere."""
    if isinstance(store.folders, LocalFolders):
        check_no_link(store.folders.root)
