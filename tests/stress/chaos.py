"""Random faults over the life of searches; each must end as its partner without faults did.

    python tests/stress/chaos.py --faults 200 --seed 0
    python tests/stress/chaos.py --faults 10 --only driver --strategy freeze-thaw

A small search (some of whose trials diverge, T8) runs once in peace. Then it is run again and again
while faults strike at drawn moments, until the asked number has landed:

    worker   T1   SIGKILL to a Train worker
    driver   T2   SIGKILL to the search and all its processes, then --resume
    damage   T5   the same, and the newest state of the newest trial is damaged in between
    server   T10  SIGKILL to the tracking server, which comes back some seconds later
    term     T12  SIGTERM to the search: exit code 143, then --resume

At the end of each search: its journal tells the same story as the partner's (states, scores, order,
decisions), MLflow holds one run for each trial in the same state and nothing RUNNING, every stage
has the partner's hashes, and no process and no half-written file is left.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
EXPERIMENT = "chaos"
FAULTS = ("worker", "driver", "damage", "server", "term")
_MARK = "GANFORGE_CHAOS"
_END_SECONDS, _GONE_SECONDS, _TERM_SECONDS = 1800.0, 30.0, 60.0
#: of the faults, those that strike while the search recovers from the one before; the others come
#: once it trains, or else no search would come far
_RECOVERING, _START_SECONDS = 0.3, 60.0
#: what differs between two equal searches: seconds, ids of runs
_UNSTEADY = ("seconds", "elapsed", "lost", "run", "parent")


def search_in(folder: Path, uri: str, trials: int, strategy: str, resume: bool) -> None:
    """One small search, in this process."""
    sys.path.insert(0, str(TESTS / "helpers"))
    from ray import tune
    from small import METRIC, SYSTEM, tiny

    from ganforge.cluster.session import session
    from ganforge.search.limits import Limits
    from ganforge.search.request import SearchRequest
    from ganforge.search.search import search
    from ganforge.training.prepare import prepare

    space = {
        # above some learning rate a trial leaves the real numbers, at a step that never changes
        "generator.learning_rate": tune.loguniform(1e-4, 1e12),
        "critic.learning_rate": tune.loguniform(1e-4, 1e-2),
    }
    if strategy == "grid":
        space = {
            "generator.learning_rate": tune.choice([1e-3, 1e-2, 1e12]),
            "critic.learning_rate": tune.choice([1e-4, 1e-3]),
        }
    with session(num_cpus=1):
        request = SearchRequest(
            prepare(SYSTEM, tiny(stages=3, images_per_epoch=80, reports_per_stage=4)),
            space,
            METRIC,
            str(folder / "storage"),
            uri,
            EXPERIMENT,
            limits=Limits(trials),
            strategy=strategy,
            seed=11,
            resume=resume,
        )
        search(request)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Case:
    """One search with a tracking server of its own."""

    folder: Path
    trials: int
    strategy: str
    port: int = field(default_factory=free_port)
    server: "subprocess.Popen[bytes] | None" = None
    search: "subprocess.Popen[bytes] | None" = None
    #: when the server comes back
    back_at: float | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def mark(self) -> str:
        return f"{_MARK}={self.folder}"

    def serve(self) -> None:
        from ganforge.tracking.server import answers

        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--workers", "1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        quiet = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with open(self.folder / "server.log", "ab") as log:
            self.server = subprocess.Popen(
                command, stdout=log, stderr=log, env=quiet, start_new_session=True
            )
        while not answers(self.uri):
            time.sleep(0.2)
        self.back_at = None

    def kill_server(self) -> None:
        if self.server is not None and self.server.poll() is None:
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait()

    def start(self, *, resume: bool) -> None:
        command = [sys.executable, __file__, "--search", str(self.folder), self.uri]
        command += [str(self.trials), self.strategy, "resume" if resume else "new"]
        environment = os.environ | {"RAY_ADDRESS": "local", _MARK: str(self.folder)}
        with open(self.folder / "search.log", "ab") as log:
            self.search = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def processes(self) -> dict[int, str]:
        """The processes of the search, also those that its death has orphaned: id to command."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    if command:  # a zombie has none
                        found[int(folder.name)] = command
            except OSError:
                continue
        return found

    def trains(self) -> bool:
        return any("RayTrainWorker" in command for command in self.processes().values())

    def leave(self) -> None:
        """Wait until the processes of a killed search are gone: Ray's follow their driver."""
        until = time.monotonic() + _GONE_SECONDS
        while self.processes() and time.monotonic() < until:
            time.sleep(0.2)

    def kill_search(self) -> None:
        assert self.search is not None
        os.killpg(self.search.pid, signal.SIGKILL)
        self.search.wait()
        self.leave()

    def journal(self) -> list[dict[str, Any]]:
        files = list(self.folder.glob("storage/*/journal.jsonl"))
        if not files:
            return []
        lines = files[0].read_bytes().split(b"\n")[:-1]  # without a torn last line
        return [json.loads(line) for line in lines]

    def story(self) -> list[dict[str, Any]]:
        return [{k: v for k, v in e.items() if k not in _UNSTEADY} for e in self.journal()]

    def outcome(self) -> dict[str, Any]:
        """What the tracking store holds, but for ids and times."""
        from ganforge.tracking.client import open_client
        from ganforge.tracking.queries import fetch_stages

        client = open_client(self.uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        assert experiment is not None
        found: dict[str, Any] = {}
        for run in client.search_runs([experiment.experiment_id], max_results=1000):
            name = run.data.tags.get("trial", "search")
            stages = [s.state_sha256 for s in fetch_stages(self.uri, run.info.run_id)]
            row = [run.info.status, run.data.tags.get("outcome", ""), stages]
            found.setdefault(name, []).append(row)
        return found

    def leftovers(self) -> list[str]:
        """Processes, and files that a rename was to finish."""
        self.leave()
        found = [f"process {command[:80]}" for command in self.processes().values()]
        parts = self.folder.glob("storage/**/*")
        return found + [str(p) for p in parts if p.suffix in (".part", ".tmp") or ".tmp" in p.name]


def damage(case: Case, draw: random.Random) -> bool:
    """Change, cut or remove a file of the newest trial's newest state; whether there is one."""
    states = [file.parent for file in case.folder.glob("storage/*/trial-*/*/manifest.json")]
    if not states:
        return False
    newest = max(states, key=lambda state: (state.parent.name, state.name))
    file = draw.choice(sorted(p for p in newest.iterdir() if p.is_file()))
    content = bytearray(file.read_bytes())
    kind = draw.choice(("bit", "cut", "gone"))
    if kind == "gone" or not content:
        file.unlink()
        return True
    if kind == "bit":
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    else:
        del content[draw.randrange(len(content)) :]
    file.write_bytes(content)
    return True


def strike(case: Case, kind: str, draw: random.Random) -> bool:
    """Let one fault happen; whether there was something to strike."""
    assert case.search is not None
    if kind == "worker":
        workers = [pid for pid, command in case.processes().items() if "RayTrainWorker" in command]
        if not workers:
            return False
        try:
            os.kill(draw.choice(workers), signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True
    if kind == "server":
        if case.back_at is not None:
            return False
        case.kill_server()
        case.back_at = time.monotonic() + draw.uniform(0.5, 8.0)
        return True
    if not case.journal():
        return False  # nothing to resume yet
    if kind == "term":
        case.search.terminate()
        try:
            code = case.search.wait(_TERM_SECONDS)
        except subprocess.TimeoutExpired:
            raise SystemExit(f"SIGTERM was not obeyed within {_TERM_SECONDS:.0f} s") from None
        if code == 0:
            return False  # it was over at that moment
        # before the search has begun Python's own handler ends it: 143 to a shell as well
        expected = (128 + signal.SIGTERM, -signal.SIGTERM)
        assert code in expected, f"exit code {code} after SIGTERM, not 143"
        case.leave()
    else:
        case.kill_search()
    landed = kind != "damage" or damage(case, draw)
    if case.back_at is not None:
        case.serve()  # a search is not started without its server
    case.start(resume=True)
    return landed


def troubled(
    case: Case, draw: random.Random, wanted: int, kinds: Sequence[str], tally: Counter[str]
) -> None:
    """One search under faults, to its end."""
    case.serve()
    case.start(resume=False)
    assert case.search is not None
    until = time.monotonic() + _END_SECONDS
    # a moment for the next fault; None until the search trains
    next_at: float | None = None
    latest = time.monotonic() + _START_SECONDS
    while case.search.poll() is None:
        time.sleep(0.2)
        now = time.monotonic()
        if now > until:
            raise SystemExit(f"the search did not end within {_END_SECONDS:.0f} s: {case.folder}")
        if case.back_at is not None and now >= case.back_at:
            case.serve()
        if tally.total() >= wanted:
            continue
        if next_at is None and (case.trains() or now > latest):
            next_at = now + draw.uniform(0, 15)
        if next_at is None or now < next_at:
            continue
        kind = draw.choice(kinds)
        landed = strike(case, kind, draw)
        tally[kind] += landed
        now = time.monotonic()
        if not landed:
            next_at = now + 0.3
        elif draw.random() < _RECOVERING:
            next_at = now + draw.uniform(0.5, 10)
        else:
            next_at, latest = None, now + _START_SECONDS
    if case.back_at is not None:
        case.serve()


def problems(case: Case, partner: Case) -> list[str]:
    """How a search under faults differs from the one in peace."""
    assert case.search is not None
    found = []
    if case.search.returncode:
        found.append(f"exit code {case.search.returncode}")
    if case.story() != partner.story():
        pairs = zip(case.story(), partner.story(), strict=False)
        first = next((pair for pair in pairs if pair[0] != pair[1]), "one of them is shorter")
        found.append(f"the journal tells another story: {first}")
    sync = [sys.executable, "-m", "ganforge", "sync", "--storage", str(case.folder / "storage")]
    subprocess.run(sync, capture_output=True, env=os.environ | {"MLFLOW_TRACKING_URI": case.uri})
    mine, theirs = case.outcome(), partner.outcome()
    found += [
        f"MLflow: {name} is {mine.get(name)}, not {theirs.get(name)}"
        for name in sorted({*mine, *theirs})
        if mine.get(name) != theirs.get(name)
    ]
    return found + case.leftovers()


def main(wanted: int, seed: int, trials: int, strategy: str, kinds: Sequence[str]) -> int:
    draw, tally, searches = random.Random(seed), Counter[str](), 0
    with tempfile.TemporaryDirectory(prefix="gf-") as text:
        folder = Path(text)
        partner = Case(folder / "peace", trials, strategy)
        partner.folder.mkdir()
        partner.serve()
        began = time.monotonic()
        partner.start(resume=False)
        assert partner.search is not None
        code = partner.search.wait(_END_SECONDS)
        assert code == 0, (partner.folder / "search.log").read_text()[-2000:]
        ends = Counter(event["state"] for event in partner.story() if event["event"] == "ended")
        print(f"in peace: {time.monotonic() - began:.0f} s, {dict(ends)}", flush=True)
        failures = 0
        try:
            while tally.total() < wanted:
                case = Case(folder / f"search-{searches}", trials, strategy)
                case.folder.mkdir()
                before = tally.total()
                try:
                    troubled(case, draw, wanted, kinds, tally)
                    found = problems(case, partner)
                finally:
                    if case.search is not None and case.search.poll() is None:
                        case.kill_search()
                    case.kill_server()
                searches += 1
                print(f"search {searches}: {tally.total() - before} faults, ", end="")
                print("; ".join(found) or "as in peace", flush=True)
                failures += bool(found)
                if found:
                    log = (case.folder / "search.log").read_text(errors="replace")
                    print(log[-3000:], flush=True)
                shutil.rmtree(case.folder)
        finally:
            partner.kill_server()
    by_kind = ", ".join(f"{tally[kind]} {kind}" for kind in kinds)
    print(
        f"{strategy}, seed {seed}: {tally.total()} faults ({by_kind}) in {searches} searches, "
        f"{searches - failures} as in peace"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--search"]:
        where, server, count, by, how = sys.argv[2:]
        search_in(Path(where), server, int(count), by, how == "resume")
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--faults", type=int, default=200)
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--trials", type=int, default=4)
        parser.add_argument("--strategy", default="halving")
        parser.add_argument("--only", choices=FAULTS, help="faults of this kind alone")
        given = parser.parse_args()
        only = (given.only,) if given.only else FAULTS
        sys.exit(main(given.faults, given.seed, given.trials, given.strategy, only))
