"""Kill a run at drawn places, resume it, and compare its end with the uninterrupted run's.

    python tests/stress/kill_resume.py --n 100 --workers both

Every run is a forked child of this process, which has imported torch and prepared the data but has
started no thread: a fresh interpreter would take seconds. A child dies by SIGKILL where
tests/stress/killer.py says, is started again with resume=True, perhaps killed again, and finishes.
The exit code is 1 if any hash of any stage, or any validation figure, differs.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[2]))

from ganforge.training.checkpoint import Store
from ganforge.training.prepare import prepare
from tests.stress.killer import CLASSES, SAVE, Kill
from tests.stress.trial import STEPS, Attempt, Outcome, tiny


@dataclass
class Tally:
    """Landed kills by class, and by class those whose run ended as the uninterrupted one."""

    landed: Counter[str] = field(default_factory=Counter)
    equal: Counter[str] = field(default_factory=Counter)

    def add(self, kinds: list[str], same: bool) -> None:
        self.landed.update(kinds)
        self.equal.update(kinds if same else [])

    @property
    def all_equal(self) -> bool:
        return self.landed == self.equal


def stored(place: Path) -> tuple[int, int]:
    """The newest state in a store: where a resumed run begins."""
    names = Store(str(place)).names()
    if not names:
        return 0, 0
    index, step = names[0].partition(".")[0].split("-")
    return int(index), int(step)


def drawn(draw: random.Random, kind: str, begin: tuple[int, int], world: int) -> Kill:
    """A place of class `kind` that a run which begins at `begin` still comes to."""
    if kind in SAVE:
        steps = [(index, step) for index in range(2) for step in range(2, STEPS + 1, 2)]
    elif kind == "average":  # the generator has every second turn
        steps = [(index, step) for index in range(2) for step in range(1, STEPS, 2)]
    else:
        steps = [(index, step) for index in range(2) for step in range(STEPS)]
    at = begin if kind not in SAVE else (begin[0], begin[1] + 1)
    left = [place for place in steps if place >= at] or steps[-1:]
    chances = {"before shard": 2 // world, "after shard": 2 // world}
    chances |= {"after k bytes": 6, "between files": 5}
    nth = draw.randrange(chances.get(kind, 1))
    return Kill(kind, draw.choice(left), nth, draw.random())


def kinds_in_turn(draw: random.Random) -> Iterator[str]:
    """All classes, again and again, each time in another order."""
    while True:
        yield from draw.sample(CLASSES, len(CLASSES))


class Bench:
    """The prepared run, its uninterrupted outcome, and a folder for each trial."""

    def __init__(self, folder: Path):
        (folder / "images").mkdir()
        os.environ["GANFORGE_CACHE"] = str(folder / "cache")
        self.folder = folder
        self.prepared = prepare("progressive_gan_sr", tiny(folder / "images"))
        # the first optimizer of a process makes torch import its compiler: 3.5 s (measured)
        torch.optim.Adam([torch.zeros(())])
        self.trials = 0
        began = time.monotonic()
        whole = self.attempt(1)
        whole.start()
        assert whole.wait(), "the uninterrupted run did not finish"
        self.seconds = time.monotonic() - began
        self.expected = self.outcome(whole)

    def attempt(self, world: int) -> Attempt:
        place = self.folder / f"trial-{self.trials}"
        place.mkdir()
        self.trials += 1
        return Attempt(self.prepared, place / "store", place / "result.json", world)

    def outcome(self, attempt: Attempt) -> Outcome:
        found = json.loads(attempt.result.read_text())
        shutil.rmtree(attempt.place.parent)
        return found

    def finish(self, attempt: Attempt) -> bool:
        """Resume without a kill; whether the end is that of the uninterrupted run."""
        attempt.kill = None
        attempt.start()
        assert attempt.wait(), "a run that nobody killed did not finish"
        found = self.outcome(attempt)
        for mine, theirs in zip(found, self.expected, strict=True):
            for key in theirs:
                if mine[key] != theirs[key]:
                    print(f"stage {mine['steps']}: {key}: {mine[key]} is not {theirs[key]}")
        return found == self.expected


def kill_inside(bench: Bench, draw: random.Random, count: int, world: int) -> Tally:
    """At least `count` landed kills at drawn places, one to three in each run."""
    tally, kinds = Tally(), kinds_in_turn(draw)
    while sum(tally.landed.values()) < count:
        attempt, landed = bench.attempt(world), []
        for _ in range(draw.choice((1, 1, 2, 3))):
            kind = next(kinds)
            attempt.kill = drawn(draw, kind, stored(attempt.place), world)
            attempt.victim = 0 if kind in SAVE else draw.randrange(world)
            attempt.start()
            if attempt.wait():
                break
            landed.append(kind)
        tally.add(landed, bench.finish(attempt))
    return tally


def kill_outside(bench: Bench, draw: random.Random, count: int, world: int) -> Tally:
    """`count` landed kills of a random worker at random times."""
    tally, kind = Tally(), "from outside"
    while tally.landed[kind] < count:
        attempt = bench.attempt(world)
        attempt.start()
        time.sleep(draw.uniform(0, bench.seconds))
        os.kill(draw.choice(attempt.children), signal.SIGKILL)
        if not attempt.wait():
            tally.add([kind], bench.finish(attempt))
    return tally


def show(title: str, tally: Tally, seconds: float) -> None:
    print(f"\n{title}, {seconds:.0f} s\n{'class':<18}{'landed':>8}{'equal':>8}")
    for kind in [*CLASSES, "from outside"]:
        if tally.landed[kind]:
            print(f"{kind:<18}{tally.landed[kind]:>8}{tally.equal[kind]:>8}")
    print(f"{'all':<18}{sum(tally.landed.values()):>8}{sum(tally.equal.values()):>8}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=100, help="landed kills at drawn places")
    parser.add_argument("--outside", type=int, default=20, help="landed kills at random times")
    parser.add_argument("--workers", choices=("1", "2", "both"), default="both")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)  # and no operation before the forks: no thread of torch's own
    good = True
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        print(
            f"uninterrupted run: {bench.seconds:.1f} s, threads = {bench.prepared.settings.threads}"
        )
        for world in {"1": (1,), "2": (2,), "both": (1, 2)}[given.workers]:
            draw = random.Random(given.seed + world)
            began = time.monotonic()
            tally = kill_inside(bench, draw, given.n, world)
            outside = kill_outside(bench, draw, given.outside, world)
            tally.landed += outside.landed
            tally.equal += outside.equal
            show(f"{world} worker{'s' * (world > 1)}", tally, time.monotonic() - began)
            few = [kind for kind in CLASSES if tally.landed[kind] < given.n // (2 * len(CLASSES))]
            if few:
                print(f"too few kills landed: {', '.join(few)}")
            good = good and tally.all_equal and not few
    print("all ends are equal" if good else "NOT ALL ENDS ARE EQUAL")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
