"""Many trials at a time through Ray Tune: its actors, the coordinator and the search are those of a
search; in the trials' stead one process reports made-up scores after a pause each.

So Ray Train's barrier and the workers are not here: start.py has what they take.
"""

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import ray
from scale_reporter import Reporter
from scale_study import request_of
from start import drivers

from ganforge.cluster.coordinator import TrialCoordinator
from ganforge.cluster.placement import here
from ganforge.cluster.session import session
from ganforge.cluster.train import make_job
from ganforge.search.journal import Journal
from ganforge.search.search import _Search  # pyright: ignore[reportPrivateUsage]
from ganforge.search.trial import Trial

#: a machine is left as much memory
_LEFT_BYTES = 4e9


class _Drivers:
    """What a search asks of those that drive its trials."""

    def __init__(self, actor: Any):
        self.actor = actor

    def abandon(self, trial: int) -> None: ...


def run(at_a_time: int, trials: int) -> None:
    """Search, and print what a trial at a time takes, and an event."""
    events: list[float] = []
    began: dict[int, float] = {}
    running: set[int] = set()
    most = (0, dict[str, tuple[float, float]](), 0.0)
    stopped = False

    def listen(trial: Trial, event: str) -> None:
        nonlocal most, stopped
        events.append(time.time())
        if event == "started":
            began[trial.number] = time.time()
            running.add(trial.number)
        elif event in ("paused", "ended"):
            running.discard(trial.number)
        left = psutil.virtual_memory().available
        full = len(running) == at_a_time or (left < _LEFT_BYTES and not stopped)
        if full and len(running) > most[0]:
            most = len(running), drivers(), left
            stopped = stopped or left < _LEFT_BYTES

    free = psutil.virtual_memory().available
    # for the process that reports
    here_too = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "helpers")]
    os.environ["PYTHONPATH"] = os.pathsep.join([*here_too, os.environ.get("PYTHONPATH", "")])
    with TemporaryDirectory() as name, session(num_cpus=2):
        folder = Path(name)
        request = request_of(folder, trials, "halving", f"sqlite:///{folder}/mlflow.db")
        coordinator = TrialCoordinator()
        job = make_job(request.prepared, request.metric, "", coordinator)
        actor: Any = ray.remote(Reporter)
        actor = actor.options(
            num_cpus=0, max_concurrency=at_a_time + 1, scheduling_strategy=here()
        ).remote(coordinator.actor, request.metric.name)
        journal = Journal(request.storage, "study")
        made: Any = _Drivers(actor)
        start, busy = time.time(), time.process_time()
        children = _busy_children()
        search = _Search(request, job, coordinator, made, journal, at_a_time, listen)
        result = search.run(None)
        took, busy = time.time() - start, time.process_time() - busy
        children = _busy_children() - children
        journal.close()
        coordinator.close()
    states = [trial.state for trial in result.trials]
    print(f"{trials} trials, {at_a_time} at a time wanted: {sorted(set(states))}, {took:.0f} s")
    assert "failed" not in states, next(t.reason for t in result.trials if t.state == "failed")
    print(
        f"the search: {1000 * busy / len(events):.1f} CPU ms an event of {len(events)} "
        f"({busy / trials:.2f} s a trial, its start and end among them); Ray's processes and the "
        f"actors together {children / trials:.2f} CPU s a trial"
    )
    first = sorted(began.values())[:at_a_time]
    print(f"the first {len(first)} trials began within {first[-1] - first[0]:.0f} s")
    count, found, left = most
    print(f"{count} at a time: {(free - left) / 1e6:.0f} MB of the machine in all")
    for what, (pss, rss) in sorted(found.items()):
        each = f", {pss / count:.0f} MB a trial" if pss > 10 * count else ""
        print(f"memory: {what} {pss:.0f} MB PSS, {rss:.0f} MB RSS{each}")


def _busy_children() -> float:
    """Processor seconds of this process's children that live."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
