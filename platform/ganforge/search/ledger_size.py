"""How much the ledger keeps: what the best, the paused and the running trials stand on, and of the
rest as much as fits."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ganforge.search.objectives import Objectives
from ganforge.search.result import best_trial
from ganforge.search.trial import Trial
from ganforge.training.ledger import Entry, Key, Ledger


@dataclass
class LedgerSize:
    """Keeps the ledger of a storage below `keep_bytes`; None keeps everything. With several
    objectives the trials of the front are all the best ones."""

    storage: str
    keep_bytes: int | None
    mode: str
    dropped: list[Entry] = field(default_factory=list)
    objectives: Objectives | None = None

    def collect(self, trials: Iterable[Trial]) -> None:
        """Drop what is too much. Nothing is lost with an entry but the time to train it again:
        every trial has its own states in its own folder."""
        if self.keep_bytes is None:
            return
        trials = list(trials)
        best = [best_trial(trials, self.mode)]
        if self.objectives is not None:
            best += self.objectives.front(trials)
        numbers = {trial.number for trial in best if trial is not None}
        needed = [t for t in trials if t.number in numbers or t.active or t.state == "paused"]
        names = [name for trial in needed for name in entries_of(trial)]
        self.dropped += Ledger(self.storage).collect(self.keep_bytes, names)

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
