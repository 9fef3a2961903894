"""Sixteen adversarial variants that grow from one pixel-trained stage of SRGAN.

    python tests/stress/branches.py [--variants 16]

A search whose space has settings of the last stage alone trains the stage before it once. Compared
with as many runs that know nothing of each other: device-seconds, and the bits of every stage. That
the first stage was trained once is read from the workers' own lines: a stage that is trained is
reported on the way, one that is taken over is not.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from ganforge.settings import override
from ganforge.systems.catalog import load_system
from ganforge.training.checkpoint import Store
from ganforge.training.prepare import prepare
from ganforge.training.report import StageResult, read_stages
from ganforge.training.run import run

SYSTEM = "srgan"
#: the ratio of the paper's lengths, 10^6 pixel steps and 10^5 adversarial ones, rounded down
CHANGES = {
    "images_per_epoch": 64,
    "stages.0.epochs": 32,
    "stages.1.epochs": 2,
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
        )
        with session(num_cpus=2):
            found = search(request)
        stages = {t.number: stored(t.folder) for t in found.trials}
        trained = [t.number for t in found.trials if reports_within(t.folder, 32 * 64) > 0]
        searched = sum(s.seconds for rows in stages.values() for s in rows if not s.reused)
        apart, same = 0.0, 0
        for trial in found.trials:
            alone = [r.stage for r in run(prepare(SYSTEM, trial.settings)) if r.stage is not None]
            apart += sum(stage.seconds for stage in alone)
            same += [s.hashes for s in alone] == [s.hashes for s in stages[trial.number]]
    ids = [(s.stage_id, s.steps) for rows in stages.values() for s in rows if not s.reused]
    print(f"{len(stages)} variants, {same} with the bits of an unbranched run")
    print(
        f"the first stage was trained by trials {trained}; {len(ids)} stages, {len(set(ids))} ids"
    )
    ratio = searched / apart
    print(f"device-seconds {searched:.1f} branched, {apart:.1f} apart: {ratio:.3f}")
    whole = len(stages) == same == variants and len(trained) == 1 and len(ids) == len(set(ids))
    sys.exit(not (whole and ratio <= 0.25))


def stored(folder: str) -> list[StageResult]:
    """The results of a trial's stages, as its worker stored them."""
    newest = Store(folder).newest()
    assert newest is not None
    return [row for _, row in sorted(read_stages(newest.manifest["stages"]).items())]


def reports_within(folder: str, images: int) -> int:
    """How many reports a trial's worker made before `images` images were shown."""
    lines = (Path(folder) / "tracking" / "outbox.jsonl").read_text().splitlines()
    steps = [json.loads(line).get("step", -1) for line in lines]
    return sum(0 < step < images for step in steps)


if __name__ == "__main__":
    main()
