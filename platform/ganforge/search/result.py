"""What a search found, and how it is described."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ganforge.search.costs import NO_COSTS, Costs
from ganforge.search.repeats import Standing, configuration, standings
from ganforge.search.trial import Trial, better
from ganforge.tracking.run_ref import RunRef


@dataclass(frozen=True)
class SearchResult:
    """What a search found. `best` is the best finished trial, else the best that was stopped;
    `view` the path of the comparison under the store's address, `dropped` what the ledger lost,
    `ended_early` why not all trials were begun; `standings` the configurations that were trained
    with several seeds, the best first."""

    search_id: str
    best: Trial | None
    trials: tuple[Trial, ...]
    parent: RunRef | None
    folder: str
    interrupted: bool = False
    tracking_trouble: str = ""
    view: str = ""
    costs: Costs = NO_COSTS
    dropped: str = ""
    ended_early: str = ""
    standings: tuple[Standing, ...] = ()


def best_trial(trials: Iterable[Trial], mode: str) -> Trial | None:
    """The finished trial with the best last score; without any, the best of all. Where
    configurations were trained with several seeds, of the one that is the best of those."""
    trials = list(trials)
    if repeated := standings(trials, mode):
        trials = [t for t in trials if configuration(t) == repeated[0].number]
    best: Trial | None = None
    for trial in trials:
        if trial.last_score is None or trial.state == "failed":
            continue
        rank = (trial.state == "finished") - (best is not None and best.state == "finished")
        if best is None or rank > 0 or (rank == 0 and better(trial, best, mode)):
            best = trial
    return best


def leading(trials: Iterable[Trial], mode: str, count: int) -> list[Trial]:
    """The trials that are over and have a score, the best `count` of them, the best first."""
    scored = [trial for trial in trials if trial.ended and trial.last_score is not None]
    sign = -1 if mode == "max" else 1
    return sorted(scored, key=lambda t: (sign * (t.last_score or 0.0), t.number))[:count]


def summary_note(
    trials: Iterable[Trial], best: Trial | None, metric: str, keys: Iterable[str]
) -> str:
    """The parent run's description: a table of its trials."""
    keys = list(keys)
    lines = [f"| trial | outcome | stages | {metric} | " + " | ".join(keys) + " |"]
    lines.append("|---" * (4 + len(keys)) + "|")
    for trial in trials:
        score = "" if trial.last_score is None else f"{trial.last_score:.3f}"
        values = " | ".join(_shown(trial.params.get(key)) for key in keys)
        mark = " **best**" if trial is best else ""
        mark += f" ({trial.about})" if trial.about else ""
        outcome = trial.outcome
        if trial.branch is not None:
            outcome += f", branched from {trial.branched_from}"
        lines.append(
            f"| {trial.number}{mark} | {outcome} | {trial.stages_done} | {score} | {values} |"
        )
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
