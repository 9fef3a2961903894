"""Two searches at once on one storage: no stage is trained twice, nothing is damaged.

    python tests/stress/shared_ledger.py [--searches 2]

The searches walk the same grid, each with a Ray session and a tracking store of its own, and are
started together: they want the same stages at the same time. Which trial trained a stage is read
from what its worker told on the way (a stage that is taken over is not reported inside), and from
what it stored. At the end each entry of the ledger is verified, the stages of equal identity have
equal hashes in both searches, and a plain run of every point has them too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from ganforge.settings import override
from ganforge.systems.settings import SystemSettings
from ganforge.training.checkpoint import Store
from ganforge.training.ledger import Key, Ledger
from ganforge.training.prepare import prepare
from ganforge.training.report import StageResult, read_stages
from ganforge.training.run import run

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS / "helpers"))
_SECONDS = 900.0
KEY = "stages.1.critic.learning_rate"
RATES = [1e-3, 2e-3, 3e-3, 4e-3]


def search_in(storage: str, folder: str) -> None:
    """One search, in this process."""
    from ray import tune
    from small import METRIC, SYSTEM, tiny

    from ganforge.cluster.session import session
    from ganforge.search.limits import Limits
    from ganforge.search.request import SearchRequest
    from ganforge.search.search import search

    request = SearchRequest(
        prepare(SYSTEM, tiny(stages=2, images_per_epoch=80, reports_per_stage=4)),
        {KEY: tune.choice(RATES)},
        METRIC,
        storage,
        f"sqlite:///{folder}/mlflow.db",
        Path(folder).name,
        limits=Limits(len(RATES)),
        strategy="grid",
    )
    with session(num_cpus=1):
        found = search(request)
    rows = [
        {"folder": trial.folder, "rate": trial.params[KEY], "state": trial.state}
        for trial in found.trials
    ]
    Path(folder, "trials.json").write_text(json.dumps(rows))


def stages_of(folder: str) -> dict[int, StageResult]:
    newest = Store(folder).newest()
    assert newest is not None
    return read_stages(newest.manifest["stages"])


def reported(folder: str) -> list[int]:
    """The images shown at each report that the trial's worker made."""
    lines = (Path(folder) / "tracking" / "outbox.jsonl").read_text().splitlines()
    return [step for line in lines if (step := json.loads(line).get("step")) is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searches", type=int, default=2)
    count = parser.parse_args().searches
    with tempfile.TemporaryDirectory(prefix="gf-") as place:
        storage = f"{place}/storage"
        folders = [Path(place, f"search-{number}") for number in range(count)]
        running = []
        for folder in folders:
            folder.mkdir()
            command = [sys.executable, __file__, "--search", storage, str(folder)]
            with open(folder / "log", "wb") as log:
                running.append(
                    subprocess.Popen(
                        command,
                        stdout=log,
                        stderr=log,
                        env=os.environ | {"RAY_ADDRESS": "local"},
                    )
                )
        for one, folder in zip(running, folders, strict=True):
            code = one.wait(_SECONDS)
            assert code == 0, (folder / "log").read_text(errors="replace")[-3000:]
        trials = [
            (row["folder"], row["rate"], row["state"])
            for folder in folders
            for row in json.loads((folder / "trials.json").read_text())
        ]
        assert {state for _, _, state in trials} == {"finished"}, trials
        stored: dict[tuple[str, int], list[str]] = defaultdict(list)
        told: dict[tuple[str, int], list[str]] = defaultdict(list)
        hashes: dict[tuple[str, int], set[str]] = defaultdict(set)
        keys: set[Key] = set()
        for folder, _, _ in trials:
            rows, done = stages_of(folder), 0
            for index in sorted(rows):
                row = rows[index]
                length, key = row.steps * 4, (row.stage_id, row.steps)  # batches of four
                keys.add(Key(index, row.stage_id, row.environment_id, row.steps))
                hashes[key].add(json.dumps(row.hashes, sort_keys=True))
                if not row.reused:
                    stored[key].append(folder)
                if any(done < step < done + length for step in reported(folder)):
                    told[key].append(folder)
                done += length
        ledger = Ledger(storage)
        missing = [key for key in keys if ledger.find(key) is None]  # it is verified by its hashes
        same = 0
        for folder, rate, _ in trials:
            alone = run(prepare(*_alone(rate)))
            expected = [r.stage.hashes for r in alone if r.stage is not None]
            found = stages_of(folder)
            same += expected == [found[index].hashes for index in sorted(found)]
    twice = [key for key, names in (stored | told).items() if len(names) > 1]
    print(
        f"{count} searches, {len(trials)} trials, {len(hashes)} stages; stored as trained "
        f"{sum(map(len, stored.values()))}, told as trained {sum(map(len, told.values()))}, twice "
        f"{len(twice)}; {len(missing)} not in the ledger; {same} with the bits of a plain run"
    )
    ok = not twice and not missing and same == len(trials)
    ok &= all(len(found) == 1 for found in hashes.values())
    sys.exit(not (ok and len(stored) == len(told) == len(hashes) == 1 + len(RATES)))


def _alone(rate: float) -> tuple[str, SystemSettings]:
    from small import SYSTEM, tiny

    settings = tiny(stages=2, images_per_epoch=80, reports_per_stage=4)
    return SYSTEM, override(settings, {KEY: rate})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--search"]:
        search_in(*sys.argv[2:])
    else:
        main()
