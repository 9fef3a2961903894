"""What the spool costs and carries: a burst of 100,000 points, and its way into a local server.

    python tests/benchmarks/outbox.py [--points 100000]

The drain is measured beside bare `log_batch(1000)` of as many points into another run of the same
server, in turns whose order alternates, because machines are noisy. The bare calls have their
points made before the clock starts; imports are done before it for both. Everything is read back
through the API and compared. Exits with 1 where a limit of the table is not kept.
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

from ganforge.tracking.client import open_client
from ganforge.tracking.outbox.outbox import Outbox
from ganforge.tracking.outbox.sender import Sender
from ganforge.tracking.outbox.writer import Writer
from ganforge.tracking.run_ref import METRICS_PER_REQUEST
from ganforge.tracking.server import VARIABLE, answers, own_server

KEYS = 10
TURNS = 10
#: what is promised
HIGH_MICROSECONDS, MEMORY_MIB, SHARE = 20, 64, 0.8
#: in a process of its own, whose memory is the burst's alone
BURST = """
import sys, time
from pathlib import Path
from ganforge.tracking.outbox.outbox import Spool
points, folder, uri, run_id = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
spool = Spool(folder, every={"run": {"uri": uri, "run_id": run_id, "experiment": "", "key": ""}})
taken = [0] * points
def peak():  # ru_maxrss would be the parent's
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
before = peak()
begun = time.perf_counter()
for number in range(points):
    first = time.perf_counter_ns()
    spool.put({"step": number // 10, "metrics": {f"curve/{number % 10}": number / 3}})
    taken[number] = time.perf_counter_ns() - first
seconds = time.perf_counter() - begun
assert spool.flush(60) and not spool.lost and not spool.trouble
after = peak()
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
            kept = measure(points, Path(place), uri)
    sys.exit(0 if kept else 1)


def measure(points: int, place: Path, uri: str) -> bool:
    """Print the table; whether its limits are kept."""
    client = open_client(uri)
    experiment = client.create_experiment("burst")
    spooled, bare = (client.create_run(experiment).info.run_id for _ in range(2))
    words = [sys.executable, "-c", BURST, str(points), str(place / "spool"), uri, spooled]
    told = subprocess.check_output(words, text=True).split()
    seconds, median, high, longest, memory, size = map(float, told)
    drained, written = drain(client, points, place / "spool", uri, bare)
    wrong, share = compare(client, points, spooled), written / drained
    print("| | | limit |")
    print("|---|---|---|")
    print(f"| a point enqueues in, median | {median / 1e3:.1f} µs | |")
    print(f"| 99th percentile | {high / 1e3:.1f} µs | {HIGH_MICROSECONDS} |")
    print(f"| the longest of {points} | {longest / 1e6:.1f} ms | |")
    print(f"| burst of {points} points | {seconds:.2f} s, {size / 2**20:.1f} MiB on the disk | |")
    print(f"| more memory at its peak | {memory / 1024:.1f} MiB | {MEMORY_MIB} |")
    print(f"| drain into a local server | {points / drained:.0f} points/s | |")
    print(f"| bare `log_batch(1000)` | {points / written:.0f} points/s | |")
    print(f"| drain against bare | {share:.2f} | {SHARE} |")
    print(f"| points read back that are missing, doubled or wrong | {wrong} | 0 |")
    print(f"\np99 {high / 1e3:.1f} µs, drain {share:.2f} of bare log_batch, {wrong} points wrong")
    kept = high <= HIGH_MICROSECONDS * 1e3 and memory <= MEMORY_MIB * 1024
    return kept and share >= SHARE and not wrong


def drain(
    client: MlflowClient, points: int, folder: Path, uri: str, bare: str
) -> tuple[float, float]:
    """Seconds for the spool and for the bare calls, measured in turns."""
    Writer(uri, Path)  # as in a run that has logged something
    spool = Outbox(folder)
    end, share = spool.lines.size, points // TURNS
    drained = written = 0.0
    for turn, offset in enumerate(parts(spool, share)):
        metrics = [
            Metric(f"curve/{n % KEYS}", n / 3, 1_700_000_000_000 + n, n // KEYS)
            for n in range(turn * share, (turn + 1) * share)
        ]
        for bares in (turn % 2 == 0, turn % 2 == 1):
            begun = time.perf_counter()
            if bares:
                for first in range(0, share, METRICS_PER_REQUEST):
                    client.log_batch(bare, metrics=metrics[first : first + METRICS_PER_REQUEST])
                written += time.perf_counter() - begun
            else:
                spool.lines.size = offset  # the sender is shown this much of the file
                sender = Sender(spool, uri)
                assert sender.close(600), sender.trouble
                drained += time.perf_counter() - begun
    assert spool.lines.size == spool.lines.acknowledged == end
    spool.close()
    return drained, written


def parts(spool: Outbox, share: int) -> list[int]:
    """Offsets in the file after each `share` lines of it."""
    found: list[int] = []
    offset = lines = 0
    while read := spool.lines.read(offset):
        for _, offset in read:
            lines += 1
            if lines % share == 0:
                found.append(offset)
    return found


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
