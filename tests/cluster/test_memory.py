"""Workers that need more memory than there is: named once, never tried again at the same size."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from small import METRIC, tiny

from ganforge.cluster.train import TrainingFailed, fit
from ganforge.systems.catalog import load_own_system
from ganforge.training.prepare import prepare

_HUNGRY = '''
import os
from pathlib import Path

import torch

from ganforge.systems.progressive_gan_sr import ProgressiveGANSR


class Hungry(ProgressiveGANSR):
    """At its second stage it needs a lot of memory, and counts how often it was tried."""

    def losses(self, player, batch, progress):
        if progress.index == 1:
            with open({tries!r}, "a") as file:
                file.write("tried\\n")
            {need}
        return super().losses(player, batch, progress)
'''
_LIMIT = 64 * 2**20


def hungry(folder: Path, need: str) -> tuple[str, Path]:
    file, tries = folder / "hungry.py", folder / "tries"
    file.write_text(_HUNGRY.format(tries=str(tries), need=need))
    return f"{file}:Hungry", tries


def failure(system: str, folder: Path) -> str:
    load_own_system(system)
    prepared = prepare(system, tiny(stages=2).model_copy(update={"system": system}))
    with pytest.raises(TrainingFailed) as caught:
        fit(prepared, metric=METRIC, store=str(folder / "run"))
    return str(caught.value)


@pytest.mark.ray
def test_a_failed_allocation_is_one_line_and_tried_once(cluster: None, tmp_path: Path) -> None:
    system, tries = hungry(tmp_path, "torch.empty(2**44, dtype=torch.uint8)")
    line = failure(system, tmp_path)
    assert line.startswith(
        "out of memory in stage 1 (16 px, batch_size 4 in 2 shards of 2) at its b"
    )
    assert "an allocation failed" in line and "Fix: more shards" in line
    assert len(line.splitlines()) == 1
    assert tries.read_text().count("tried") == 1


@pytest.fixture
def memory_group(tmp_path: Path) -> Iterator[Path]:
    """A control group whose processes the kernel ends when they need much more memory."""
    folder = Path("/sys/fs/cgroup/memory") / f"ganforge-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(_LIMIT))
    except OSError as error:
        pytest.skip(f"needs root and a memory control group of version 1 ({error})")
    yield folder
    folder.rmdir()


@pytest.mark.slow
@pytest.mark.ray
def test_a_worker_that_the_kernel_ends_is_not_an_accident(
    cluster: None, tmp_path: Path, memory_group: Path
) -> None:
    enter = f'Path("{memory_group}/cgroup.procs").write_text(str(os.getpid()))'
    system, tries = hungry(tmp_path, f"{enter}; torch.ones(4 * {_LIMIT}, dtype=torch.uint8)")
    line = failure(system, tmp_path)
    assert line.startswith("out of memory in stage 1 (16 px"), line
    assert "kernel ended a process, because no memory was left" in line
    assert "A process had used" in line
    assert tries.read_text().count("tried") == 1
