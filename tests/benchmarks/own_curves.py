"""Curves of our own: real small runs of three systems, each trained once, for search.py.

    python tests/benchmarks/own_curves.py progressive_gan_sr --data DIR --count 200 --out FILE
    python tests/benchmarks/own_curves.py srgan --data DIR --count 120 --out FILE
    python tests/benchmarks/own_curves.py dcgan --count 120 --out FILE

Configurations are drawn from a box, uniform in the logarithm of each setting, and trained in this
process on one core, without Ray and without a ledger. FILE has a line per configuration: its
settings, the score after each rung, and the seconds of the processor that each took, measuring
included; those do not change with what else the machine does. A run that diverges has fewer scores
than seconds. Configurations that FILE has already are not trained again.
"""

import argparse
import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from search_tasks import Dimension, Space

from ganforge.settings import override
from ganforge.systems.catalog import load_system
from ganforge.systems.settings import ladder
from ganforge.training.loop import NotFinite
from ganforge.training.prepare import prepare
from ganforge.training.run import run


@dataclass(frozen=True)
class Kind:
    """What is trained of a system: changes of its preset `quick`, and the box of settings."""

    changes: Mapping[str, Any]
    space: Space


_LEARNING_RATES = (
    Dimension("generator.learning_rate", 5e-5, 5e-3),
    Dimension("discriminator.learning_rate", 5e-5, 1e-2),
)
KINDS = {
    "progressive_gan_sr": Kind(
        {
            "stages": ladder(8, 32, epochs=(3, 3), fade_epochs=1),
            "images_per_epoch": 256,
            "rungs": 4,
            "validation.images": 3,
            "validation.max_side": 96,
            "validation.samples": 1,
        },
        Space(
            (
                Dimension("generator.learning_rate", 2e-4, 5e-2),
                Dimension("critic.learning_rate", 2e-4, 2e-2),
                Dimension("gradient_penalty_weight", 1.0, 100.0),
                Dimension("adversarial_weight", 1e-2, 10.0),
                Dimension("pixel_weight", 1.0, 100.0),
            )
        ),
    ),
    "srgan": Kind(
        {
            "images_per_epoch": 128,
            "rungs": 4,
            "validation.images": 3,
            "validation.max_side": 96,
            "validation.samples": 1,
        },
        Space(
            (
                *_LEARNING_RATES,
                Dimension("adversarial_weight", 1e-4, 1.0),
                Dimension("pixel_weight", 0.1, 10.0),
            )
        ),
    ),
    "dcgan": Kind(
        {"stages.0.epochs": 6, "rungs": 12},
        Space((*_LEARNING_RATES, Dimension("latent_size", 8, 128, integer=True))),
    ),
}


def train(system: str, data: str | None, point: dict[str, float | int]) -> dict[str, Any]:
    """One configuration, from its first step to its end."""
    kind = load_system(system)
    changes = {**KINDS[system].changes, **point, "threads": 1, "device": "cpu"}
    if data is not None:
        changes["data.root"] = data
    settings = override(override(kind.Settings(), kind.PRESETS["quick"]), changes)
    sign = 1.0 if kind.metric.mode == "max" else -1.0
    scores, seconds, began = list[float](), list[float](), time.process_time()
    try:
        for report in run(prepare(system, settings)):
            if report.rungs or report.kind == "stage":
                scores.append(sign * report.metrics[kind.metric.name])
                seconds.append(time.process_time() - began)
                began = time.process_time()
    except NotFinite:
        seconds.append(time.process_time() - began)
    return {"point": point, "scores": scores, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("system", choices=KINDS)
    parser.add_argument("--data", help="a folder of images; without it what `quick` trains on")
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    space, generator = KINDS[given.system].space, np.random.default_rng(0)
    if not given.out.exists():
        box = [vars(dimension) for dimension in space.dimensions]
        given.out.write_text(json.dumps({"system": given.system, "space": box}) + "\n")
    have = len(given.out.read_text().splitlines()) - 1
    points = (space.point(row) for row in generator.random((given.count, len(space.dimensions))))
    # the first run of a process pays for what is imported and compiled on the way
    train(given.system, given.data, space.point(np.full(len(space.dimensions), 0.5)))
    for number, point in enumerate(itertools.islice(points, have, None), have):
        row = train(given.system, given.data, point)
        with given.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        last = row["scores"][-1] if row["scores"] else None
        print(f"{number}: {sum(row['seconds']):.1f} s, {last}", flush=True)


if __name__ == "__main__":
    main()
