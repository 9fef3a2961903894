"""Rubbish in settings, files, spaces and options ends in a line that names it, and in nothing else.

Each fuzzer draws the same examples each time: 200 here, 2,000 in the slow tier, 100,000 with
`python tests/acceptance.py fuzz`.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from fuzz import FUZZERS

HELPERS = Path(__file__).parents[1] / "helpers"

# of 2,000 command lines some twenty are plans, which measure for ten seconds each
_MANY = pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])


def fuzz_alone(name: str, count: int) -> Counter[str]:
    """In a process of its own: Hypothesis also draws constants of modules that are imported, so
    that next to other tests the examples would not be the same ones."""
    code = f"import json; from fuzz import fuzz; print(json.dumps(fuzz({name!r}, {count})))"
    found = os.pathsep.join([str(HELPERS), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=os.environ | {"PYTHONPATH": found},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return Counter(json.loads(done.stdout.strip().splitlines()[-1]))


@pytest.mark.parametrize("count", [200, _MANY])
@pytest.mark.parametrize("name", FUZZERS)
def test_rubbish_is_refused_by_its_key_and_nothing_is_ignored(name, count, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable in ("GANFORGE_DATA", "GANFORGE_STORAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    ended = fuzz_alone(name, count)
    refused = ended["refused"] + ended["exit code 2"]
    accepted = ended["accepted"] + ended["exit code 0"]
    assert refused > count // 2 and accepted > count // 100, ended
    assert not [path for path in tmp_path.iterdir() if path.name != ".hypothesis"], "begun"
