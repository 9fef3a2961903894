"""What a search found, and how it is described."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ganforge.search.costs import NO_COSTS, Costs
from ganforge.search.objectives import Objectives
from ganforge.search.repeats import Standing, configuration, standings
from ganforge.search.report.facts import StudyFacts
from ganforge.search.trial import Trial, better
from ganforge.tracking.run_ref import RunRef


@dataclass(frozen=True)
class SearchResult:
    """What a search found. `best` is the best finished trial, else the best that was stopped;
    `view` the path of the comparison under the store's address, `dropped` what the ledger lost,
    `ended_early` why not all trials were begun; `standings` the configurations that were trained
    with several seeds, the best first. With several objectives `front` is the Pareto front of the
    finished trials, and `best` the first of it. `facts` are what its report was made of, where a
    trial has ended a stage. `seconds` are those of wall time, without what passed between an
    interruption and its end."""

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
    front: tuple[Trial, ...] = ()
    facts: StudyFacts | None = None
    seconds: float = 0.0


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
    trials: Iterable[Trial],
    best: Trial | None,
    metric: str,
    keys: Iterable[str],
    objectives: Objectives | None = None,
) -> str:
    """The parent run's description: a table of its trials. With several objectives all of them, and
    which trials are on their front."""
    trials, keys = list(trials), list(keys)
    further = objectives.names[1:] if objectives is not None else []
    front = {trial.number for trial in objectives.front(trials)} if objectives is not None else ()
    head = " | ".join(["trial", "outcome", "stages", metric, *further, *keys])
    lines = [] if objectives is None else [front_line(objectives, len(front), len(trials)), ""]
    lines.append(f"| {head} |")
    lines.append("|---" * (4 + len(further) + len(keys)) + "|")
    for trial in trials:
        score = "" if trial.last_score is None else f"{trial.last_score:.3f}"
        values = [_shown(value) for value in (trial.last_values or ())[1:]]
        values = [*values, *[""] * (len(further) - len(values))]
        cells = " | ".join([*values, *(_shown(trial.params.get(key)) for key in keys)])
        mark = " **best**" if trial is best else " **front**" if trial.number in front else ""
        mark += f" ({trial.about})" if trial.about else ""
        outcome = trial.outcome
        if trial.branch is not None:
            outcome += f", branched from {trial.branched_from}"
        lines.append(
            f"| {trial.number}{mark} | {outcome} | {trial.stages_done} | {score} | {cells} |"
        )
    return "\n".join(lines)


def front_line(objectives: Objectives, count: int, trials: int) -> str:
    """What a front is and which trial of it counts as the best, in two sentences."""
    names = " and ".join(
        f"{metric.name} ({'lower' if metric.mode == 'min' else 'higher'} is better)"
        for metric in objectives.metrics
    )
    return (
        f"{count} of {trials} trials are on the front of {names}: no finished trial is at least as "
        f"good in everything and better in something. The best is the front's best by "
        f"{objectives.names[0]}."
    )


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
