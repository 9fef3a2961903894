"""How many images a second the input path gives, next to decoding their files alone.

    python tests/benchmarks/data.py [--images 400] [--side 64] [--batch 16]

A folder of photographs, cut from those that come with the project, is packed as a run packs it.
Batches are made as the loop gets them: shards of four, drawn, cut, reduced and put into tensors,
ahead of time by a thread, whose seconds count. Decoding alone reads each file and decodes it to
pixels, which a path that keeps nothing decoded would do for each image of a batch. Both are images
for each second of the processor, in turns; shown are medians.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data as photographs

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

from ganforge.settings import override
from ganforge.systems.catalog import load_system
from ganforge.training.prepare import prepare
from ganforge.training.run import open_run_data

_SYSTEMS = ("progressive_gan_sr", "progan_a")
_ROUNDS = 5


def write(folder: Path, count: int, side: int) -> None:
    """So many images of twice the side, half as JPEG and half as PNG."""
    names = ("astronaut", "chelsea", "rocket", "coffee")
    sources = [Image.fromarray(getattr(photographs, name)()) for name in names]
    generator = np.random.default_rng(0)
    for number in range(count):
        source = sources[number % len(sources)]
        x, y = (int(generator.integers(0, length - 2 * side)) for length in source.size)
        cut = source.crop((x, y, x + 2 * side, y + 2 * side))
        cut.save(folder / f"{number:05d}.{'jpg' if number % 2 else 'png'}", quality=95)


def rate(make: Callable[[], int]) -> float:
    """Images a second of the processor."""
    began = time.process_time()
    count = make()
    return count / (time.process_time() - began)


def decode(folder: Path) -> int:
    """Decode every file; how many there are."""
    files = sorted(folder.iterdir())
    for file in files:
        with Image.open(file) as image:
            np.asarray(image.convert("RGB"))
    return len(files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder, cache = Path(name) / "images", Path(name) / "cache"
        folder.mkdir()
        write(folder, given.images, given.side)
        print("| system | px | packed in CPU s | batches, images/s | decoding alone | ratio |")
        print("|---|---|---|---|---|---|")
        for system in _SYSTEMS:
            kind = load_system(system)
            changes = {
                "stages": [{"resolution": given.side, "epochs": 1}],
                "batch_size": given.batch,
                "shards": 4,
                "data.root": str(folder),
                "data.cache_directory": str(cache),
                **({"perceptual.network": "none"} if kind.paired else {}),
            }
            settings = override(kind.Settings(), changes)
            began = time.process_time()
            prepared = prepare(system, settings)
            plan = prepared.plan()
            data = open_run_data(prepared, plan)
            packed = time.process_time() - began
            steps = max(1, given.images // given.batch)

            def batches(round_number: int, data=data, steps=steps) -> int:
                count = 0
                for step in range(round_number * steps, (round_number + 1) * steps):
                    count += sum(len(data.batch(0, step, shard)) for shard in range(4))
                return count

            made, alone = [], []
            for number in range(_ROUNDS):
                made.append(rate(lambda number=number, f=batches: f(number)))
                alone.append(rate(lambda: decode(folder)))
            data.close()
            ratio = statistics.median(m / a for m, a in zip(made, alone, strict=True))
            rates = f"{statistics.median(made):,.0f} | {statistics.median(alone):,.0f}"
            print(f"| {system} | {given.side} | {packed:.1f} | {rates} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
