"""Two search strategies on real stages of the flagship, at the same time, a core for each.

    python tests/benchmarks/real_search.py --data DIR --minutes 16 --seeds 3 --json OUT

Both arms search the same five settings of ProgressiveGAN-SR (8, 16 and 32 px, six rungs) with one
trial at a time, the same seeds, the same budget of device-seconds and nothing in common on the
disk. They run next to each other, so what else the machine does slows both. Counted are the seconds
for which an arm has held its core, starting processes and deciding included, until a trial that
was trained to its end is as good as the worse arm's best of the whole budget: what both reached.
OUT has an entry per arm and seed; what it has already is not run again.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ARMS = {"tpe-asha": f"{HERE / 'asha.py'}:Asha", "freeze-thaw": "freeze-thaw", "halving": "halving"}


def searched(arm: str, seed: int, minutes: float, data: str) -> dict[str, Any]:
    """One search: when each trial ended (device-seconds from the search's start) and its score."""
    from own_curves import KINDS
    from ray import tune

    from ganforge.cluster.session import session
    from ganforge.search.budget import parse_budget
    from ganforge.search.limits import Limits
    from ganforge.search.request import SearchRequest
    from ganforge.search.search import search
    from ganforge.search.trial import Trial
    from ganforge.settings import override
    from ganforge.systems.catalog import load_system
    from ganforge.training.prepare import prepare

    name = "progressive_gan_sr"
    kind, system = KINDS[name], load_system(name)
    changes = dict(kind.changes) | {"threads": 1, "device": "cpu", "data.root": data, "rungs": 2}
    settings = override(override(system.Settings(), system.PRESETS["quick"]), changes)
    ended: list[tuple[float, float | None]] = []
    began = [math.inf]

    def listen(trial: Trial, event: str) -> None:
        began[0] = min(began[0], time.monotonic())
        if event == "ended":
            score = trial.metrics.get(system.metric.name) if trial.state == "finished" else None
            ended.append((time.monotonic() - began[0], score))

    with tempfile.TemporaryDirectory(prefix="gf-") as folder, session(num_cpus=1):
        request = SearchRequest(
            prepare(name, settings),
            {d.name: tune.loguniform(d.low, d.high) for d in kind.space.dimensions},
            system.metric,
            f"{folder}/storage",
            f"sqlite:///{folder}/mlflow.db",
            "real",
            limits=Limits(10_000, parse_budget(f"{minutes / 60}cpu-hours")),
            strategy=ARMS[arm],
            concurrent=1,
            seed=seed,
            ledger=False,
        )
        found = search(request, listen)
    costs = vars(found.costs)
    return {"arm": arm, "seed": seed, "ended": ended, "costs": costs, "trials": len(found.trials)}


def best_at(row: dict[str, Any]) -> list[tuple[float, float]]:
    """Seconds and scores of the finished trials that were the best so far."""
    best = list[tuple[float, float]]()
    for seconds, score in row["ended"]:
        if score is not None and (not best or score > best[-1][1]):
            best.append((seconds, score))
    return best


def table(rows: list[dict[str, Any]], arms: list[str]) -> str:
    """A line per seed, and the geometric mean of the ratios."""
    lines, ratios = list[str](), list[float]()
    for seed in sorted({row["seed"] for row in rows}):
        both = [next((r for r in rows if (r["arm"], r["seed"]) == (a, seed)), None) for a in arms]
        curves = [best_at(row) if row else [] for row in both]
        if not all(curves):
            lines.append(f"| {seed} | an arm is missing, or trained nothing to its end |")
            continue
        target = min(curve[-1][1] for curve in curves)
        taken = [next(s for s, score in curve if score >= target) for curve in curves]
        ratios.append(taken[0] / taken[1])
        cells = [
            f"{curve[-1][1]:.3f} dB, {row['trials']} trials, "
            f"{row['costs']['overhead']:.0f} s of starts and waiting, there at {seconds:.0f} s"
            for curve, row, seconds in zip(curves, both, taken, strict=True)
            if row
        ]
        lines.append(f"| {seed} | {' | '.join(cells)} | {ratios[-1]:.2f} |")
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        lines.append(f"{arms[0]} / {arms[1]}, geometric mean of {len(ratios)} seeds: {mean:.2f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True, help="a folder of images")
    parser.add_argument("--minutes", type=float, default=16.0, help="of a core, for each search")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", default="tpe-asha,freeze-thaw", help=f"two of {', '.join(ARMS)}")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--one", nargs=2, metavar=("ARM", "SEED"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        row = searched(given.one[0], int(given.one[1]), given.minutes, given.data)
        given.json.write_text(json.dumps(row))
        return
    arms = given.arms.split(",")
    rows = json.loads(given.json.read_text()) if given.json.exists() else []
    for seed in range(given.seeds):
        missing = [a for a in arms if (a, seed) not in {(r["arm"], r["seed"]) for r in rows}]
        files = {arm: given.json.with_suffix(f".{arm}.{seed}") for arm in missing}
        common = ["--data", given.data, "--minutes", str(given.minutes)]
        running = [
            subprocess.Popen(
                [sys.executable, __file__, *common, "--json", str(file), "--one", arm, str(seed)],
                stdout=subprocess.DEVNULL,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
            for arm, file in files.items()
        ]
        if any(process.wait() for process in running):
            sys.exit(f"a search with seed {seed} failed")
        rows += [json.loads(file.read_text()) for file in files.values()]
        given.json.write_text(json.dumps(rows))
        print(table(rows, arms), flush=True)
    print(table(rows, arms))


if __name__ == "__main__":
    main()
