"""Search strategies on learning curves that others measured: device time to a good final score.

    python tests/benchmarks/search.py --curves DIR --arms random,tpe,tpe-asha,ours \
        --seeds 20 --workers 1,8 --json OUT

Measured is the device time of all workers until a final score is reported that is within 1 % of
the way from the best to the median final score. A search that does not get there in its budget
(400 whole runs of a pool, 100 of a surrogate) counts with its budget: a lower bound, shown as such.
OUT has an entry per task, arm, number of workers and seed; what it has already is not run again.
With --ladder TaskSet's runs are looked at after a few of their 50 steps alone, as those of a
system with few stages are; give it an OUT of its own.
The table gives geometric means of ratios, with 95 % intervals from resampling the seeds of each
task, which are the same for all arms.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

from search_arms import ARMS
from search_clock import simulate
from search_table import table
from search_tasks import load_tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--curves", type=Path, required=True, help="a folder in the shared format")
    parser.add_argument("--arms", default="random,tpe,tpe-asha,ours", help=", ".join(ARMS))
    parser.add_argument("--seeds", type=int, default=20, help="how many, from 0 on")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", default="1,8", help="simulated workers, such as 1,8,64")
    parser.add_argument("--json", type=Path, required=True, help="where the outcomes are kept")
    parser.add_argument("--tasks", default="", help="only those whose names hold this")
    parser.add_argument("--ladder", default="", help="steps of TaskSet, such as 8,17,33,50")
    parser.add_argument("--table", action="store_true", help="only show what --json holds")
    given = parser.parse_args()
    arms = given.arms.split(",")
    if unknown := set(arms) - set(ARMS):
        parser.error(f"no such arm: {', '.join(unknown)}; there are {', '.join(ARMS)}")
    found = json.loads(given.json.read_text()) if given.json.exists() else []
    have = {(r["task"], r["arm"], r["workers"], r["seed"]) for r in found}
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    ladder = [int(step) for step in given.ladder.split(",") if step]
    tasks = () if given.table else load_tasks(given.curves, given.tasks, ladder)
    for task in tasks:
        for workers in map(int, given.workers.split(",")):
            for arm in arms:
                begun = time.perf_counter()
                new = [s for s in seeds if (task.name, arm, workers, s) not in have]
                for seed in new:
                    outcome = simulate(task, ARMS[arm](task, seed), workers)
                    key = {"task": task.name, "arm": arm, "workers": workers, "seed": seed}
                    found.append({**key, "budget": task.budget, **asdict(outcome)})
                if new:
                    seconds = time.perf_counter() - begun
                    print(f"{task.name} {arm} {workers} workers: {seconds:.0f} s", flush=True)
                    _write(given.json, found)
    print(table(found, arms))


def _write(file: Path, found: list[dict[str, object]]) -> None:
    """Whole or not at all: a benchmark that is interrupted keeps what it has."""
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(found))
    draft.replace(file)


if __name__ == "__main__":
    main()
