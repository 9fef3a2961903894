"""A million images: opened by a second worker, and trained from a packed set in a store.

    python tests/stress/million.py [--images 1000000] [--folder DIR]

Small PNG files are generated, verified by the driver once, and opened again by a process of its own
as a worker does. Then they are packed into an object store (moto, in another process), and DCGAN
trains a few steps from there with a local cache of a tenth of the set: its weights and fingerprint
must be those from the folder. Memory is what a process has held beyond its imports: its own
(anonymous) after the last step, and its peak RSS, in which pages of the packed file count that it
has touched, with their neighbours; those are the page cache, which all processes share. That of the
same steps on a hundredth of the images is next to it.
"""

import argparse
import json
import os
import pickle
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

SIDE, BATCHES = 32, 40


def png(number: int) -> bytes:
    """A grey image of SIDE × SIDE: a gradient with noise, another one for each number."""
    generator = np.random.default_rng(number)
    base = np.add.outer(np.arange(SIDE) * (number % 7), np.arange(SIDE) * (number % 5))
    levels = (base + generator.integers(0, 8, (SIDE, SIDE))).astype(np.uint8)
    rows = np.concatenate([np.zeros((SIDE, 1), np.uint8), levels], axis=1).tobytes()

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(rows, 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def generate(folder: Path, count: int) -> None:
    """The files, a thousand to a folder."""
    for number in range(count):
        path = folder / f"{number // 1000:04d}" / f"{number:07d}.png"
        if number % 1000 == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))


def settings(root: str, cache: str, cache_bytes: int) -> Any:
    from ganforge.settings import override
    from ganforge.systems.catalog import load_system

    system = load_system("dcgan")
    base = override(system.Settings(), system.PRESETS["quick"])
    changes = {
        "data.root": root,
        "data.source": "photographs",
        "data.cache_directory": cache,
        "data.cache_bytes": cache_bytes,
        "channels": 1,
        "stages": [{"resolution": SIDE, "iterations": BATCHES, "epochs": 1}],
        "reports_per_stage": 1,
        "device": "cpu",
    }
    return override(base, changes)


def own() -> float:
    """MB of this process that no other shares and no file holds."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:"))


def peak() -> float:
    """MB that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def prepare_here(root: str, cache: str, cache_bytes: int, file: str) -> dict[str, Any]:
    """As the driver: verify the images, and write down what workers are sent."""
    from ganforge.systems.catalog import load_system
    from ganforge.training.prepare import prepare

    load_system("dcgan")
    before, began = peak(), time.perf_counter()
    prepared = prepare("dcgan", settings(root, cache, cache_bytes))
    seconds, megabytes = time.perf_counter() - began, peak() - before
    Path(file).write_bytes(pickle.dumps(prepared))
    sent = Path(file).stat().st_size
    return {"seconds": seconds, "megabytes": megabytes, "sent": sent}


def work(file: str) -> dict[str, Any]:
    """As a worker: open the images, and train."""
    from ganforge.training.run import open_run_data, run

    prepared = pickle.loads(Path(file).read_bytes())
    before, own_before, began = peak(), own(), time.perf_counter()
    open_run_data(prepared, prepared.plan()).close()
    seconds = time.perf_counter() - began
    opened, began = peak() - before, time.perf_counter()
    result = list(run(prepared))[-1].stage
    return {
        "fingerprint": prepared.facts.fingerprint,
        "weights": result.state_sha256,
        "open_seconds": seconds,
        "open_megabytes": opened,
        "train_seconds": time.perf_counter() - began,
        "megabytes": peak() - before,
        "own_megabytes": own() - own_before,
    }


def alone(name: str, *given: object) -> dict[str, Any]:
    """A task in a process of its own."""
    words = [sys.executable, __file__, "--task", name, *map(str, given)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def store() -> tuple[subprocess.Popen[str], str]:
    """A moto server in a process of its own, and its address."""
    code = (
        "import time, moto.server as m; s = m.ThreadedMotoServer('127.0.0.1', 0, verbose=False); "
        "s.start(); print('%s:%d' % s.get_host_and_port(), flush=True); time.sleep(10**6)"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert server.stdout is not None
    return server, server.stdout.readline().strip()


def held(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def shown(what: str, found: dict[str, Any]) -> None:
    rounded = {k: round(v, 2) if isinstance(v, float) else v for k, v in found.items()}
    print(what, json.dumps(rounded), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where all of it is kept and found again")
    parser.add_argument("--task", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.task:
        name, *rest = given.task
        if name == "prepare":
            found = prepare_here(rest[0], rest[1], int(rest[2]), rest[3])
        else:
            found = work(rest[0])
        print(json.dumps(found))
        return
    folder = given.folder or Path(tempfile.mkdtemp(prefix="gf-"))
    try:
        sys.exit(0 if measured(folder, given.images) else 1)
    finally:
        if given.folder is None:
            shutil.rmtree(folder)


def measured(folder: Path, count: int) -> bool:
    """Whether all holds that is promised; each line is printed as it is measured."""
    images, few = folder / "images", folder / "few"
    began = time.perf_counter()
    for root, number in ((images, count), (few, count // 100)):
        if not root.exists():
            generate(root, number)
    print(f"{count} images generated in {time.perf_counter() - began:.0f} s", flush=True)
    ok = True

    def judged(text: str, holds: bool) -> None:
        nonlocal ok
        ok = ok and holds
        print(f"{text}: {'holds' if holds else 'DOES NOT HOLD'}", flush=True)

    plenty, own = 2**40, folder / "own"
    shown("driver, first time:", alone("prepare", images, own, plenty, folder / "many.pickle"))
    shown("driver, again:", alone("prepare", images, own, plenty, folder / "many.pickle"))
    whole = alone("work", folder / "many.pickle")
    shown("second worker, folder:", whole)
    alone("prepare", few, own, plenty, folder / "few.pickle")
    small = alone("work", folder / "few.pickle")
    shown("a hundredth of the images:", small)
    judged(
        f"opened by the second worker in {whole['open_seconds']:.2f} s",
        whole["open_seconds"] <= 0.3,
    )
    server, address = store()
    try:
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://{address.removeprefix('http://')}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        import boto3

        boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).create_bucket(
            Bucket="bucket"
        )
        began = time.perf_counter()
        words = [sys.executable, "-m", "ganforge", "pack", str(images), "s3://bucket/set"]
        words += ["--shard-mb", "8"]  # the store of this test reads a whole shard for each range
        said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
        print(" ".join(said.split()), f"in {time.perf_counter() - began:.0f} s", flush=True)
        size = held(images)
        limit, far = size // 10, folder / "far"
        sent = folder / "far.pickle"
        shown("driver, set:", alone("prepare", "s3://bucket/set", far, limit, sent))
        packed = alone("work", sent)
        shown("worker, set:", packed)
        kept = sum(held(one) for one in far.glob("sets/*/images"))
        judged(
            "the set's fingerprint and weights are the folder's",
            (packed["fingerprint"], packed["weights"]) == (whole["fingerprint"], whole["weights"]),
        )
        judged(
            f"{kept / 2**20:.0f} MiB of {size / 2**20:.0f} are kept, at most a tenth", kept <= limit
        )
        judged(f"opened in {packed['open_seconds']:.2f} s", packed["open_seconds"] <= 0.3)
        for what, found in (("folder", whole), ("set", packed)):
            more = found["own_megabytes"] - small["own_megabytes"]
            mapped = found["megabytes"] - small["megabytes"]
            judged(
                f"{what}: a worker holds {more:.0f} MB more than of a hundredth of the images "
                f"(with pages of the cache {mapped:.0f} MB)",
                more <= 50,
            )
    finally:
        server.kill()
    return ok


if __name__ == "__main__":
    main()
