"""Which device a worker trains on, what is read of it and when; with a GPU that is pretended."""

import pytest
import torch

from ganforge.data.prepare import open_data
from ganforge.precision import full_float32
from ganforge.schedule import Position
from ganforge.settings import SettingsError
from ganforge.systems.progressive_gan_sr import ProgressiveGANSR
from ganforge.training import lineage, loop
from ganforge.training import run as run_module
from ganforge.training.loop import NotFinite, Training, check_weights, train
from ganforge.training.prepare import prepare
from ganforge.training.run import be_deterministic, choose_device
from ganforge.training.workers import Workers


@pytest.fixture
def card(monkeypatch):
    """A machine on which torch sees one GPU that computes."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(run_module, "probe", lambda device: None)


def test_a_worker_that_was_given_no_gpu_trains_on_the_cpu(tiny, card):
    settings = tiny(device="auto")
    assert choose_device(settings, gpu=False) == torch.device("cpu")
    assert choose_device(settings, gpu=True) == torch.device("cuda", 0)
    # a process without a scheduler takes what it sees
    assert choose_device(settings) == torch.device("cuda", 0)
    assert choose_device(tiny(device="cpu"), gpu=True) == torch.device("cpu")


def test_a_gpu_that_the_cluster_sees_and_torch_does_not_is_one_clear_line(tiny):
    with pytest.raises(SettingsError, match=r"gave this worker a GPU of .* torch .* finds none"):
        choose_device(tiny(device="auto"), gpu=True)


def test_a_gpu_that_cannot_compute_is_named_before_training(tiny, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)

    def old_driver(*arguments, **options):
        raise RuntimeError("CUDA driver version is insufficient for CUDA runtime version\nmore")

    monkeypatch.setattr(torch, "ones", old_driver)
    with pytest.raises(SettingsError, match=r"device = cuda:0: .*driver version is insufficient"):
        choose_device(tiny(device="auto"), gpu=True)


def test_determinism_is_a_setting_of_its_own(tiny):
    gpu = torch.device("cuda", 0)
    before = torch.are_deterministic_algorithms_enabled()
    try:
        be_deterministic(tiny(exact_world_size=False), gpu)
        assert torch.are_deterministic_algorithms_enabled()
        be_deterministic(tiny(deterministic=False), gpu)
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(before)


def test_inference_computes_in_full_float32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    full_float32()
    assert not torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


def test_the_environment_of_a_gpu_names_what_chooses_its_kernels(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Card")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 92400)
    monkeypatch.setattr(lineage, "driver_version", lambda: "580.82")
    found = lineage.environment(torch.device("cuda", 0), 1)
    assert found["device"] == "Card" and found["cuda_capability"] == "9.0"
    assert (found["cudnn"], found["cuda_driver"]) == (92400, "580.82")
    assert found["cuda"] == torch.version.cuda
    assert "cudnn" not in lineage.environment(torch.device("cpu"), 1)


class Wrong(ProgressiveGANSR):
    """One term of a step is not a number."""

    player, at = "generator", 6

    def losses(self, player, batch, progress):
        terms = super().losses(player, batch, progress)
        if player == self.player and progress.step == self.at:
            name = next(iter(terms))
            terms[name] = terms[name] * float("nan")
        return terms


def as_on_a_gpu(monkeypatch):
    """Terms are read as of a GPU: at every tenth turn."""
    real = loop.read_at_once
    monkeypatch.setattr(loop, "read_at_once", lambda d, turn: real(torch.device("cuda"), turn))


def opened(settings, kind):
    prepared = prepare("progressive_gan_sr", settings)
    plan = prepared.plan()
    training = Training(kind(prepared.settings, {}), Position())
    return training, plan, open_data("super_resolution", prepared.settings, plan.stages, 2, 0)


def reports(settings, kind):
    training, plan, data = opened(settings, kind)
    workers = Workers()
    try:
        yield from train(training, plan, data, workers)
    finally:
        data.close()


@pytest.mark.parametrize("player", ["critic", "generator"])
def test_on_a_gpu_no_report_follows_a_term_that_is_not_finite(tiny, monkeypatch, player):
    as_on_a_gpu(monkeypatch)
    kind = type("Wrong", (Wrong,), {"player": player, "at": 9 if player == "generator" else 6})
    settings = tiny(critic_steps=2)
    seen = []
    with pytest.raises(NotFinite, match=rf"{player}/\w+ is nan.* in the mean of the steps before"):
        for report in reports(settings, kind):
            seen.append(report.position)
    assert seen[-1] == Position(0, 5)  # the next yield, at step 10, is of the damaged weights


def test_a_player_that_seldom_moves_is_read_at_its_own_tenth_turn(tiny, monkeypatch):
    as_on_a_gpu(monkeypatch)
    # the 20th batch has the generator's tenth turn: turn numbers count from its first
    kind = type("Wrong", (Wrong,), {"at": 21})
    settings = tiny(critic_steps=2, images_per_epoch=240, reports_per_stage=1)
    with pytest.raises(NotFinite, match=r"generator/\w+ is nan at stage 0, step 21"):
        for _ in reports(settings, kind):
            pass


def test_weights_that_are_not_finite_are_never_stored(tiny):
    training, _, data = opened(tiny(), ProgressiveGANSR)
    data.close()
    training.system.grow(0)
    for player in training.system.players:
        player.follow()
    check_weights(training.system, Position(0, 10))
    with torch.no_grad():
        next(training.system.critic.parameters())[:] = float("inf")
    with pytest.raises(NotFinite, match=r"critic: the weights .* not finite at stage 0, step 10"):
        check_weights(training.system, Position(0, 10))
