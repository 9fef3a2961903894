"""The table of a comparison of searches."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RESAMPLED = 2_000
#: the arm that the others are compared with
BASELINE = "tpe-asha"
#: with seeds 0 to 7 of these tasks, constants of the strategy were chosen; marked by *
DEVELOPED = (
    *("taskset/patch128_LSTM128_embed128_bs64", "taskset/patch32_IRNN64_relu_avg_bs128"),
    *("taskset/patch32_LSTM128_E128_bs128", "taskset/patch32_VRNN64_relu_avg_bs128"),
    *("lcbench/3945", "lcbench/126026", "lcbench/167149", "lcbench/168329"),
)


def table(found: Sequence[Mapping[str, Any]], arms: Sequence[str]) -> str:
    """Per number of workers and set of tasks: the median device time by task, and ratios."""
    lines: list[str] = []
    for workers in sorted({r["workers"] for r in found}):
        for family in sorted({r["task"].partition("/")[0] for r in found}):
            rows = [r for r in found if r["workers"] == workers and r["task"].startswith(family)]
            shown = [a for a in arms if any(r["arm"] == a for r in rows)]
            if shown:
                lines += [f"\n{family}, {workers} workers", *_family(rows, shown)]
    return "\n".join(lines)


def _family(rows: Sequence[Mapping[str, Any]], arms: Sequence[str]) -> list[str]:
    """The median by task with the number of seeds that did not reach the target, then ratios."""
    tasks = sorted({r["task"] for r in rows})
    times = {(t, a): _by_seed(rows, t, a) for t in tasks for a in arms}
    for task in tasks:
        # seeds differ in luck more than arms in skill: only those that all arms have
        common = set.intersection(*(set(times[task, a]) for a in arms))
        times |= {(task, a): {s: times[task, a][s] for s in sorted(common)} for a in arms}
    tasks = [t for t in tasks if times[t, arms[0]]]
    lines = ["task".ljust(40) + "".join(f"{arm:>22}" for arm in arms)]
    for task in tasks:
        line = (task + "*" * (task in DEVELOPED)).ljust(40)
        for arm in arms:
            seeds = times[task, arm]
            missed = sum(not reached for _, reached in seeds.values())
            median = np.median([t for t, _ in seeds.values()]) if seeds else np.nan
            bracket = f" ({missed}/{len(seeds)})" if missed else ""
            line += f"{median:14,.0f}{bracket:8}"
        lines.append(f"{line}  {len(times[task, arms[0]])} seeds")
    lines.append("(median device-seconds to the target; in brackets the seeds that missed it)")
    for ours in arms:
        for other in (BASELINE, "random"):
            if ours != other and other in arms:
                lines += _ratio(times, tasks, ours, other)
    return lines


def _by_seed(
    rows: Sequence[Mapping[str, Any]], task: str, arm: str
) -> dict[int, tuple[float, bool]]:
    """A miss counts with the whole budget."""
    return {
        r["seed"]: (r["device_seconds"] if r["reached"] else r["budget"], r["reached"])
        for r in rows
        if r["task"] == task and r["arm"] == arm
    }


def _ratio(
    times: Mapping[tuple[str, str], Mapping[int, tuple[float, bool]]],
    tasks: Sequence[str],
    arm: str,
    other: str,
) -> list[str]:
    """How many times less device time `arm` took than `other`: geometric mean over paired seeds,
    then over tasks."""
    logs: dict[str, Array] = {}
    both: list[float] = []
    for task in tasks:
        mine, theirs = times[task, arm], times[task, other]
        seeds = sorted(mine.keys() & theirs.keys())
        if seeds:
            logs[task] = np.array([np.log(theirs[s][0] / mine[s][0]) for s in seeds])
            pairs = [np.log(theirs[s][0] / mine[s][0]) for s in seeds if mine[s][1] & theirs[s][1]]
            both += [float(np.mean(pairs))] if pairs else []
    if not logs:
        return []
    mean = np.exp(np.mean([x.mean() for x in logs.values()]))
    generator = np.random.default_rng(0)
    again = [
        np.mean([generator.choice(x, len(x)).mean() for x in logs.values()])
        for _ in range(RESAMPLED)
    ]
    low, high = np.exp(np.percentile(again, [2.5, 97.5]))
    line = f"{other} / {arm}: {mean:.2f} (95 %: {low:.2f} to {high:.2f}; {len(logs)} tasks)"
    if both:
        line += f"; where both reach it {np.exp(np.mean(both)):.2f}"
    lines = [line]
    losing = {t: float(np.exp(x.mean())) for t, x in logs.items() if x.mean() < 0}
    if losing:
        shown = ", ".join(f"{t} {r:.2f}" for t, r in sorted(losing.items(), key=lambda i: i[1]))
        lines.append(f"    slower on: {shown}")
    return lines
