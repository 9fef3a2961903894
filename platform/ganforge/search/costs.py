"""What a search cost, so that the sum closes: every second of every device that it held."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from ganforge.search.trial import Trial, rung_works
from ganforge.training.report import StageResult


@dataclass(frozen=True)
class Costs:
    """Device-seconds (seconds times workers) of a trial, or of a search.

    `used` went into stages that were trained, measured and stored; `lost` into batches that were
    trained again after a process died (as far as the driver saw them); `overhead` into starting
    processes, and waiting for decisions and for stages that another trial trained; `idle` are
    devices that no trial held. These four add up to what the search held. `reused` stages came from
    the ledger instead of being trained, and `spared` ones were not trained because their trial was
    stopped or paused (estimated by what the stage took in other trials, by its images; unknown for
    a stage that nobody trained).
    """

    used: float = 0.0
    lost: float = 0.0
    overhead: float = 0.0
    idle: float = 0.0
    reused: float = 0.0
    spared: float = 0.0

    def __add__(self, other: "Costs") -> "Costs":
        return Costs(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Costs)))

    @property
    def held(self) -> float:
        """Device-seconds of wall time times devices."""
        return self.used + self.lost + self.overhead + self.idle

    def metrics(self) -> dict[str, float]:
        """As metrics of a run."""
        found = {f"cost/{f.name}": round(getattr(self, f.name), 3) for f in fields(Costs)}
        return found | {"cost/held": round(self.held, 3)}

    def line(self) -> str:
        """In one sentence, for people."""
        lost = f"{self.lost:.0f} lost with processes that died, " if round(self.lost) else ""
        return (
            f"{self.held:.0f} device-seconds: {self.used:.0f} trained, {lost}{self.overhead:.0f} "
            f"starting and waiting, {self.idle:.0f} idle; {self.reused:.0f} saved by stages that "
            f"were there already, about {self.spared:.0f} by trials that were not continued"
        )


NO_COSTS = Costs()


def trial_costs(trial: Trial, rates: dict[int, float]) -> Costs:
    """The costs of one trial. `rates` are device-seconds per unit of work, by stage."""
    used = sum(part.devices for part in trial.trained)
    reused = sum(s.devices for s in trial.stages.values() if s.reused)
    # as precise as the journal has them: a resumed search counts the same
    if trial.elastic:
        held, lost = round(trial.device_seconds, 1), round(trial.lost_device_seconds, 1)
    else:
        held = round(trial.seconds, 1) * trial.settings.workers
        lost = round(trial.lost_seconds, 1) * trial.settings.workers
    spared = 0.0
    if trial.state in ("stopped", "paused"):
        work = rung_works(trial.plan)
        left = range(trial.rungs_done, len(work))
        spared = sum(work[rung] * rates.get(rung // trial.plan.rungs, 0.0) for rung in left)
    overhead = max(0.0, held - used - lost)
    return Costs(used, lost, overhead, reused=reused, spared=spared)


def search_costs(trials: Iterable[Trial], seconds: float, devices: int) -> Costs:
    """The costs of a search that held `devices` for `seconds`."""
    trials = list(trials)
    rates = stage_rates(trials)
    total = sum((trial_costs(trial, rates) for trial in trials), NO_COSTS)
    return total + Costs(idle=max(0.0, seconds * devices - total.held))


def stage_rates(trials: Iterable[Trial]) -> dict[int, float]:
    """Device-seconds per unit of work of each stage, over the trials that trained it."""
    seconds: dict[int, float] = {}
    work: dict[int, float] = {}
    for trial in trials:
        works, rungs = rung_works(trial.plan), trial.plan.rungs
        for part in trial.trained:
            index = part.index
            done = rungs if isinstance(part, StageResult) else part.rung % rungs
            seconds[index] = seconds.get(index, 0.0) + part.devices
            work[index] = work.get(index, 0.0) + sum(works[index * rungs :][:done])
    return {index: seconds[index] / work[index] for index in seconds if work[index]}
