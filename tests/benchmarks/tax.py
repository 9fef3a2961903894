"""What the platform takes from training: a stage trained by the bare loop, next to the same stage
under Ray with MLflow, grids and stored states.

    python tests/benchmarks/tax.py [--pairs 6] [--steps 200] [--width 16] [--side 32]

Both train one adversarial stage of the flagship to the same weights. Bare is the loop alone, in a
process of its own. The other is `fit`, as `ganforge train` calls it: a worker of Ray's, ten reports
with a sample grid and a validated image, each with a stored state where the plan asks for one, sent
to MLflow. They run in turns, in changing order, and are compared in pairs: seconds of the worker's
process, all its threads, and of the clock, from the first step to the end of the last report. What
comes before, start.py measures. What Ray's controller and the driver take meanwhile is shown apart.

The difference is one of each report and of the stage's end, not of a step: of a longer stage with
as many reports it is as many seconds, and so a smaller part. Intervals are of 95 %, by Student's t.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from scipy.stats import t

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

from small import METRIC, SYSTEM

from ganforge.settings import override
from ganforge.systems.catalog import load_system
from ganforge.systems.settings import SystemSettings

#: lengths of a stage for which the tax is shown, in seconds
_LENGTHS = (60, 300, 600, 1800)


def settings_of(steps: int, width: int, side: int) -> SystemSettings:
    """One stage of so many batches of 16, with the reports and grids of a default run."""
    base = load_system(SYSTEM).Settings()
    changes = {
        "width": width,
        "stages": [{"resolution": side, "epochs": 1}],
        "images_per_epoch": 16 * steps,
        "batch_size": 16,
        "shards": 4,
        "perceptual.network": "none",
        "validation.images": 1,
        "validation.max_side": 64,
        "validation.sliced_wasserstein": False,
    }
    return override(base, changes)


class Watch:
    """Seconds of this process and of the clock since the first step, and those of some calls."""

    def __init__(self) -> None:
        self.parts: dict[str, list[float]] = {}
        self.began = (0.0, 0.0)

    def start(self) -> None:
        self.began = time.process_time(), time.perf_counter()
        self.parts.clear()

    def wrapped(self, owner: Any, name: str, part: str) -> None:
        """Time all calls of a function of a module or class."""
        function = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            busy, wall = time.thread_time(), time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                found = self.parts.setdefault(part, [0.0, 0.0, 0.0])
                found[0] += time.thread_time() - busy
                found[1] += time.perf_counter() - wall
                found[2] += 1

        setattr(owner, name, timed)

    def result(self, state: str) -> dict[str, Any]:
        busy, wall = self.began
        took = time.process_time() - busy, time.perf_counter() - wall
        return {"busy": took[0], "wall": took[1], "parts": self.parts, "state": state}


def bare(arguments: Sequence[str]) -> None:
    """The loop alone; prints what it took."""
    import torch

    from ganforge.training.checkpoint import state_hashes
    from ganforge.training.loop import train
    from ganforge.training.prepare import prepare
    from ganforge.training.resume import begin
    from ganforge.training.run import be_deterministic, open_run_data
    from ganforge.training.workers import Workers

    steps, width, side = map(int, arguments)
    prepared = prepare(SYSTEM, settings_of(steps, width, side))
    device = torch.device("cpu")
    be_deterministic(prepared.settings, device)
    plan = prepared.plan(device)
    data = open_run_data(prepared, plan)
    training = begin(prepared, plan, None)
    watch = Watch()
    for number, _ in enumerate(train(training, plan, data, Workers(0, 1, device))):
        if number == 0:
            watch.start()
    found = watch.result(state_hashes(training.system)["state_sha256"])
    data.close()
    print(json.dumps(found))


def watched(config: dict[str, Any]) -> None:
    """Ray Train's worker function, with the time of the run in it, into a file."""
    import ray.train

    from ganforge.cluster import worker
    from ganforge.tracking.recorder import Recorder
    from ganforge.training import run as running
    from ganforge.training.checkpoint import Store

    watch, run = Watch(), worker.run
    watch.wrapped(running, "measure", "validation and grid")
    watch.wrapped(Store, "save", "storing states")
    watch.wrapped(Recorder, "log", "recording")
    watch.wrapped(Recorder, "flush_to_store", "waiting for the record")
    watch.wrapped(ray.train, "report", "reporting to Ray")

    def timed(*arguments: Any, **options: Any) -> Iterator[Any]:
        state = ""
        for number, report in enumerate(run(*arguments, **options)):
            if number == 0:
                watch.start()
            yield report
            state = (report.state or {}).get("state_sha256", state)
        Path(config["result"]).write_text(json.dumps(watch.result(state)))

    worker.run = timed  # pyright: ignore[reportAttributeAccessIssue]
    worker.worker(config["job"])


def full(settings: SystemSettings, folder: Path) -> dict[str, Any]:
    """The stage under Ray, recorded and stored."""
    from ganforge.cluster import train
    from ganforge.tracking.runs import Opening, open_run
    from ganforge.training.prepare import prepare

    prepared = prepare(SYSTEM, settings)
    uri = f"sqlite:///{folder}/mlflow.db"
    run = open_run(uri, "tax", Opening("train", "tax", settings))
    result = folder / "result.json"
    made = train.Trainer

    def with_watch(work: Callable[..., None], **options: Any) -> Any:
        config = {**options.pop("train_loop_config"), "result": str(result)}
        return made(watched, train_loop_config=config, **options)

    train.Trainer = with_watch  # pyright: ignore[reportAttributeAccessIssue]
    others = _others()
    try:
        train.fit(prepared, metric=METRIC, store=str(folder / "store"), tracking=run, grids=True)
    finally:
        train.Trainer = made
    found = json.loads(result.read_text())
    found["others"] = _others() - others
    found["files"] = {
        "MLflow's database": _size(folder.glob("mlflow.db*")),
        "MLflow's files": _size(folder.glob("mlartifacts/**/*")),
        "stored states": _size(folder.glob("store/*/*.safetensors")),
        "other files of the run": _size(folder.glob("store/**/*"))
        - _size(folder.glob("store/*/*.safetensors")),
    }
    return found


def _size(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())


def _others() -> float:
    """Processor seconds of this process and of those of its children that do not train."""
    own = time.process_time()
    for process in psutil.Process().children(recursive=True):
        try:
            if "RayTrainWorker" not in " ".join(process.cmdline()):
                times = process.cpu_times()
                own += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return own


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean and its 95 % interval."""
    mean = statistics.fmean(values)
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return mean, mean - half, mean + half


def main() -> None:
    if sys.argv[1:2] == ["bare"]:
        bare(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--side", type=int, default=32)
    given = parser.parse_args()
    sizes = [str(size) for size in (given.steps, given.width, given.side)]
    settings = settings_of(given.steps, given.width, given.side)
    from ganforge.cluster.session import session

    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as name, session(num_cpus=1):
        for number in range(given.pairs):
            found: dict[str, dict[str, Any]] = {}
            for what in ("bare", "full") if number % 2 else ("full", "bare"):
                if what == "bare":
                    command = [sys.executable, __file__, "bare", *sizes]
                    out = subprocess.check_output(command, env=environment, text=True)
                    found[what] = json.loads(out.splitlines()[-1])
                else:
                    folder = Path(name) / f"pair-{number}"
                    folder.mkdir()
                    found[what] = full(settings, folder)
            assert found["bare"]["state"] == found["full"]["state"], "other weights"
            pairs.append((found["bare"], found["full"]))
            seconds = [f"{found[w][k]:.2f}" for k in ("busy", "wall") for w in ("bare", "full")]
            print(f"pair {number}: CPU s {' '.join(seconds[:2])}, wall s {' '.join(seconds[2:])}")
    show(pairs)


def show(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """Print ratios, what a report costs, and what the whole is of longer stages."""
    for kind, unit in (("busy", "CPU seconds"), ("wall", "wall seconds")):
        length = statistics.median(bare[kind] for bare, _ in pairs)
        logs = [math.log(full[kind] / bare[kind]) for bare, full in pairs]
        mean, low, high = (100 * math.expm1(value) for value in interval(logs))
        print(f"{unit}: bare {length:.1f}, tax {mean:.2f} % ({low:.2f} to {high:.2f})")
        more = interval([full[kind] - bare[kind] for bare, full in pairs])
        cells = [
            f"{seconds} s: {100 * more[0] / seconds:.2f} % (to {100 * more[2] / seconds:.2f})"
            for seconds in _LENGTHS
        ]
        print(f"  {more[0]:.2f} s ({more[1]:.2f} to {more[2]:.2f}) more; of {'; '.join(cells)}")
    others = statistics.median(full["others"] for _, full in pairs)
    print(f"driver, controller and Ray's own processes, starts included: {others:.1f} CPU s")
    for part in pairs[0][1]["parts"]:
        rows = [full["parts"].get(part, [0.0, 0.0, 0.0]) for _, full in pairs]
        busy, wall, calls = (statistics.median(row[k] for row in rows) for k in range(3))
        print(f"  {part}: {busy:.2f} CPU s of its thread, {wall:.2f} wall s in {calls:.0f} calls")
    for name, size in pairs[-1][1]["files"].items():
        print(f"{name}: {size:,} bytes")


if __name__ == "__main__":
    main()
