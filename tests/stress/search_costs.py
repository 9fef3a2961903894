"""What a search was planned to take, what it took, and whether its costs add up.

    python tests/stress/search_costs.py [--images 3000]

Three searches of a small flagship of three stages, one trial at a time:

    plan     `ganforge plan`'s estimate beside the search: device-seconds, wall time, memory
    costs    a worker dies in the middle; the costs beside a clock around the search
    budget   a limit of device-seconds, and what was spent beyond it beside the dearest rung
"""

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS / "helpers"))
TRIALS = 3


class Watch:
    """A clock around a search, and the memory that its workers report."""

    def __init__(self) -> None:
        self.peak = 0
        self.seconds = 0.0

    def __enter__(self) -> "Watch":
        from ganforge.search.trial import Trial

        self._update = update = Trial.update

        def noted(trial: Trial, summary: dict[str, Any]) -> None:
            self.peak = max(self.peak, summary.get("peak_bytes", 0))
            update(trial, summary)

        Trial.update = noted
        self._began = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        from ganforge.search.trial import Trial

        self.seconds = time.monotonic() - self._began
        Trial.update = self._update


def kill_a_worker(after: float) -> None:
    """SIGKILL to the process that trains, once it has trained for a while."""
    until = time.monotonic() + 300
    first: float | None = None
    while time.monotonic() < until:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if b"RayTrainWorker" in command:
                first = first or time.monotonic()
                if time.monotonic() > first + after:
                    os.kill(int(process.name), signal.SIGKILL)
                    return
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3000)
    images = parser.parse_args().images

    from ray import tune
    from small import METRIC, SYSTEM, tiny

    from ganforge.cluster.session import session
    from ganforge.search.budget import parse_budget
    from ganforge.search.limits import Limits
    from ganforge.search.plan import estimate, measure_starts, probe_all
    from ganforge.search.request import SearchRequest
    from ganforge.search.result import SearchResult
    from ganforge.search.sampler import Sampler
    from ganforge.search.search import search
    from ganforge.search.strategies.catalog import load_strategy
    from ganforge.training.prepare import prepare

    prepared = prepare(
        SYSTEM, tiny(stages=3, width=16, batch_size=8, images_per_epoch=images, reports_per_stage=2)
    )
    space: Mapping[str, Any] = {"generator.learning_rate": tune.loguniform(1e-4, 1e-2)}

    def searched(folder: str, name: str, limits: Limits) -> SearchResult:
        request = SearchRequest(
            prepared,
            dict(space),
            METRIC,
            f"{folder}/{name}",
            f"sqlite:///{folder}/mlflow.db",
            name,
            limits=limits,
            strategy="tpe",
            concurrent=1,
            ledger=False,
        )
        return search(request)

    failed = []

    def judged(text: str, ok: bool) -> None:
        print(f"{text}: {'holds' if ok else 'DOES NOT HOLD'}", flush=True)
        if not ok:
            failed.append(text)

    with tempfile.TemporaryDirectory(prefix="gf-") as folder:
        starts = measure_starts(kept=True)
        probes = probe_all(prepared, 40.0)
        planned = estimate(
            load_strategy("tpe"),
            Sampler(dict(space), METRIC.mode, 0).candidates,
            probes,
            num_trials=TRIALS,
            workers=1,
            slots=1,
            starts=starts,
        )
        with session(num_cpus=1), Watch() as watch:
            whole = searched(folder, "plan", Limits(TRIALS))
        device = whole.costs.used + whole.costs.overhead
        memory = max(probe.peak_bytes for probe in probes)
        for what, expected, found, most in (
            ("device-seconds", planned.device_seconds.value, device, 0.15),
            ("seconds", planned.seconds.value, watch.seconds, 0.15),
            ("memory", memory / 2**20, watch.peak / 2**20, 0.05),
        ):
            off = expected / found - 1
            text = f"plan: {what} {expected:.1f}, were {found:.1f} ({off:+.1%})"
            judged(text, abs(off) <= most)

        with session(num_cpus=1), Watch() as watch:
            killer = threading.Thread(target=kill_a_worker, args=(20.0,), daemon=True)
            killer.start()
            costs = searched(folder, "costs", Limits(TRIALS)).costs
        off = costs.held / watch.seconds - 1
        print(costs.line())
        judged(
            f"costs: {costs.held:.1f} s, {watch.seconds:.1f} by a clock ({off:+.2%})",
            abs(off) <= 0.005,
        )
        judged(f"costs: {costs.lost:.1f} s lost with a worker", costs.lost > 0)

        rungs = [s.seconds for t in whole.trials for s in t.stages.values()]
        amount = sum(rungs) / 2
        budget = parse_budget(f"{amount / 3600:.6f}cpu-hours")
        with session(num_cpus=1):
            found = searched(folder, "budget", Limits(TRIALS, budget))
        spent = sum(s.seconds for t in found.trials for s in t.stages.values())
        judged(
            f"budget: {amount:.1f} s, {spent:.1f} spent, the dearest rung {max(rungs):.1f}",
            amount <= spent <= amount + max(rungs),
        )
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
