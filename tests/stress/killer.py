"""What kills a process at a drawn place: wrappers put around functions of the package.

Only a process that is to die installs them; the package knows nothing of them.
"""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganforge.systems.base import Player
from ganforge.training import checkpoint, files, loop, workers

#: In one step; `reduction` before or after the workers have exchanged their sums.
STEP = ("before shard", "after shard", "reduction", "optimizer step", "average")
#: In one save; `after rename` before the retention, `retention` while an old state is deleted.
SAVE = (
    "after k bytes",
    "between files",
    "before manifest",
    "before rename",
    "after rename",
    "retention",
)
CLASSES = STEP + SAVE


@dataclass(frozen=True)
class Kill:
    """Die in class `kind`, at the `nth` chance (from 0) at or after `place` = (stage, step).

    `part` in [0, 1) says where inside: how many bytes, which parameters.
    """

    kind: str
    place: tuple[int, int]
    nth: int
    part: float


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def install(kill: Kill) -> None:
    """Let this process die at `kill`."""
    here = [(-1, -1)]
    chances = [kill.nth]

    def due(kind: str) -> bool:
        if kind != kill.kind or here[0] < kill.place:
            return False
        chances[0] -= 1
        return chances[0] < 0

    def wrap(owner: Any, name: str, around: Callable[..., Any]) -> None:
        inner = getattr(owner, name)
        setattr(owner, name, lambda *args, **options: around(inner, *args, **options))

    def take_turn(inner, mine, player, progress):
        here[0] = (progress.index, progress.step)
        return inner(mine, player, progress)

    def before_shard(inner, turn):
        if due("before shard"):
            die()
        return inner(turn)

    def after_shard(inner, turn, shard, terms):
        inner(turn, shard, terms)
        if due("after shard"):
            die()

    def reduction(inner, workers, turn):
        now = due("reduction")
        if now and kill.part < 0.5:
            die()
        total = inner(workers, turn)
        if now:
            die()
        return total

    def optimizer_step(inner, player, gradients, progress):
        if due("optimizer step"):
            # the first parameters take their step, the others never do
            group = player.optimizer.param_groups[0]
            count = 1 + int(kill.part * len(group["params"]))
            for parameter, gradient in zip(player.parameters, gradients, strict=True):
                parameter.grad = gradient
            group.update(player.options(progress))
            group["params"] = group["params"][:count]
            player.optimizer.step()
            die()
        return inner(player, gradients, progress)

    def average(inner, player, progress):
        if player.average is not None and due("average"):
            for mine in list(player.average.parameters())[: 1 + int(9 * kill.part)]:
                mine.data.mul_(0.5)
            die()
        return inner(player, progress)

    def save(inner, store, training, *rest):
        here[0] = (training.position.index, training.position.step)
        return inner(store, training, *rest)

    def write(inner, path: Path, content: bytes):
        if not path.parent.name.startswith(".writing-"):
            return inner(path, content)
        if path.name == files.MANIFEST and due("before manifest"):
            die()
        if due("after k bytes"):
            with open(path, "wb") as file:
                file.write(content[: int(kill.part * len(content))])
                file.flush()
                os.fsync(file.fileno())
                die()
        inner(path, content)
        if path.name != files.MANIFEST and due("between files"):
            die()

    def rename(inner, source, target):
        writing = Path(source).name.startswith(".writing-")
        if writing and due("before rename"):
            die()
        inner(source, target)
        if writing and due("after rename"):
            die()
        if Path(target).name.startswith(".deleting-") and due("retention"):
            for path in sorted(Path(target).iterdir())[: int(4 * kill.part)]:
                path.unlink()
            die()

    wrap(loop.Loop, "turn", take_turn)
    wrap(workers.Turn, "begin_shard", before_shard)
    wrap(workers.Turn, "take", after_shard)
    wrap(workers.Workers, "_whole", reduction)
    wrap(Player, "step", optimizer_step)
    wrap(Player, "_move_average", average)
    wrap(checkpoint.Store, "save", save)
    wrap(files, "write_synced", write)
    wrap(files.os, "rename", rename)
