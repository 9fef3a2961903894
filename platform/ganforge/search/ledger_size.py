"""How much the ledger keeps: what the best, the paused and the running trials stand on, and of the
rest as much as fits."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from ganforge.search.objectives import Objectives
from ganforge.search.result import best_trial
from ganforge.search.trial import Trial
from ganforge.training.ledger import Entry, Key, Ledger

#: of `keep_bytes`, from where on the ledger is listed at each call; before that after each
#: hundredth of its entries, so that many trials do not list many entries each
_NEAR, _PART = 0.9, 100


@dataclass
class LedgerSize:
    """Keeps the ledger of a storage below `keep_bytes`; None keeps everything. With several
    objectives the trials of the front are all the best ones."""

    storage: str
    keep_bytes: int | None
    mode: str
    dropped: list[Entry] = field(default_factory=list)
    objectives: Objectives | None = None
    #: the entries when they were last listed, their size, and calls since
    _known: dict[str, Entry] = field(default_factory=dict)
    _bytes: int = 0
    _calls: int = 0

    def collect(self, trials: Iterable[Trial]) -> None:
        """Drop what is too much. Nothing is lost with an entry but the time to train it again:
        every trial has its own states in its own folder."""
        if self.keep_bytes is None:
            return
        self._calls += 1
        if self._bytes < _NEAR * self.keep_bytes and self._calls * _PART <= len(self._known):
            return
        ledger, self._calls = self._ledger, 0
        self._known = {entry.name: entry for entry in ledger.entries(self._known)}
        self._bytes = sum(entry.num_bytes for entry in self._known.values())
        if self._bytes <= self.keep_bytes:
            return
        entries = self._known.values()
        dropped = ledger.collect(self.keep_bytes, self._needed(list(trials)), entries)
        for entry in dropped:
            self._bytes -= self._known.pop(entry.name).num_bytes
        self.dropped += dropped

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self.storage)

    def _needed(self, trials: list[Trial]) -> list[str]:
        """The names of what the best, the paused and the running trials stand on."""
        best = [best_trial(trials, self.mode)]
        if self.objectives is not None:
            best += self.objectives.front(trials)
        numbers = {trial.number for trial in best if trial is not None}
        needed = [t for t in trials if t.number in numbers or t.active or t.state == "paused"]
        return [name for trial in needed for name in entries_of(trial)]

    @property
    def line(self) -> str:
        """What was dropped, for people; empty where nothing was."""
        if not self.dropped:
            return ""
        size = sum(entry.num_bytes for entry in self.dropped)
        seconds = sum(entry.seconds for entry in self.dropped)
        return (
            f"{len(self.dropped)} stages, {size / 1e6:.0f} MB, were dropped from the ledger to "
            f"stay below --keep-bytes; they took {seconds:.0f} seconds to train"
        )


def entries_of(trial: Trial) -> list[str]:
    """The names that a trial's finished stages have in the ledger."""
    return [
        Key(stage.index, stage.stage_id, stage.environment_id, stage.steps).name
        for stage in trial.stages.values()
    ]
