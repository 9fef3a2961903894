"""The ledger keeps what the best, the paused and the running trials stand on."""

from pathlib import Path
from typing import Any

import pytest

from ganforge.schedule import Plan, Stage
from ganforge.search.ledger_size import LedgerSize, entries_of
from ganforge.search.trial import State, Trial
from ganforge.training.files import MANIFEST
from ganforge.training.ledger import FOLDER, Ledger
from ganforge.training.lineage import digest
from ganforge.training.report import StageResult

PLAN = Plan((Stage(16, 80, 0, 8, 4), Stage(32, 80, 0, 8, 4)), (), 0)


def trial(number: int, state: State, score: float, stages: int, storage: Path) -> Trial:
    """A trial whose stages lie in the ledger, each with 1,000 bytes."""
    made = Trial(number, {}, None, PLAN, state=state)  # pyright: ignore (nothing looks at it)
    for index in range(stages):
        made.scores[index + 1] = score
        made.stages[index] = StageResult(
            index, 8, steps=10, stage_id=f"{number}-{index}", seconds=1.0
        )
    for stage, name in zip(made.stages.values(), entries_of(made), strict=True):
        folder = storage / FOLDER / name
        folder.mkdir(parents=True)
        record: dict[str, Any] = {
            "index": stage.index,
            "step": stage.steps,
            "kind": "stage",
            "stage_id": stage.stage_id,
            "environment_id": stage.environment_id,
            "environment": {},
            "state": {"state_sha256": ""},
            "metrics": {},
            "settings": {},
            "files": {"networks.safetensors": {"size": 1000, "sha256": ""}},
            "stages": [stage.to_json()],
        }
        (folder / MANIFEST).write_bytes(manifest(record))
    return made


def manifest(record: dict[str, Any]) -> bytes:
    import json

    return json.dumps({**record, "sha256": digest(record)}, indent=1).encode()


@pytest.fixture
def trials(tmp_path: Path) -> list[Trial]:
    return [
        trial(0, "finished", 30.0, 2, tmp_path),
        trial(1, "stopped", 10.0, 1, tmp_path),
        trial(2, "paused", 20.0, 1, tmp_path),
        trial(3, "finished", 25.0, 2, tmp_path),
        trial(4, "failed", 40.0, 1, tmp_path),
    ]


def test_what_is_needed_stays_whatever_the_limit(trials: list[Trial], tmp_path: Path) -> None:
    size = LedgerSize(str(tmp_path), 0, "max")
    size.collect(trials)
    kept = {*entries_of(trials[0]), *entries_of(trials[2])}
    assert set(Ledger(str(tmp_path)).names()) == kept
    assert "4 stages, 0 MB, were dropped" in size.line


def test_only_what_is_too_much_is_dropped(trials: list[Trial], tmp_path: Path) -> None:
    LedgerSize(str(tmp_path), 6_500, "max").collect(trials)
    assert len(Ledger(str(tmp_path)).names()) == 6


def test_without_a_limit_all_stays(trials: list[Trial], tmp_path: Path) -> None:
    size = LedgerSize(str(tmp_path), None, "max")
    size.collect(trials)
    assert len(Ledger(str(tmp_path)).names()) == 7 and size.line == ""
