"""Each system trains on a pretended GPU: nothing is left on the CPU, and little is read back."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from ganforge.data.prepare import open_data
from ganforge.networks.vgg import VGGFeatures, tensor_names
from ganforge.schedule import Position
from ganforge.settings import override
from ganforge.systems.base import Player
from ganforge.systems.catalog import SYSTEMS
from ganforge.testing import fresh, small
from ganforge.training import loop
from ganforge.training.checkpoint import state_hashes
from ganforge.training.loop import NotFinite, Training, train
from ganforge.training.prepare import Prepared, prepare
from ganforge.training.workers import Workers

from .pretend_cuda import CPU, CUDA, MixUp, Pretended, pretend_cuda

#: what reads the GPU back: terms in every tenth turn of a player, means at reports, weights before
#: a state is stored, and the state
READERS = {"check_finite", "Means.values", "check_weights", "tensors_sha256"}
#: pools of images are filled by a count, and drawn from on the host
POOLS = {"shard_of", "ReplayPool.swap"}


@pytest.fixture(autouse=True)
def same_arithmetic(monkeypatch) -> None:
    """What a GPU has otherwise, on both sides: Adam as one kernel, and the order of memory."""
    follow = Player.follow

    def fused(self: Player, *, reset: bool = False) -> None:
        follow(self, reset=reset)
        if isinstance(self.optimizer, torch.optim.Adam):
            self.optimizer.param_groups[0]["fused"] = True

    monkeypatch.setattr(Player, "follow", fused)
    monkeypatch.setattr(loop, "memory_format", lambda *_: torch.channels_last)


def trained(prepared: Prepared, device: torch.device) -> Iterator[dict[str, str]]:
    """The hashes at the end of each stage."""
    plan, system = prepared.plan(device), fresh(prepared)
    scale = system.source_scale(prepared.settings)
    data = open_data(system.Data, prepared.settings, plan.stages, scale, plan.seed, prefetch=False)
    training = Training(system, Position())
    try:
        for report in train(training, plan, data, Workers(device=device)):
            if report.kind == "stage":
                yield state_hashes(system)
    finally:
        data.close()


def pretended(prepared: Prepared) -> tuple[list[dict[str, str]], Pretended]:
    changed = override(prepared.settings, {"cuda_graphs": False})
    with pretend_cuda() as seen:
        return list(trained(replace(prepared, settings=changed), CUDA)), seen


@pytest.mark.parametrize("name", SYSTEMS)
def test_everything_is_on_the_gpu_and_the_bits_are_those_of_the_cpu(name: str) -> None:
    prepared = small(name)
    found, seen = pretended(prepared)
    assert found == list(trained(prepared, CPU))
    pools = POOLS if fresh(prepared).shard_buffers else set()
    assert READERS <= set(seen.reads) <= READERS | pools
    plan, players = prepared.plan(), fresh(prepared).players
    # the first turn of a player in each stage, and none of the few after it
    assert seen.reads["check_finite"] <= len(plan.stages) * len(players)
    reports = [
        Position(index, step)
        for index, stage in enumerate(plan.stages)
        for step in range(stage.steps + 1)
        if plan.yields(Position(index, step))
    ]
    assert seen.reads["Means.values"] <= len(reports)
    assert seen.reads["check_weights"] == len(players) * sum(map(plan.stores, reports))


def test_a_network_that_was_left_on_the_cpu_is_found(tmp_path, monkeypatch) -> None:
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    shapes = {
        "0.weight": (64, 3, 3, 3),
        "0.bias": (64,),
        "2.weight": (64, 64, 3, 3),
        "2.bias": (64,),
    }
    tensors = {
        f"features.{name}": torch.randn(shape, generator=generator) * 0.05
        for name, shape in shapes.items()
    }
    assert set(tensors) == set(tensor_names("block1_conv2"))
    save_file(tensors, tmp_path / "vgg.safetensors")
    changes = {"perceptual.network": str(tmp_path / "vgg.safetensors"), "perceptual.min_size": 8}
    prepared = small("progressive_gan_sr", changes)
    found, _ = pretended(prepared)
    assert found == list(trained(prepared, CPU))
    monkeypatch.setattr(VGGFeatures, "to", lambda self, *args, **kwargs: self)
    with pytest.raises(MixUp, match="on the CPU"):
        pretended(prepared)


def test_a_tensor_that_was_made_on_the_cpu_is_found(monkeypatch) -> None:
    from ganforge.systems.latent import LatentSystem

    def left_behind(self, batch):
        return torch.randn(len(batch), self.settings.latent_size)

    monkeypatch.setattr(LatentSystem, "draw_latents", left_behind)
    with pytest.raises(MixUp, match="on the CPU"):
        pretended(small("dcgan"))


def test_a_value_that_is_not_finite_is_found_within_ten_turns(tiny) -> None:
    """Whether the turns of a player are divisible by ten or not."""
    prepared = prepare("progressive_gan_sr", tiny(**{"generator.learning_rate": 1e30}))
    with pytest.raises(NotFinite, match=r"is (nan|-?inf)|not finite"):
        pretended(prepared)


def test_what_is_read_back_and_launched_is_counted() -> None:
    with pretend_cuda() as seen:
        number = torch.ones(3, device="cuda")
        assert number.device == CUDA and number.is_cuda and number[1:].is_cuda
        assert not torch.ones(3).is_cuda
        total = (number * 2).sum()
        assert float(total) == 6
        assert not number.cpu().is_cuda and torch.zeros_like(number).is_cuda
        with pytest.raises(MixUp, match="mul"):
            _ = number * torch.ones(3)
        _ = number * torch.tensor(2.0)  # a number of the CPU goes with the kernel
        picked = number[torch.tensor([0, 2])]
        assert picked.is_cuda
    assert seen.reads == {"a test": 2}
    assert seen.launches["sum"] == 1 and seen.launches["mul"] == 2
