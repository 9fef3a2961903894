"""What only a GPU can show: `pytest -m gpu -n 0 tests/training/test_gpu.py`, on a machine with one.

All thirteen systems train there twice with the same bits, kernel by kernel and as CUDA graphs, and
what could only be pretended elsewhere holds: where values are read back, where rounding to TF32
begins and ends, and the collective operations of NCCL.
"""

import logging

import pytest
import torch
import torch.distributed as dist

from ganforge.settings import override
from ganforge.systems.catalog import SYSTEMS, load_system
from ganforge.testing import small
from ganforge.training import loop
from ganforge.training.capture import NotCapturable, check, cuda_graph
from ganforge.training.checkpoint import Store, state_hashes
from ganforge.training.loop import NotFinite
from ganforge.training.run import run
from ganforge.training.workers import ShardPass, Workers

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def trained(name: str, **changes) -> list[dict[str, str]]:
    prepared = small(name, {"device": "cuda"} | changes)
    return [dict(report.stage.hashes) for report in run(prepared) if report.stage]


@pytest.mark.parametrize("name", SYSTEMS)
def test_two_runs_have_the_same_bits_captured_or_not(name, monkeypatch):
    made = []

    def captures(*given):
        made.append(found := real(*given))
        return found

    real = loop.captures
    monkeypatch.setattr(loop, "captures", captures)
    first, again = trained(name), trained(name)
    plain = trained(name, cuda_graphs=False)
    assert first == again, "two runs differ"
    assert first == plain, "captured passes differ from computed ones"
    if vars(load_system(name)).get("capturable"):
        assert made[0].found and all(made[0].found.values()), made[0].refused


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
@pytest.mark.parametrize("name", ["progressive_gan_sr", "progan_a", "esrgan"])
def test_lower_precision_repeats_its_bits_and_is_another_run(name, precision):
    first = trained(name, precision=precision)
    assert first == trained(name, precision=precision)
    assert first != trained(name)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("name", ["progressive_gan_sr", "wgan", "srgan"])
def test_a_resumed_run_has_the_bits_of_one_without_an_end(name, tmp_path):
    prepared = small(name, {"device": "cuda", "keep": "all"})
    stop = 3
    for number, _ in enumerate(run(prepared, store=str(tmp_path)), 1):
        if number == stop:
            break
    resumed = [r for r in run(prepared, store=str(tmp_path), resume=True) if r.stage]
    assert Store(str(tmp_path)).names()
    assert dict(resumed[-1].stage.hashes) == trained(name, keep="all")[-1]


def test_a_value_that_is_not_finite_ends_the_run():
    with pytest.raises(NotFinite, match=r"is (nan|-?inf)|not finite"):
        trained("progressive_gan_sr", **{"critic.learning_rate": 1e30})


def test_reading_a_tensor_back_is_refused():
    number = torch.ones((), device="cuda")
    with pytest.raises(NotCapturable, match="read a tensor of the GPU back"):
        check(lambda: float(number))
    assert torch.cuda.get_sync_debug_mode() == 0


def test_replays_draw_anew_from_their_seed():
    size = 1000
    vector = {}

    def draw():
        vector["out"] = torch.rand(size, device="cuda")
        return ShardPass(vector["out"], (), ())

    torch.cuda.manual_seed(0)
    torch.rand(size, device="cuda")
    graph, _ = cuda_graph(draw, None)
    for seed in (3, 4, 3):
        torch.cuda.manual_seed(seed)
        graph.replay()
        replayed = vector["out"].clone()
        torch.cuda.manual_seed(seed)
        assert torch.equal(replayed, torch.rand(size, device="cuda"))


class Grouped(int):
    """A number of workers that is one and is treated as more: what several do is done by one."""

    def __eq__(self, other: object) -> bool:
        return False

    def __gt__(self, other: int) -> bool:
        return True

    __hash__ = int.__hash__


def test_one_rank_of_nccl_gives_the_bits_of_no_group(tmp_path, monkeypatch):
    plain = trained("progressive_gan_sr"), trained("superresgan_unet")
    group = f"file://{tmp_path}/group"
    dist.init_process_group("nccl", group, rank=0, world_size=1, device_id=torch.device("cuda", 0))
    begun = Workers.__init__

    def grouped(self, *args, **kwargs):
        begun(self, *args, **kwargs)
        self.world = Grouped(1)

    try:
        monkeypatch.setattr(Workers, "__init__", grouped)
        through = trained("progressive_gan_sr"), trained("superresgan_unet")
    finally:
        dist.destroy_process_group()
    assert through == plain


def test_memory_of_a_stage_that_is_over_is_given_back():
    """Graphs of an earlier stage hold memory: none may be left of them after the next growth."""
    settings = {"device": "cuda", "reports_per_stage": 1}
    prepared = small("progressive_gan_sr", settings)
    held = 0
    for report in run(prepared):
        if report.stage:
            held = torch.cuda.memory_allocated()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated() < 2 * held


def test_an_optimizer_of_the_cpu_goes_on_upon_a_gpu(tmp_path, caplog):
    """A run that was begun on a CPU is resumed on a GPU: its count of steps moves there."""
    on_cpu = small("progressive_gan_sr", {"device": "cpu"})
    for report in run(on_cpu, store=str(tmp_path)):
        if report.stage:
            break
    caplog.set_level(logging.WARNING)
    on_gpu = small("progressive_gan_sr", {"device": "cuda"})
    settings = override(on_gpu.settings, {"device": "cuda"})
    moved = on_gpu.with_settings(settings)
    last = list(run(moved, store=str(tmp_path), resume=True))[-1]
    assert last.stage is not None


def test_state_hashes_are_of_values_not_of_devices():
    prepared = small("dcgan", {"device": "cuda"})
    system = load_system("dcgan")(prepared.settings, prepared.assets)
    before = state_hashes(system)
    assert state_hashes(system.cuda()) == before
