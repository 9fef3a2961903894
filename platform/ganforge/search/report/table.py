"""The trials of a search as a table: what was tried, how good it was, what it cost."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ganforge.search.costs import NO_COSTS, Costs
from ganforge.training.report import StageResult


@dataclass(frozen=True)
class TrialRow:
    """One trial, compared by `metric`. `seconds` are of its process, start and end included;
    `values` those of several objectives at its last rung, by name, and `front` whether it is on
    their Pareto front. Each stage has as many `rungs`; `inside` are the scores at those within."""

    number: int
    run_id: str
    state: str
    outcome: str
    params: Mapping[str, Any]
    metric: str
    stages: Sequence[StageResult] = ()
    seconds: float = 0.0
    workers: int = 1
    #: of a repetition: the trial whose configuration it has, and its seed
    repeats: int | None = None
    seed: int | None = None
    costs: Costs = NO_COSTS
    branched_from: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    front: bool = False
    rungs: int = 1
    inside: Mapping[int, float] = field(default_factory=dict)
    #: where the number of workers may change
    device_seconds: float | None = None

    @property
    def scores(self) -> dict[int, float]:
        """By rung."""
        ends = {(k + 1) * self.rungs: s.score(self.metric) for k, s in enumerate(self.stages)}
        return {**self.inside, **{rung: score for rung, score in ends.items() if score is not None}}

    @property
    def score(self) -> float | None:
        """The score at its last rung."""
        scores = self.scores
        return scores[max(scores)] if scores else None

    def stage_score(self, index: int) -> float | None:
        """The score at the end of a stage; None where the trial did not come so far."""
        return self.scores.get((index + 1) * self.rungs)


def table(rows: Sequence[TrialRow], num_stages: int) -> pd.DataFrame:
    """A line for each trial; what was not measured is missing, not zero.

    Columns: trial, run_id, state, outcome, `branched from` where any trial did, a column for each
    searched setting, `score`, `stage K score`, `stage K seconds`, `stage K device-seconds` and
    `stage K reused`, `seconds`, `device-seconds`, and those by what they went into, as in
    `costs.Costs`: `used`, `lost`, `overhead`, and not spent `reused` and `spared`. Device-seconds
    are seconds times workers. Where configurations were repeated, `repeats` is the trial that a
    line has the configuration of, and `seed` its seed. With several objectives a column
    for each but the first, and `front`, follow `score`.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row.params))
    frame = pd.DataFrame([_line(row, keys, num_stages) for row in rows])
    if any(row.repeats is not None for row in rows):
        # whole numbers, also next to missing ones
        frame["repeats"] = pd.Series([row.repeats for row in rows], dtype=object)
        frame["seed"] = pd.Series([row.seed for row in rows], dtype=object)
    if any(row.branched_from for row in rows):
        frame.insert(4, "branched from", [row.branched_from or None for row in rows])
    further = list(dict.fromkeys(name for row in rows for name in row.values))[1:]
    place = [*frame.columns].index("score") + 1 if further else 0
    for number, name in enumerate(further):
        frame.insert(place + number, name, [row.values.get(name) for row in rows])
    if further:
        frame.insert(place + len(further), "front", [row.front for row in rows])
    return frame


def _line(row: TrialRow, keys: Sequence[str], num_stages: int) -> dict[str, Any]:
    line: dict[str, Any] = {
        "trial": row.number,
        "run_id": row.run_id,
        "state": row.state,
        "outcome": row.outcome,
        **{key: row.params.get(key) for key in keys},
        "score": row.score,
    }
    for index in range(num_stages):
        stage = row.stages[index] if index < len(row.stages) else None
        line[f"stage {index} score"] = row.stage_score(index)
        line[f"stage {index} seconds"] = stage.seconds if stage else None
        line[f"stage {index} device-seconds"] = stage.devices if stage else None
        line[f"stage {index} reused"] = stage.reused if stage else None
    # a process that died took its seconds along; those of its stages were stored
    stages = sum(stage.seconds for stage in row.stages)
    seconds = round(max(row.seconds, stages), 1)
    line["seconds"] = seconds
    line["device-seconds"] = row.device_seconds or seconds * row.workers
    for name in ("used", "lost", "overhead", "reused", "spared"):
        line[name] = round(getattr(row.costs, name), 1)
    return line


def as_csv(frame: pd.DataFrame) -> bytes:
    """The table as CSV, floats in full."""
    return frame.to_csv(index=False).encode()


def as_parquet(frame: pd.DataFrame) -> bytes:
    """The table as Parquet; a column of mixed kinds is stored as text."""
    plain = frame.copy()
    for name in plain.columns:
        kinds = {type(value) for value in plain[name] if value is not None}
        if len(kinds) > 1 and not kinds <= {int, float}:
            plain[name] = [None if value is None else str(value) for value in plain[name]]
    buffer = io.BytesIO()
    plain.to_parquet(buffer, index=False)
    return buffer.getvalue()


def ranks(rows: Sequence[TrialRow], num_stages: int, mode: str) -> dict[int, list[int | None]]:
    """By trial, its rank at the end of each stage: 1 is the best of those that ended it, and
    trials of equal score share the better rank; None where it did not come so far."""
    found: dict[int, list[int | None]] = {row.number: [] for row in rows}
    sign = -1 if mode == "max" else 1
    for index in range(num_stages):
        scores = {
            row.number: sign * score
            for row in rows
            if (score := row.stage_score(index)) is not None
        }
        for row in rows:
            mine = scores.get(row.number)
            better = sum(other < mine for other in scores.values()) if mine is not None else 0
            found[row.number].append(None if mine is None else 1 + better)
    return found
