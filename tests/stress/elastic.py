"""One run on machines that come and go: 1, 4, 2 and 3 workers, in the middle of its stages.

    python tests/stress/elastic.py --seconds 300
    python tests/stress/elastic.py --seconds 300 --search --json OUT

Every machine is a Ray node of its own on this one, with room for one worker. Three come, two are
killed with all of their processes, one comes back; the driver adds and kills them when it has seen
some reports. The end is compared with that of the same run in one process, which nothing disturbs.
The exit code is 1 if any hash of any stage differs, or if the workers were other ones.

What it cost is counted as a search counts it (search/costs.py): seconds times workers. Beyond the
start that every run has these are lost batches, and what it takes to replace the workers.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Any

#: before ray is imported: it leaves the address of a cluster there, which others would join
_FOLDER = Path(tempfile.mkdtemp(prefix="gfe-", dir="/tmp"))
os.environ |= {"RAY_TMPDIR": str(_FOLDER), "RAY_AUTH_MODE": "token", "GANFORGE_GROW_SECONDS": "5"}
for _folder in (Path(__file__).parents[2], Path(__file__).parents[1] / "helpers"):
    sys.path.insert(0, str(_folder))

from ray.cluster_utils import Cluster  # noqa: E402
from ray.tune import choice  # noqa: E402
from small import METRIC, SYSTEM, tiny  # noqa: E402

from ganforge.cluster.placement import held  # noqa: E402
from ganforge.cluster.private_files import make_token  # noqa: E402
from ganforge.cluster.session import session  # noqa: E402
from ganforge.cluster.train import fit  # noqa: E402
from ganforge.search.costs import trial_costs  # noqa: E402
from ganforge.search.limits import Limits  # noqa: E402
from ganforge.search.request import SearchRequest  # noqa: E402
from ganforge.search.search import search  # noqa: E402
from ganforge.search.trial import Trial  # noqa: E402
from ganforge.training.prepare import Prepared, prepare  # noqa: E402
from ganforge.training.run import run  # noqa: E402

MOST = 4
WORKERS = [1, 4, 2, 3]
_STORE_BYTES = 80 * 2**20


class Machines:
    """A cluster whose head has no room for workers."""

    def __init__(self) -> None:
        make_token()
        head = {"num_cpus": 0, "object_store_memory": 2 * _STORE_BYTES, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes: list[Any] = []

    def add(self, count: int) -> None:
        for _ in range(count):
            node = self.cluster.add_node(num_cpus=1, object_store_memory=_STORE_BYTES)
            self.nodes.append(node)

    def kill(self, count: int) -> None:
        gone = [self.nodes.pop() for _ in range(count)]
        # at once: what removes a node waits for its end
        for node in gone:
            for processes in node.all_processes.values():
                for each in processes:
                    each.process.kill()
        for node in gone:
            self.cluster.remove_node(node, allow_graceful=False)


@dataclass
class Story:
    """What the machines do, by what a run reports; and what was seen."""

    machines: Machines
    reports: int
    began: float = field(default_factory=time.monotonic)
    workers: list[int] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    actions: Queue[Callable[[], None] | None] = field(default_factory=Queue)
    #: seconds until the first report, with one worker
    start: float = 0.0
    #: seconds from the last report of a group to the first one of the next
    gaps: list[float] = field(default_factory=list)
    #: how often the machines have changed
    reached: int = 0
    _since: int = 0
    _last: float = 0.0

    def says(self, line: str) -> None:
        self.lines.append(f"{time.monotonic() - self.began:6.1f} s  {line}")
        print(self.lines[-1], flush=True)

    def group(self, workers: int) -> None:
        self.workers.append(workers)
        self._since = 0
        self.says(f"{workers} workers")

    def report(self, trial: Trial) -> None:
        self.start = self.start or time.monotonic() - trial.started
        now = time.monotonic()
        if not self._since and self._last:
            self.gaps.append(round(now - self._last, 1))
        self._last = now
        self._since += 1
        if self._since != self.reports:
            return
        self.says(f"stage {trial.index}, step {trial.step}")
        if self.workers[-1] != WORKERS[self.reached]:
            return  # the machines come one after the other, and may be taken so
        if self.reached == 0:
            self._do("three machines come", self.machines.add, 3)
        elif self.reached == 1:
            self._do("two machines are killed", self.machines.kill, 2)
        elif self.reached == 2:
            self._do("one machine comes", self.machines.add, 1)

    def _do(self, line: str, what: Callable[[int], None], count: int) -> None:
        self.says(line)
        self.reached += 1
        self.actions.put(partial(what, count))

    def follow(self, run_it: Callable[[], Any]) -> Any:
        """What `run_it` returns, from a thread of its own: Ray starts nodes in the first one only,
        and that takes a while, in which the run is not to wait."""
        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(run_it)
            ended.add_done_callback(lambda _: self.actions.put(None))
            while (action := self.actions.get()) is not None:
                action()
            return ended.result()


@contextmanager
def machines() -> Iterator[Machines]:
    made = Machines()
    made.add(1)
    os.environ["RAY_ADDRESS"] = made.cluster.address
    try:
        with session():
            yield made
    finally:
        made.cluster.shutdown()
        shutil.rmtree(_FOLDER, ignore_errors=True)


def trained(prepared: Prepared, story: Story, folder: Path) -> tuple[list[str], Trial]:
    """As `ganforge train` does it."""
    trial = Trial(0, {}, prepared, prepared.plan(), str(folder / "run"))
    trial.start()

    def listen(summary: dict[str, Any]) -> None:
        trial.update(summary)
        if "workers" in summary:
            story.group(summary["workers"])
        elif "index" in summary:
            story.report(trial)

    found = fit(prepared, metric=METRIC, store=trial.folder, listener=listen)
    trial.finish("finished")
    return [stage.state_sha256 for stage in found.stages], trial


def searched(prepared: Prepared, story: Story, folder: Path) -> tuple[list[str], Trial]:
    """As the only trial of a search, with the settings of the run."""

    def listen(trial: Trial, event: str) -> None:
        if event == "placed":
            story.group(trial.workers)
        elif event in ("progress", "rung", "stage"):
            story.report(trial)

    uri, value = f"sqlite:///{folder}/mlflow.db", prepared.settings.at(0).batch_size
    request = SearchRequest(
        prepared,
        {"batch_size": choice([value])},
        METRIC,
        str(folder / "storage"),
        uri,
        "elastic",
        limits=Limits(1),
        strategy="random",
    )
    (trial,) = search(request, listen).trials
    story.says(", ".join(f"{c.workers} from image {c.image}" for c in trial.crews))
    return [trial.stages[index].state_sha256 for index in sorted(trial.stages)], trial


def prepared_for(steps: int) -> Prepared:
    return prepare(
        SYSTEM,
        tiny(
            2,
            shards=4,
            images_per_epoch=4 * (steps // 2),
            reports_per_stage=40,
            workers=MOST,
            workers_at_least=1,
        ),
    )


def steps_in(seconds: float) -> int:
    """How many steps one process takes in so long, about."""
    probe = prepared_for(200)
    for _ in run(probe):  # what is slow the first time
        pass
    began = time.monotonic()
    for _ in run(probe):
        pass
    return max(400, round(200 * seconds / (time.monotonic() - began)))


def main(seconds: float, reports: int, as_search: bool) -> dict[str, Any]:
    """The run, with and without what happens to its machines; `extra` is the part that the changes
    took of what was trained: all that was neither trained and kept nor the first start."""
    steps = steps_in(seconds)
    prepared = prepared_for(steps)
    folder = Path(tempfile.mkdtemp(prefix="gfe-"))
    began = time.monotonic()
    alone = [report.stage for report in run(prepared) if report.stage is not None]
    undisturbed = time.monotonic() - began
    try:
        with machines() as made:
            story = Story(made, reports)
            do = partial(searched if as_search else trained, prepared, story, folder)
            hashes, trial = story.follow(do)
            left = held()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    costs = trial_costs(trial, {})
    same = hashes == [stage.state_sha256 for stage in alone]
    return {
        "same": same,
        "workers": story.workers,
        "through": story.reached == len(WORKERS) - 1 and story.workers[-1] == WORKERS[-1],
        "steps": steps,
        "left": left,
        "undisturbed_seconds": round(undisturbed, 1),
        "seconds": round(trial.seconds, 1),
        "gaps": story.gaps,
        "costs": costs.metrics(),
        "extra": round((costs.lost + costs.overhead - story.start) / costs.used, 4),
        "lines": story.lines,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180, help="of the run in one process")
    parser.add_argument("--reports", type=int, default=3, help="seen before machines change")
    parser.add_argument("--search", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = main(options.seconds, options.reports, options.search)
    print(json.dumps({key: found[key] for key in found if key != "lines"}, indent=2))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    sys.exit(not (found["same"] and found["through"] and not found["left"]))
