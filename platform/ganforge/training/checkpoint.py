"""The store: save, verify, find and restore the state of a run.

A checkpoint exists when its manifest verifies: sha256 and size of each file next to it. Files are
safetensors, so that nothing in them can run.
"""

import hashlib
import json
import logging
import re
import secrets
from dataclasses import dataclass
from operator import ge
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ganforge.assets import tensors_sha256
from ganforge.schedule import Position
from ganforge.systems.base import Player, System
from ganforge.training.files import MANIFEST, open_folders
from ganforge.training.lineage import digest
from ganforge.training.loop import Means, Training
from ganforge.training.old_manifest import upgraded

logger = logging.getLogger("ganforge")
#: What a checkpoint's folder is called: stage, step, nonce.
CHECKPOINT_NAME = re.compile(r"[0-9]+-[0-9]+\.[0-9a-f]+")
_FILE_NAME = re.compile(r"[\w.-]+\.safetensors")
Groups = dict[str, dict[str, Tensor]]
_MEANS = "means"


class Damaged(Exception):
    """A checkpoint that does not verify; the message says where."""


@dataclass(frozen=True)
class Snapshot:
    """A stored state: tensors by group, and the manifest that vouches for them."""

    groups: Groups
    manifest: dict[str, Any]

    @property
    def position(self) -> Position:
        return Position(self.manifest["index"], self.manifest["step"])


def collect(system: System) -> Groups:
    """The whole state of a system as named tensors: networks, averages, optimizers."""
    groups: Groups = {"networks": dict(system.state_dict())}
    for player in system.players:
        if player.average is not None:
            groups[f"average.{player.name}"] = dict(player.average.state_dict())
        groups[f"optimizer.{player.name}"] = _moments(player)
    return groups


def _moments(player: Player) -> dict[str, Tensor]:
    """An optimizer's state by parameter name, not by number: growth changes numbers."""
    names: dict[Tensor, str] = {p: name for name, p in player.module.named_parameters()}
    return {
        f"{names[parameter]}/{key}": value
        for parameter, state in player.optimizer.state.items()
        for key, value in state.items()
    }


def restore(system: System, groups: Groups) -> None:
    """Put a state into a system that has grown to the same stage; everything must match."""
    system.load_state_dict(groups["networks"])
    for player in system.players:
        if player.average is not None:
            player.average.load_state_dict(groups[f"average.{player.name}"])
        parameters = dict(player.module.named_parameters())
        player.optimizer.state.clear()
        for key, value in groups[f"optimizer.{player.name}"].items():
            name, _, part = key.rpartition("/")
            parameter = parameters[name]
            # like Adam's own: moments next to their parameter, in its layout; the step on the CPU,
            # but on the device for the fused one
            if part != "step" and value.shape != parameter.shape:
                raise RuntimeError(f"{key} has the shape {list(value.shape)}")
            if part != "step":
                value = parameter.detach().clone().copy_(value)
            elif player.optimizer.param_groups[0].get("fused"):
                value = value.to(parameter.device)
            player.optimizer.state[parameter][part] = value.clone()


def packed_means(means: Means) -> dict[str, Tensor]:
    """Sums and counts of the terms since the last report, as tensors."""
    counts = {f"count/{key}": torch.tensor(count) for key, count in means.counts.items()}
    return {f"sum/{key}": value for key, value in means.sums.items()} | counts


def stored_means(groups: Groups, device: torch.device) -> Means:
    """The means of a stored state; none, where it was stored at a report."""
    found = Means()
    for key, value in groups.get(_MEANS, {}).items():
        part, _, name = key.partition("/")
        if part == "sum":
            found.sums[name] = value.to(device)
        else:
            found.counts[name] = int(value.item())
    return found


def state_hashes(system: System) -> dict[str, str]:
    """sha256 of each player's network, of the averages, the optimizers, and of everything."""
    groups = collect(system)
    hashes = {}
    for player in system.players:
        hashes[f"{player.name}_sha256"] = tensors_sha256(dict(player.module.state_dict()))
    for part in ("average", "optimizer"):
        joined = {
            f"{group}/{name}": tensor
            for group, tensors in groups.items()
            if group.startswith(part + ".")
            for name, tensor in tensors.items()
        }
        hashes[f"{part}_sha256"] = tensors_sha256(joined)
    hashes["state_sha256"] = state_hash(groups)
    return hashes


def state_hash(groups: Groups) -> str:
    """sha256 of a whole state."""
    return tensors_sha256({f"{g}/{n}": t for g, ts in groups.items() for n, t in ts.items()})


def pack(tensors: dict[str, Tensor]) -> bytes:
    """Safetensors bytes of named tensors, on the CPU and contiguous."""
    return save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})


class Store:
    """The checkpoints of one run, at a local path or in an object store."""

    def __init__(self, uri: str):
        self.uri = uri
        self.folders = open_folders(uri)

    def save(self, training: Training, record: dict[str, Any], keep: str) -> str:
        """Store the state; then delete what `keep` does not ask for. The name of what is stored."""
        position = training.position
        groups = collect(training.system)
        if training.means.sums:  # between two reports
            groups[_MEANS] = packed_means(training.means)
        files = {f"{g}.safetensors": pack(t) for g, t in groups.items()}
        listing = {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            for name, content in files.items()
        }
        manifest = {"index": position.index, "step": position.step, "files": listing, **record}
        files[MANIFEST] = _manifest_bytes(manifest)
        name = f"{position.index:03d}-{position.step:09d}.{secrets.token_hex(4)}"
        self.folders.write(name, files)
        self._retain(name, keep)
        return name

    def sweep(self) -> None:
        """Remove leftovers of a process that died. For one process, before training starts."""
        self.folders.sweep()

    def names(self) -> list[str]:
        """All checkpoints that have been begun, the newest first."""
        found = [name for name in self.folders.names() if CHECKPOINT_NAME.fullmatch(name)]
        return sorted(found, key=lambda name: (_stands_at(name), name), reverse=True)

    def load(self, name: str) -> Snapshot:
        """Read and verify one checkpoint; raises Damaged naming the damage."""
        manifest = self.manifest(name)
        groups: Groups = {}
        for file, facts in manifest["files"].items():
            if not _FILE_NAME.fullmatch(file):
                raise Damaged(f"{name}/{MANIFEST} lists a file {ascii(file)[:100]}")
            if not isinstance(facts, dict) or not facts.keys() >= {"size", "sha256"}:
                raise Damaged(f"{name}/{MANIFEST} says nothing of {file}")
            try:
                content = self.folders.read(name, file)
            except OSError as error:
                raise Damaged(f"{name}/{file} is missing or unreadable ({error})") from None
            if len(content) != facts["size"]:
                raise Damaged(f"{name}/{file} has {len(content)} of {facts['size']} bytes")
            if hashlib.sha256(content).hexdigest() != facts["sha256"]:
                raise Damaged(f"{name}/{file} does not have the sha256 its manifest names")
            try:
                groups[file.removesuffix(".safetensors")] = load(content)
            except (SafetensorError, KeyError, ValueError) as error:
                raise Damaged(f"{name}/{file} is not safetensors ({error})") from None
        if not manifest.get("state"):  # of a version that did not record it
            manifest["state"] = {"state_sha256": state_hash(groups)}
        return Snapshot(groups, manifest)

    def manifest(self, name: str) -> dict[str, Any]:
        """One checkpoint's manifest, verified against the sha256 it carries of itself."""
        try:
            content = self.folders.read(name, MANIFEST)
            found = json.loads(content)
        except (OSError, ValueError, RecursionError) as error:
            raise Damaged(f"{name}/{MANIFEST} is missing or unreadable ({error})") from None
        whole = (
            isinstance(found, dict)
            and found.keys() >= {"index", "step", "files", "sha256"}
            and isinstance(found["files"], dict)
        )
        # byte by byte: other white space or 1E3 for 1e3 reads the same and is damage all the same
        if not whole or _manifest_bytes({k: found[k] for k in found if k != "sha256"}) != content:
            raise Damaged(f"{name}/{MANIFEST} does not have the sha256 it names")
        del found["sha256"]
        return upgraded(found)

    def newest(self) -> Snapshot | None:
        """The newest checkpoint that verifies; a damaged one is named and the one before taken."""
        names = self.names()
        for name in names:
            try:
                return self.load(name)
            except Damaged as damage:
                logger.warning("checkpoint %s: falling back to the one before", damage)
        if names:
            logger.warning("%s: no checkpoint verifies; starting from the beginning", self.uri)
        return None

    def best(self) -> Snapshot | None:
        """The state with the best score of those that are kept and verify; of equal ones the
        newest, of several metrics the best by the first of those that none is better than. None
        where none was measured."""
        for name in self._measured(self.names()):
            try:
                return self.load(name)
            except Damaged as damage:
                logger.warning("checkpoint %s: passed over", damage)
        return None

    def before(self, position: Position) -> Snapshot | None:
        """The newest state that verifies of those before `position`."""
        for name in self.names():
            if Position(*_stands_at(name)) >= position:
                continue
            try:
                return self.load(name)
            except Damaged as damage:
                logger.warning("checkpoint %s: passed over", damage)
        return None

    def at(self, index: int) -> Snapshot | None:
        """The stored end of stage `index`, where it was kept."""
        for name in self.names():
            if _stands_at(name)[0] != index:
                continue
            try:
                if self.manifest(name).get("kind") == "stage":
                    return self.load(name)
            except Damaged as damage:
                logger.warning("checkpoint %s: passed over", damage)
        return None

    def _retain(self, saved: str, keep: str) -> None:
        """`last` keeps the newest two (a damaged one needs one before it), `best:N` also the N best
        of those that were measured, `all` everything.

        Whatever lies at or after the state just saved did not verify, else the run had continued
        from there: it is deleted, so that it never counts among the newest.
        """
        names = self.names()
        newer = {n for n in names if n != saved and _stands_at(n) >= _stands_at(saved)}
        older = [name for name in names if name not in newer]
        kept = set(older if keep == "all" else older[:2])
        if keep.startswith("best:"):
            kept |= set(self._measured(older)[: int(keep[5:])])
        for name in names:
            if name not in kept:
                self.folders.delete(name)

    def _measured(self, names: list[str]) -> list[str]:
        """Those that have a score by the metrics of the newest one, the best first; of equal ones
        the newest. Scores of several metrics go by how many others are better (Fonseca and Fleming
        1993), then by the first."""
        found: dict[str, list[float]] = {}
        metrics: Any = None
        for name in names:
            try:
                manifest = self.manifest(name)
            except Damaged:
                continue
            score, by = manifest.get("score"), manifest.get("scored_by", ())
            if score is None:
                continue
            metrics = by if metrics is None else metrics
            # a resumed run may keep by others than before
            if by == metrics:
                found[name] = score if isinstance(score, list) else [score]

        def order(name: str) -> tuple[int, float, tuple[int, int]]:
            better = sum(_better(other, found[name]) for other in found.values())
            return -better, found[name][0], _stands_at(name)

        return sorted(found, key=order, reverse=True)


def _better(one: list[float], other: list[float]) -> bool:
    """Whether scores are nowhere lower and somewhere higher."""
    return one != other and all(map(ge, one, other))


def _stands_at(name: str) -> tuple[int, int]:
    index, step = name.partition(".")[0].split("-")
    return int(index), int(step)


def _manifest_bytes(manifest: dict[str, Any]) -> bytes:
    """The one way to write a manifest down, with the sha256 of its content at its end."""
    return json.dumps({**manifest, "sha256": digest(manifest)}, indent=1).encode()
