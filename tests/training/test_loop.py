"""The loop: turns, fresh batches, growth, reports and failures."""

import pytest
import torch

from ganforge.data.prepare import open_data
from ganforge.schedule import Position
from ganforge.systems.progressive_gan_sr import ProgressiveGANSR
from ganforge.training.loop import NotFinite, Training, due, train
from ganforge.training.measure import measure
from ganforge.training.prepare import prepare
from ganforge.training.workers import Workers


class Watched(ProgressiveGANSR):
    """Writes down each call of its objectives."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.calls: list[tuple] = []

    def losses(self, player, batch, progress):
        draw = torch.rand(()).item()  # one more draw must move no other turn
        self.calls.append((player, progress.index, progress.step, batch.index.tolist(), draw))
        return super().losses(player, batch, progress)


def trained(settings, kind=Watched):
    prepared = prepare("progressive_gan_sr", settings)
    plan = prepared.plan()
    system = kind(prepared.settings, {})
    data = open_data("super_resolution", prepared.settings, plan.stages, 2, 0)
    training, workers = Training(system, Position()), Workers()
    try:
        return system, [
            measure(training, plan, data, workers, report, {})
            for report in train(training, plan, data, workers)
        ]
    finally:
        data.close()


def test_the_critic_moves_on_every_batch_and_the_generator_on_every_kth(tiny):
    system, _ = trained(tiny(critic_steps=3, stages__1__critic_steps=5))
    steps = {
        (player, index): sorted({s for p, i, s, *_ in system.calls if (p, i) == (player, index)})
        for player in ("critic", "generator")
        for index in (0, 1)
    }
    assert steps["critic", 0] == steps["critic", 1] == list(range(10))
    assert steps["generator", 0] == [2, 5, 8]
    assert steps["generator", 1] == [4, 9]


def test_every_critic_turn_sees_a_fresh_batch_and_fresh_draws(tiny):
    system, _ = trained(tiny())
    critic = [call for call in system.calls if call[0] == "critic" and call[1] == 0]
    assert [n for call in critic for n in call[3]] == list(range(80))
    draws = [call[4] for call in system.calls]
    assert len(set(draws)) == len(draws)


def test_the_critic_comes_first_and_due_is_a_function_of_the_step(tiny):
    prepared = prepare("progressive_gan_sr", tiny())
    system = ProgressiveGANSR(prepared.settings, {})
    names = [
        [p.name for p in due(system.players, prepared.plan().progress(0, s))] for s in range(4)
    ]
    assert names == [["critic"], ["critic", "generator"]] * 2


def test_reports_describe_their_position(tiny):
    _, reports = trained(tiny())
    assert [(r.position.index, r.position.step, r.kind) for r in reports] == [
        (0, 0, "progress"),
        (0, 5, "progress"),
        (0, 10, "stage"),
        (1, 0, "progress"),
        (1, 5, "progress"),
        (1, 10, "stage"),
    ]
    assert [r.images for r in reports] == [0, 40, 80, 80, 120, 160]
    alphas = [r.metrics["stage/alpha"] for r in reports]
    assert alphas == [1, 1, 1, 0, 1, 1]
    for name in ("critic/wasserstein", "critic/gradient_penalty", "critic/drift"):
        assert all(name in r.metrics for r in reports if r.position.step)
    # before and after each growth, and at the end, on the same images
    measured = [r for r in reports if "validation/psnr" in r.metrics]
    assert [(r.position.index, r.position.step) for r in measured] == [(0, 10), (1, 0), (1, 10)]
    assert len({r.metrics["validation/psnr_bicubic"] for r in measured}) == 1
    ends = [r for r in reports if r.kind == "stage"]
    assert all("validation/swd" in r.metrics and r.samples is not None for r in ends)
    assert ends[0].samples.dtype == torch.uint8 and ends[0].samples.shape[-1] == 3


def test_a_change_of_a_later_stage_leaves_earlier_ones(tiny):
    _, plain = trained(tiny())
    _, later = trained(tiny(stages__1__critic__learning_rate=0.5))
    assert plain[2].metrics == later[2].metrics
    assert plain[5].metrics != later[5].metrics


def test_per_stage_learning_rates_reach_the_optimizer(tiny):
    system, _ = trained(tiny(stages__1__generator__learning_rate=0.25))
    group = system.players[1].optimizer.param_groups[0]
    assert (group["lr"], group["betas"], group["eps"]) == (0.25, (0.0, 0.99), 1e-8)


class Broken(ProgressiveGANSR):
    def losses(self, player, batch, progress):
        terms = super().losses(player, batch, progress)
        if player == "generator" and progress.step == 3:
            terms["pixel"] = terms["pixel"] * float("nan")
        return terms


def test_a_term_that_is_not_finite_names_player_term_stage_and_step(tiny):
    with pytest.raises(NotFinite, match=r"generator/pixel is nan at stage 0, step 3"):
        trained(tiny(), Broken)


def test_every_player_changes_and_pixel_only_training_leaves_the_critic(tiny):
    system, _ = trained(tiny(adversarial_weight=0.0))
    fresh = ProgressiveGANSR(system.settings, {})
    for index in (0, 1):
        fresh.grow(index)
    for name, value in fresh.critic.state_dict().items():
        assert torch.equal(value, system.critic.state_dict()[name])
    assert not torch.equal(fresh.generator.base.conv1.weight, system.generator.base.conv1.weight)


def test_bfloat16_trains_with_float32_weights_penalty_and_losses(tiny):
    system, reports = trained(tiny(precision="bfloat16"))
    assert all(p.dtype == torch.float32 for p in system.parameters())
    assert all(torch.isfinite(torch.tensor(list(r.metrics.values()))).all() for r in reports)
