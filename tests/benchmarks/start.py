"""What a search costs before and besides training: seconds until a trial trains, memory of the
processes that only drive.

    python tests/benchmarks/start.py [--trials 6]

One search of small trials of ProgressiveGAN-SR, one at a time, on this machine's cores, without
stopping. Seconds are from the start of the process to the first trial's first worker (cold), and
from one trial's end to the next one's first worker and first batches (warm). Memory is that of all
processes that drive, at the moment when a trial trains: the parts of shared pages that are theirs
(PSS), and as `ps` counts them (RSS).
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
from ray import tune

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

from small import METRIC, SYSTEM, tiny

from ganforge.cluster.session import session
from ganforge.search.limits import Limits
from ganforge.search.request import SearchRequest
from ganforge.search.search import search
from ganforge.search.trial import Trial
from ganforge.training.prepare import prepare

SPACE = {"generator.learning_rate": tune.loguniform(1e-4, 1e-2)}
#: Ray's own and the workers, which compute
_NO_DRIVER = ("ray::IDLE", "ray::Dashboard", "ray::RuntimeEnv", "ray::RayTrain", "ray::_import")


def drivers() -> dict[str, tuple[float, float]]:
    """PSS and RSS in MB of the Ray processes of this session that drive, summed by name."""
    found: dict[str, tuple[float, float]] = {}
    for process in psutil.Process().children(recursive=True):
        try:
            line = " ".join(process.cmdline())
            if not line.startswith("ray::") or line.startswith(_NO_DRIVER):
                continue
            memory = process.memory_full_info()
        except psutil.NoSuchProcess:
            continue
        name = line.removeprefix("ray::").partition("(")[0].partition(".")[0].split()[0]
        pss, rss = found.get(name, (0.0, 0.0))
        found[name] = pss + memory.pss / 1e6, rss + memory.rss / 1e6
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=6)
    given = parser.parse_args()
    began = psutil.Process().create_time()
    times: dict[str, dict[int, float]] = {}
    memory: list[dict[str, tuple[float, float]]] = []

    def listen(trial: Trial, event: str) -> None:
        event = "working" if event in ("progress", "rung", "stage") else event
        times.setdefault(event, {}).setdefault(trial.number, time.time())
        if event == "working":
            memory.append(drivers())

    with tempfile.TemporaryDirectory() as folder, session():
        request = SearchRequest(
            prepare(SYSTEM, tiny(1, images_per_epoch=64)),
            SPACE,
            METRIC,
            str(Path(folder) / "storage"),
            f"sqlite:///{folder}/mlflow.db",
            "start",
            limits=Limits(given.trials),
            strategy="random",
            concurrent=1,
        )
        ready = time.time()
        result = search(request, listen)
    assert all(trial.state == "finished" for trial in result.trials), result.trials
    placed, working, ended = times["placed"], times["working"], times["ended"]
    print(f"cold: {ready - began:.1f} s to an open session, {placed[0] - began:.1f} s to a worker")
    warm = [placed[k] - ended[k - 1] for k in range(1, given.trials)]
    first = [working[k] - placed[k] for k in range(1, given.trials)]
    print(
        f"warm: {statistics.median(warm):.2f} s from one trial's end to the next one's worker "
        f"({min(warm):.2f} to {max(warm):.2f}), {statistics.median(first):.2f} s from there to its "
        "first report"
    )
    names = sorted({name for row in memory for name in row})
    for name in names:
        pss, rss = (max(row.get(name, (0.0, 0.0))[k] for row in memory) for k in (0, 1))
        print(f"memory: {name} {pss:.0f} MB PSS, {rss:.0f} MB RSS")
    most = [max(sum(row[name][k] for name in row) for row in memory) for k in (0, 1)]
    print(f"memory of all that drives: {most[0]:.0f} MB PSS, {most[1]:.0f} MB RSS")


if __name__ == "__main__":
    main()
