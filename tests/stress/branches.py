"""Sixteen adversarial variants that grow from one pixel-trained stage of SRGAN.

    python tests/stress/branches.py [--variants 16]

A search whose space has settings of the last stage alone trains the stage before it once. Compared
with as many runs that know nothing of each other: device-seconds, and the bits of every stage. What
was trained is read from the workers' own lines: a stage that is trained is reported on the way, one
that is taken over is not. Trials run one at a time, as the runs do: two of them on one machine
slow each other down, which branching does not cost. Takes about half an hour on two quiet cores.
"""

import argparse
import json
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from ganforge.settings import override
from ganforge.systems.catalog import load_system
from ganforge.training.checkpoint import Store
from ganforge.training.prepare import prepare
from ganforge.training.report import StageResult, read_stages
from ganforge.training.run import run

SYSTEM = "srgan"
#: the paper has 10^6 pixel steps and 10^5 adversarial ones; here measuring and storing a stage,
#: which the paper's lengths hide, takes as long as some steps, so the ratio is 16
EPOCH, PIXEL, ADVERSARIAL = 64, 48, 3
CHANGES = {
    "images_per_epoch": EPOCH,
    "stages.0.epochs": PIXEL,
    "stages.1.epochs": ADVERSARIAL,
    "validation.images": 2,
    "validation.samples": 1,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", type=int, default=16)
    variants = parser.parse_args().variants

    from ray import tune

    from ganforge.cluster.session import session
    from ganforge.search.limits import Limits
    from ganforge.search.request import SearchRequest
    from ganforge.search.search import search

    kind = load_system(SYSTEM)
    quick = override(kind.Settings(), kind.PRESETS["quick"])
    prepared = prepare(SYSTEM, override(quick, CHANGES))
    space = {
        "stages.1.generator.learning_rate": tune.loguniform(1e-4, 1e-3),
        "stages.1.discriminator.learning_rate": tune.loguniform(1e-4, 2e-3),
    }
    with tempfile.TemporaryDirectory() as folder:
        request = SearchRequest(
            prepared,
            space,
            kind.metric,
            f"{folder}/storage",
            f"sqlite:///{folder}/mlflow.db",
            "branches",
            limits=Limits(variants),
            strategy="random",
            concurrent=1,
        )
        with session(num_cpus=2):
            found = search(request)
        stages = {t.number: stored(t.folder) for t in found.trials}
        ends = [0, PIXEL * EPOCH, (PIXEL + ADVERSARIAL) * EPOCH]
        trained = {t.number: reported(t.folder, ends) for t in found.trials}
        mine = {n: [round(s.seconds, 1) for s in rows] for n, rows in stages.items()}
        print(f"seconds of the search's stages: {mine}", flush=True)
        searched = sum(s.seconds for rows in stages.values() for s in rows if not s.reused)
        apart, same, each = 0.0, 0, list[list[float]]()
        for trial in found.trials:
            alone = [r.stage for r in run(prepare(SYSTEM, trial.settings)) if r.stage is not None]
            apart += sum(stage.seconds for stage in alone)
            same += [s.hashes for s in alone] == [s.hashes for s in stages[trial.number]]
            each.append([stage.seconds for stage in alone])
            seconds = [round(value, 1) for value in each[-1]]
            print(f"trial {trial.number} apart: {seconds} s; {same} have equal bits", flush=True)
    ids = [stages[number][index].stage_id for number, found in trained.items() for index in found]
    honest = all(
        [s.index for s in stages[number] if not s.reused] == found
        for number, found in trained.items()
    )
    print(f"{len(stages)} variants, {same} with the bits of an unbranched run")
    first = [number for number, found in trained.items() if 0 in found]
    print(
        f"workers trained {len(ids)} stages of {len(set(ids))} ids; the first one: trials {first}"
    )
    ratio = searched / apart
    print(f"device-seconds {searched:.1f} branched, {apart:.1f} apart: {ratio:.3f}")
    # where other work slows the machine down now more and now less
    pixel, adversarial = (fmean(row[index] for row in each) for index in range(2))
    counted = (pixel + variants * adversarial) / (variants * (pixel + adversarial))
    print(
        f"by what a stage takes in the runs apart, {pixel:.1f} and {adversarial:.1f}: {counted:.3f}"
    )
    whole = len(stages) == same == variants and len(ids) == len(set(ids)) == 1 + variants
    sys.exit(not (whole and honest and ratio <= 0.25))


def stored(folder: str) -> list[StageResult]:
    """The results of a trial's stages, as its worker stored them."""
    newest = Store(folder).newest()
    assert newest is not None
    return [row for _, row in sorted(read_stages(newest.manifest["stages"]).items())]


def reported(folder: str, ends: list[int]) -> list[int]:
    """The stages within which a trial's worker made reports; `ends` are images shown, from 0."""
    lines = (Path(folder) / "tracking" / "outbox.jsonl").read_text().splitlines()
    steps = [json.loads(line).get("step", -1) for line in lines]
    found = [any(low < step < high for step in steps) for low, high in pairwise(ends)]
    return [index for index, inside in enumerate(found) if inside]


if __name__ == "__main__":
    main()
