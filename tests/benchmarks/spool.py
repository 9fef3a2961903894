"""What the spool costs and carries: a burst of 100,000 points, and its way into a local server.

    python tests/benchmarks/spool.py [--points 100000]

The drain is measured beside bare `log_batch(1000)` of as many points into another run of the same
server, in turns, because machines are noisy; the bare calls have their points made before the clock
starts. Everything is read back through the API and compared.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric

from ganforge.tracking.sender import BATCH, Sender
from ganforge.tracking.server import VARIABLE, answers, own_server
from ganforge.tracking.spool import Spool
from ganforge.tracking.store import open_client

KEYS = 10
TURNS = 5
#: in a process of its own, whose memory is the burst's alone
BURST = """
import resource, sys, time
from pathlib import Path
from ganforge.tracking.spool import Spool
points, folder, uri, run_id = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
spool = Spool(folder, every={"run": {"uri": uri, "run_id": run_id, "experiment": "", "key": ""}})
taken = [0] * points
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begun = time.perf_counter()
for number in range(points):
    first = time.perf_counter_ns()
    spool.put({"step": number // 10, "metrics": {f"curve/{number % 10}": number / 3}})
    taken[number] = time.perf_counter_ns() - first
seconds = time.perf_counter() - begun
assert spool.flush(60) and not spool.lost and not spool.trouble
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
taken.sort()
print(seconds, taken[points // 2], taken[points * 99 // 100], taken[-1], after - before,
      spool.lines.size)
spool.close()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100_000)
    points = parser.parse_args().points
    with tempfile.TemporaryDirectory() as place:
        uri = f"sqlite:///{place}/mlflow.db"
        with own_server(uri, Path(place)):
            address = os.environ[VARIABLE].split(" ")[1]
            while not answers(address):
                time.sleep(0.1)
            measure(points, Path(place), uri)


def measure(points: int, place: Path, uri: str) -> None:
    """Print the table."""
    client = open_client(uri)
    experiment = client.create_experiment("burst")
    spooled, bare = (client.create_run(experiment).info.run_id for _ in range(2))
    words = [sys.executable, "-c", BURST, str(points), str(place / "spool"), uri, spooled]
    told = subprocess.check_output(words, text=True).split()
    seconds, median, high, longest, memory, size = map(float, told)
    drained, written = drain(client, points, place / "spool", uri, bare)
    wrong = compare(client, points, spooled)
    print("| | |")
    print("|---|---|")
    print(f"| a point enqueues in, median | {median / 1e3:.1f} µs |")
    print(f"| 99th percentile | {high / 1e3:.1f} µs |")
    print(f"| the longest of {points} | {longest / 1e6:.1f} ms |")
    print(f"| burst of {points} points | {seconds:.2f} s, {size / 2**20:.1f} MiB on the disk |")
    print(f"| more memory at its peak | {memory / 1024:.1f} MiB |")
    print(f"| drain into a local server | {points / drained:.0f} points/s |")
    print(f"| bare `log_batch(1000)` | {points / written:.0f} points/s |")
    print(f"| drain against bare | {written / drained:.2f} |")
    print(f"| points read back that are missing, doubled or wrong | {wrong} |")


def drain(
    client: MlflowClient, points: int, folder: Path, uri: str, bare: str
) -> tuple[float, float]:
    """Seconds for the spool and for the bare calls, measured in turns."""
    spool = Spool(folder)
    end = spool.lines.size
    share = points // TURNS
    drained = written = 0.0
    offset = sent = 0
    for turn in range(TURNS):
        metrics = [
            Metric(f"curve/{n % KEYS}", n / 3, 1_700_000_000_000 + n, n // KEYS)
            for n in range(turn * share, (turn + 1) * share)
        ]
        begun = time.perf_counter()
        for first in range(0, share, BATCH):
            client.log_batch(bare, metrics=metrics[first : first + BATCH])
        written += time.perf_counter() - begun
        # the sender is shown a part of the file
        while offset < end and sent < (turn + 1) * share:
            for _, after in spool.lines.read(offset):
                offset = after
                sent += 1
                if sent == (turn + 1) * share:
                    break
        spool.lines.size = offset
        begun = time.perf_counter()
        sender = Sender(spool, uri)
        assert sender.close(600), sender.trouble
        drained += time.perf_counter() - begun
    spool.lines.size = end
    assert spool.lines.acknowledged == end
    spool.close()
    return drained, written


def compare(client: MlflowClient, points: int, run_id: str) -> int:
    """How many points are not exactly once in the store."""
    wrong = 0
    for key in range(KEYS):
        history = client.get_metric_history(run_id, f"curve/{key}")
        found = sorted((point.step, point.value) for point in history)
        expected = [(n // KEYS, n / 3) for n in range(key, points, KEYS)]
        wrong += len(set(found) ^ set(expected)) + abs(len(found) - len(set(found)))
    return wrong


if __name__ == "__main__":
    main()
