"""Three steps of each stage of every system, as hashes: run it on two commits and compare.

    python tests/bits.py --json before.json
    python tests/bits.py --compare before.json        exit code 1, and the names, where bits differ

It uses nothing of the package but what has not moved since the first release, so that it also runs
on old commits. Each system trains its `quick` networks through two stages (a growth and a fade,
where it grows), three steps each, and every state that is stored on the way is hashed.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from ganforge.settings import flatten, override
from ganforge.systems import SYSTEMS
from ganforge.testing import BATCH, small
from ganforge.training.run import run

STEPS = 3
#: a setting that the flagship's preset has gained since, and what it was before there was one
GAINED, AS_BEFORE = ("growth", "preserving"), "described"


def stored(system: str) -> dict[str, str]:
    """sha256 of every file of every stored state, by stage-step/file."""
    prepared = small(system, {"keep": "all", "reports_per_stage": STEPS})
    changes = {"images_per_epoch": STEPS * BATCH}
    if "critic_steps" in flatten(prepared.settings):
        changes["critic_steps"] = 1
    if GAINED in flatten(prepared.settings).items():
        changes[GAINED[0]] = AS_BEFORE
    prepared = replace(prepared, settings=override(prepared.settings, changes))
    with tempfile.TemporaryDirectory() as folder:
        for _ in run(prepared, store=folder):
            pass
        return {
            f"{path.parent.name.partition('.')[0]}/{path.name}": _sha256(path)
            for path in sorted(Path(folder).rglob("*.safetensors"))
        }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def code(system: str) -> dict[str, str]:
    """The code fingerprint, as this commit takes it."""
    return dict(small(system).code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--compare", type=Path)
    parser.add_argument("--code", action="store_true", help="code fingerprints in place of states")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: (code if given.code else stored)(name) for name in sorted(SYSTEMS)}
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    if given.compare:
        before = json.loads(given.compare.read_text())
        differ = sorted(name for name in before if before[name] != found.get(name))
        files = sum(map(len, found.values()))
        print(f"{len(found)} systems, {files} hashes; different: {', '.join(differ) or 'none'}")
        sys.exit(bool(differ))


if __name__ == "__main__":
    main()
