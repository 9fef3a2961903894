"""The tracking server dies in the middle of a search: for a minute, and for for_good.

    python tests/stress/server_down.py [--trials 3]

Three equal searches run side by side, each with a server of its own: one whose server lives, one
whose server is killed for 60 s, one whose server does not come back until the search is over and
`ganforge sync` is called. Prints how long a step took in each, and compares what the stores hold
with what the outboxes hold: every point once, none twice, no run RUNNING.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]
EXPERIMENT = "server down"
OUTAGE_SECONDS = 60.0
CHANGES = {"images_per_epoch": 800, "reports_per_stage": 10}


def search_in(folder: Path, uri: str, trials: int) -> None:
    """One small search, in this process."""
    sys.path.insert(0, str(TESTS / "helpers"))
    from ray import tune
    from small import METRIC, SYSTEM, tiny

    from ganforge.cluster.session import session
    from ganforge.search.limits import Limits
    from ganforge.search.request import SearchRequest
    from ganforge.search.search import search
    from ganforge.training.prepare import prepare

    space = {"generator.learning_rate": tune.loguniform(1e-4, 1e-2)}
    with session(num_cpus=1):
        request = SearchRequest(
            prepare(SYSTEM, tiny(stages=2, **CHANGES)),
            space,
            METRIC,
            str(folder / "storage"),
            uri,
            EXPERIMENT,
            limits=Limits(trials),
            seed=5,
        )
        search(request)


@dataclass
class Case:
    """A search and its server."""

    name: str
    folder: Path
    port: int = 0
    server: "subprocess.Popen[bytes] | None" = None
    search: "subprocess.Popen[bytes] | None" = None
    down: float = 0.0

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self) -> None:
        from ganforge.tracking.server import answers

        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        arguments = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--workers",
            "1",
        ]
        arguments += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        arguments += ["--artifacts-destination", str(self.folder / "artifacts")]
        arguments += ["--port", str(self.port)]
        quiet = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with open(self.folder / "server.log", "ab") as log:
            self.server = subprocess.Popen(
                arguments, stdout=log, stderr=log, env=quiet, start_new_session=True
            )
        while not answers(self.uri):
            time.sleep(0.2)

    def kill_server(self) -> None:
        assert self.server is not None
        os.killpg(self.server.pid, signal.SIGKILL)
        self.server.wait()
        self.down = time.time()

    def begin(self, trials: int) -> None:
        arguments = [sys.executable, __file__, "--search", str(self.folder), self.uri, str(trials)]
        with open(self.folder / "search.log", "ab") as log:
            environment = os.environ | {"RAY_ADDRESS": "local"}
            self.search = subprocess.Popen(arguments, stdout=log, stderr=log, env=environment)

    def in_outboxes(self) -> list[dict[str, object]]:
        """Every entry of its workers."""
        files = self.folder.glob("storage/*/trial-*/tracking*/outbox.jsonl")
        return [json.loads(line) for file in files for line in file.open()]

    def milliseconds(self) -> float:
        """A step's time by the run's own clock, the median over its reports."""
        speeds = [e["metrics"].get("speed/images_per_second") for e in self.in_outboxes()]  # type: ignore[attr-defined]
        return statistics.median(4000 / speed for speed in speeds if speed)

    def missing(self) -> tuple[int, int, int, list[str]]:
        """(points in the outboxes, of these not in the store, more than once there, states)."""
        from ganforge.tracking.client import open_client

        client = open_client(self.uri)
        found = client.get_experiment_by_name(EXPERIMENT)
        runs = client.search_runs([found.experiment_id]) if found else []
        stored: Counter[tuple[str, str, int, float]] = Counter()
        for run in runs:
            if "trial" not in run.data.tags:
                continue
            for key in run.data.metrics.keys() - {"final_score"}:
                for point in client.get_metric_history(run.info.run_id, key):
                    stored[run.data.tags["ganforge.key"], key, point.step, point.timestamp] += 1
        outbox = Counter(
            (e["run"]["key"], key, e["step"], e["at"])  # type: ignore[index]
            for e in self.in_outboxes()
            for key in e["metrics"]  # type: ignore[attr-defined]
        )
        doubled = sum(count - 1 for count in stored.values()) + (stored - outbox).total()
        states = [f"{run.info.run_name} {run.info.status}" for run in runs]
        return outbox.total(), (outbox - stored).total(), doubled, sorted(states)


def main(trials: int) -> None:
    with tempfile.TemporaryDirectory(prefix="gf-") as folder:
        cases = [Case(name, Path(folder, name)) for name in ("lives", "a-minute", "for-good")]
        for case in cases:
            case.folder.mkdir()
            case.serve()
        for case in cases:
            case.begin(trials)
        try:
            ok = story(cases, folder)
        finally:
            for case in cases:
                for process in (case.search, case.server):
                    if process is not None and process.poll() is None:
                        process.terminate()
                        process.wait()
    sys.exit(0 if ok else 1)


def story(cases: list[Case], folder: str) -> bool:
    """Kill, wait, compare."""
    began = time.time()
    _, minute, for_good = cases
    while any(len(case.in_outboxes()) < 5 for case in cases):
        time.sleep(0.5)
        failed = [case.name for case in cases if case.search and case.search.poll()]
        assert not failed, [Path(folder, name, "search.log").read_text()[-2000:] for name in failed]
    minute.kill_server()
    for_good.kill_server()
    while any(case.search and case.search.poll() is None for case in cases):
        time.sleep(0.2)
        if minute.down and time.time() > minute.down + OUTAGE_SECONDS:
            minute.down = 0.0
            minute.serve()
    codes = [case.search.returncode for case in cases if case.search]
    lasted = time.time() - began
    assert not minute.down, "the search was over before the minute was"
    before = len(for_good.in_outboxes())
    for_good.serve()
    missing_before = for_good.missing()[1]
    arguments = [
        sys.executable,
        "-m",
        "ganforge",
        "sync",
        "--storage",
        str(for_good.folder / "storage"),
        "--tracking-uri",
        for_good.uri,
    ]
    sync = subprocess.run(arguments, capture_output=True, text=True)
    print(sync.stdout, sync.stderr, f"exit code {sync.returncode}; {before} reports", sep="\n")
    print(f"searches {lasted:.0f} s, exit codes {codes}; before sync {missing_before} missing\n")
    print("| server | step | points in the outboxes | missing in the store | doubled |")
    print("|---|---|---|---|---|")
    ok = codes == [0, 0, 0] and sync.returncode == 0 and missing_before > 0
    for case in cases:
        points, missing, doubled, states = case.missing()
        print(f"| {case.name} | {case.milliseconds():.1f} ms | {points} | {missing} | {doubled} |")
        ok = ok and points > 0 and not missing and not doubled
        running = [state for state in states if not state.endswith("FINISHED")]
        ok = ok and not running
        if running:
            print(running)
    return ok


if __name__ == "__main__":
    if sys.argv[1:2] == ["--search"]:
        search_in(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--trials", type=int, default=3)
        main(parser.parse_args().trials)
