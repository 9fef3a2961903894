"""One run of tiny settings in forked processes, which may be killed and started again."""

import contextlib
import json
import logging
import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ganforge.settings import override
from ganforge.systems.progressive_gan_sr import Settings
from ganforge.systems.settings import ladder
from ganforge.training.checkpoint import Store
from ganforge.training.prepare import Prepared
from ganforge.training.run import run
from tests.stress.killer import Kill, install

STEPS = 8  # of each of the two stages
TIMEOUT_SECONDS = 120
Outcome = list[dict[str, Any]]


def tiny(folder: Path) -> Settings:
    """Two stages with a growth and a fade; a state is stored after every second step."""
    for number in range(6):
        noise = np.random.default_rng(number).integers(0, 255, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((40, 40)).save(folder / f"{number}.png")
    changes = {
        "width": 4,
        "batch_size": 4,
        "shards": 2,
        "critic_steps": 2,
        "pixel_weight": 1.0,
        "average_decay": 0.9,
        "images_per_epoch": 2 * STEPS,
        "perceptual.network": "none",
        "data.root": str(folder),
        "data.view": "crop",
        "validation.fraction": 0.3,
        "validation.max_side": 32,
        "validation.sliced_wasserstein": False,
        "validation.samples": 1,
        "reports_per_stage": 4,
        "device": "cpu",
        "stages": ladder(4, 16, epochs=2, fade_epochs=1),
    }
    return override(Settings(), changes)


def train(prepared: Prepared, place: Path, rank: int, world: int) -> Outcome:
    """Run to the end, resuming what lies in `place`; what must not depend on any kill."""
    for _ in run(prepared, store=str(place), resume=True, rank=rank, world=world):
        pass
    newest = Store(str(place)).newest()
    assert newest is not None
    return [bits(row) for row in newest.manifest["stages"]]


def bits(row: dict[str, Any]) -> dict[str, Any]:
    """A stage's result without what speaks of time and machine."""
    metrics = {k: v for k, v in row["metrics"].items() if not k.startswith("speed/")}
    kept = {k: v for k, v in row.items() if k.endswith(("sha256", "_id")) or k == "steps"}
    return kept | {"metrics": metrics}


def forked(work: Callable[[], None]) -> int:
    """The id of a child that does `work` and ends."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


@dataclass
class Attempt:
    """The processes of one start of a run."""

    prepared: Prepared
    place: Path
    result: Path
    world: int
    kill: Kill | None = None
    victim: int = 0
    children: list[int] = field(default_factory=list)

    def start(self) -> None:
        self.result.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            (self.result.parent / "group").unlink()
        self.children = [forked(lambda r=rank: self._work(r)) for rank in range(self.world)]

    def _work(self, rank: int) -> None:
        logging.getLogger("ganforge").setLevel(logging.ERROR)
        if self.world > 1:
            import torch.distributed as dist

            group = f"file://{self.result.parent}/group"
            dist.init_process_group("gloo", group, rank=rank, world_size=self.world)
        if self.kill is not None and rank == self.victim:
            install(self.kill)
        try:
            outcome = train(self.prepared, self.place, rank, self.world)
        except BaseException:
            # the peer of a rank that was killed ends like this, too
            (self.result.parent / f"errors-{rank}").write_text(traceback.format_exc())
            os._exit(1)
        if rank == 0:
            self.result.write_text(json.dumps(outcome))

    def _errors(self) -> str:
        return "\n".join(p.read_text() for p in sorted(self.result.parent.glob("errors-*")))

    def wait(self) -> bool:
        """Whether the run finished; otherwise one died by SIGKILL, and the others are ended."""
        waiting, killed = set(self.children), False
        until = time.monotonic() + TIMEOUT_SECONDS
        while waiting:
            for child in list(waiting):
                done, status = os.waitpid(child, os.WNOHANG)
                if not done:
                    continue
                waiting.discard(child)
                if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
                    killed = True
                    self._end(waiting)
                    break
                elif status and not killed:
                    # the peer of a rank that was killed may see its connection close first
                    killed = self._end(waiting)
                    if not killed:
                        raise RuntimeError(f"a worker failed by itself:\n{self._errors()}")
                    break
            if time.monotonic() > until:
                self._end(waiting)
                raise RuntimeError(f"hung: {self.kill}")
            time.sleep(0.005)
        return not killed

    @staticmethod
    def _end(waiting: set[int]) -> bool:
        """End what is left, by its id; whether one of them had been killed before."""
        time.sleep(0.05 if waiting else 0)
        found = False
        for child in list(waiting):
            done, status = os.waitpid(child, os.WNOHANG)
            if not done:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            elif os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
                found = True
        waiting.clear()
        return found
