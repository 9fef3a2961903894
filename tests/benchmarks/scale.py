"""What a search of thousands of trials costs: processor time of each step and its growth with the
number of trials, memory, files, and how long a resumed one takes to come up.

    python tests/benchmarks/scale.py study [--trials 2000] [--at-a-time 200] [--strategy halving]
    python tests/benchmarks/scale.py recorded [--trials 300]
    python tests/benchmarks/scale.py trials [--at-a-time 200] [--trials 400]

`study` plays the search in one process (scale_study.py); its store is down, so that what would be
recorded lies in the outbox: the disk alone is measured. `recorded` is the same with a new SQLite
file as the store. `trials` runs trials through Ray (scale_trials.py).

A step whose call costs c(n) with n trials begun costs n c(n) in all. `growth` is the exponent p of
the whole, n^p, by the mean calls of the last half and of the quarter before it: 1 where a call
costs the same, 1.14 for n log n at 2,000 trials, 2 where a call looks at all trials.
"""

import argparse
import gc
import math
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

from scale_study import Played, play, replayed, request_of

from ganforge.search.report.build import build_report

#: nothing listens there
_DOWN = "http://127.0.0.1:9"
_STEPS = ("suggest", "start", "report", "show a report", "decide at a rung", "show a rung", "end")


def growth(played: Played, trials: int) -> None:
    """Print each step."""
    clock = played.clock
    print("| step | calls | CPU s | ms a call, 1st quarter | 2nd | 2nd half | growth |")
    print("|---|---|---|---|---|---|---|")
    for step in sorted(clock.calls, key=lambda s: (s.startswith("part"), -clock.seconds(s))):
        ends = (0, trials / 4, trials / 2, trials)
        means = [clock.each(step, low, high) for low, high in pairwise(ends)]
        cells = ["" if mean is None else f"{mean:.3f}" for mean in means]
        before, after = means[1:]
        power = f"{1 + math.log2(after / before):.2f}" if before and after else ""
        calls = f"{len(clock.calls[step])} | {clock.seconds(step):.2f}"
        print(f"| {step} | {calls} | {' | '.join(cells)} | {power} |")


def sizes(played: Played, folder: Path, trials: int) -> None:
    """Print what a trial takes in memory and on the disk."""
    search = folder / "storage" / "study"
    files = {
        "journal": [search / "journal.jsonl"],
        "outbox": [f for f in (search / "driver").rglob("*") if f.is_file()],
        "file for Optuna": [search / "optuna.log"],
        "MLflow's database": list(folder.glob("mlflow.db*")),
        "MLflow's files": [f for f in folder.glob("mlartifacts/**/*") if f.is_file()],
    }
    for name, found in files.items():
        size = sum(file.stat().st_size for file in found if file.exists())
        if size:
            print(f"{name}: {size / 1e6:.2f} MB, {size / trials:,.0f} bytes a trial")
    (first, low), (last, high) = played.memory[len(played.memory) // 4], played.memory[-1]
    each = (high - low) / max(1, last - first) / 1000
    print(f"memory of the driver: {high / 1e6:.0f} MB at the end, {each:.0f} kB more for a trial")


def summary(played: Played, trials: int) -> None:
    """Print what the whole comes to."""
    clock = played.clock
    events = sum(len(clock.calls.get(step, ())) for step in _STEPS[1:])
    own = sum(clock.seconds(step) for step in (*_STEPS, "suggest nothing"))
    print(
        f"{trials} trials in {played.seconds:.0f} s: {played.busy:.1f} s of processor time with "
        f"all threads, {own:.1f} s of it between events ({1000 * own / trials:.1f} ms a trial, "
        f"{1000 * own / events:.2f} ms an event of {events})"
    )
    for name, low in (("all", 0), ("of the last quarter", 3 * trials / 4)):
        busy, wall = (clock.each("suggest", low, trials, part) or 1.0 for part in (1, 2))
        print(f"suggestions a second, {name}: {1000 / busy:.0f} by CPU, {1000 / wall:.1f} by clock")
    print(f"the search's own share is 1 % of trials of {100 * own / trials:.1f} device-seconds")


def study(folder: Path, trials: int, at_a_time: int, strategy: str, uri: str) -> None:
    """Play a study, and take it in again."""
    request = request_of(folder, trials, strategy, uri)
    played = play(request, at_a_time)
    assert len(played.result.trials) == trials, len(played.result.trials)
    states = [trial.state for trial in played.result.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    print(f"{strategy}, {at_a_time} at a time: {counts}")
    growth(played, trials)
    summary(played, trials)
    sizes(played, folder, trials)
    facts = played.result.facts
    assert facts is not None
    for count in (trials // 4, trials // 2, trials):
        began = time.process_time()
        build_report(replace(facts, rows=facts.rows[:count]))
        took = time.process_time() - began
        print(f"report of {count} trials: {took:.1f} CPU s")
    del played, facts
    for count in (trials // 4, trials // 2, trials):
        gc.collect()
        began = time.process_time()
        took = replayed(request, folder, count)
        busy = time.process_time() - began
        print(f"resumed after {count} trials: {took:.1f} s until it continues ({busy:.1f} CPU s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["study", "recorded", "trials"])
    parser.add_argument("--trials", type=int)
    parser.add_argument("--at-a-time", type=int, default=200)
    parser.add_argument("--strategy", default="halving")
    given = parser.parse_args()
    if given.what == "trials":
        from scale_trials import run

        run(given.at_a_time, given.trials or 2 * given.at_a_time)
        return
    with tempfile.TemporaryDirectory() as name:
        recorded = given.what == "recorded"
        uri = f"sqlite:///{name}/mlflow.db" if recorded else _DOWN
        trials = given.trials or (300 if recorded else 2000)
        study(Path(name), trials, min(given.at_a_time, trials // 4), given.strategy, uri)


if __name__ == "__main__":
    main()
