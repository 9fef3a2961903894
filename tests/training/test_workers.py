"""Any number of workers gives the same bits, and shards add up to a plain whole-batch step."""

import copy
import itertools

import pytest
import torch
from torch import nn

from ganforge.data.batch import Batch
from ganforge.data.prepare import open_data
from ganforge.draws import reseed
from ganforge.layers import fade_real
from ganforge.schedule import Position
from ganforge.systems.base import Player, System
from ganforge.systems.progressive_gan_sr import ProgressiveGANSR
from ganforge.training.checkpoint import state_hashes
from ganforge.training.loop import Training, train
from ganforge.training.multiprocess import run_multiprocess
from ganforge.training.prepare import prepare
from ganforge.training.run import run
from ganforge.training.workers import Workers, add, owned, shard_pass, subtrees


def test_every_shard_has_one_owner_and_slices_are_contiguous():
    for shards, world in itertools.product(range(1, 17), range(1, 9)):
        slices = [list(owned(shards, rank, world)) for rank in range(world)]
        assert [s for part in slices for s in part] == list(range(shards))
        for rank, part in enumerate(slices):
            assert all(s * world // shards == rank for s in part)


@pytest.mark.parametrize("shards", [1, 2, 3, 4, 5, 6, 8, 13])
def test_the_sum_has_one_order_however_it_is_shared(shards):
    values = [torch.randn(7) * 10.0**power for power in torch.randint(-6, 6, (shards,)).tolist()]
    results = []
    for world in range(1, shards + 1):
        gathered: dict = {}
        for rank in range(world):
            nodes: dict = {}
            mine = owned(shards, rank, world)
            for shard in mine:
                add(nodes, (shard, shard + 1), values[shard].clone(), shards)
            assert sorted(nodes) == sorted(subtrees(shards, mine))
            for node, value in nodes.items():
                add(gathered, node, value, shards)
        assert list(gathered) == [(0, shards)]
        results.append(gathered[0, shards])
    assert all(torch.equal(result, results[0]) for result in results)
    torch.testing.assert_close(results[0], torch.stack(values).double().sum(0).float())


def final_hashes(rank, world, settings):
    prepared = prepare("progressive_gan_sr", settings)
    reports = list(run(prepared, rank=rank, world=world))
    rows = [report.stage for report in reports if report.stage]
    return rows[-1].hashes, [report.metrics.get("validation/psnr") for report in reports]


def test_one_two_three_and_four_workers_end_in_the_same_bits(tiny):
    """20 steps across a growth, with penalty, minibatch stddev, drift and fade."""
    settings = tiny()
    assert [s.epochs * 40 // 8 for s in settings.stages] == [10, 10]
    alone = run_multiprocess(1, final_hashes, settings)[0]
    for world in (2, 3, 4):
        changed = settings.model_copy(update={"workers": world})
        for rank, theirs in enumerate(run_multiprocess(world, final_hashes, changed)):
            assert theirs == alone, f"{world} workers, rank {rank}"


class Normalised(System):
    """A system with batch norm, an integer buffer and a buffer owned by shards."""

    shard_buffers = ("pool",)

    def __init__(self):
        nn.Module.__init__(self)
        self.net = nn.Sequential(
            nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Dropout(0.3), nn.Linear(5, 1)
        )
        self.register_buffer("pool", torch.zeros(4, 2))
        self.player = Player(
            "net", self.net, torch.optim.SGD([torch.zeros(())]), lambda p: {"lr": 0.1}
        )
        self.players = (self.player,)
        self.player.follow()


class Anywhere:
    """All that a step asks of a position: its settings, and the rate of all learning rates."""

    settings, rate = None, 1.0


def normalised_step(rank, world):
    torch.manual_seed(3)
    system = Normalised()
    images = torch.randn(16, 3)
    workers = Workers(rank, world)
    for step in range(3):
        with workers.turn(system, system.player, 4) as turn:
            for shard in workers.shards(4):
                turn.begin_shard()
                reseed(step, shard)
                part = images[4 * shard : 4 * shard + 4]
                system.pool[shard] = torch.rand(2)
                terms = {"square": system.net(part).square().mean()}
                turn.take(shard, shard_pass(turn.player, terms))
        gradients, _ = workers.reduce(turn)
        system.player.step(gradients, Anywhere)  # type: ignore[arg-type]
    workers.gather_shard_buffers(system, 4)
    return {name: value.clone() for name, value in system.state_dict().items()}


def test_buffers_do_not_depend_on_the_number_of_workers():
    alone = run_multiprocess(1, normalised_step)[0]
    assert alone["net.1.num_batches_tracked"].item() == 3  # once a turn, not once a shard
    for theirs in run_multiprocess(3, normalised_step):
        assert all(torch.equal(alone[name], theirs[name]) for name in alone)


def test_other_players_and_their_buffers_stay_as_they_were(tiny):
    prepared = prepare("progressive_gan_sr", tiny())
    system = ProgressiveGANSR(prepared.settings, {})
    system.grow(0)
    for player in system.players:
        player.follow()
    critic, generator = system.players
    with Workers().turn(system, critic, 4):
        assert not any(p.requires_grad for p in generator.parameters)
        assert all(p.requires_grad for p in critic.parameters)
    assert all(p.requires_grad for p in generator.parameters)


class Wide:
    """Data in float64, so that rounding does not hide a wrong formula."""

    def __init__(self, data):
        self.data, self.num_validation = data, 0

    def batch(self, index, step, shard):
        return self.data.batch(index, step, shard).to("cpu", torch.float64)

    def samples(self, index):
        return self.data.samples(index).to("cpu", torch.float64)


def test_sharded_step_equals_a_plain_whole_batch_step_in_float64(tiny):
    """The oracle below knows nothing of shards, turns or players: two networks, two Adams, losses
    written out on the whole batch, groups of minibatch stddev = shards."""
    settings = tiny(batch_size=16, images_per_epoch=80, validation__sliced_wasserstein=False)
    prepared = prepare("progressive_gan_sr", settings)
    plan = prepared.plan()
    data = open_data("super_resolution", settings, plan.stages, 2, settings.seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        system = ProgressiveGANSR(prepared.settings, {})
        for _ in train(Training(system, Position()), plan, Wide(data), Workers()):
            pass
        generator, critic, average = plain_training(prepared, plan, Wide(data))
    finally:
        torch.set_default_dtype(before)
        data.close()
    pairs = [(system.generator, generator), (system.critic, critic)]
    pairs.append((system.players[1].average, average))
    for mine, theirs in pairs:
        expected = dict(theirs.named_parameters())
        for name, parameter in mine.named_parameters():
            assert parameter.dtype == torch.float64
            torch.testing.assert_close(parameter, expected[name], atol=1e-10, rtol=0, msg=name)


def plain_training(prepared, plan, data):
    s = prepared.settings
    system = ProgressiveGANSR(s, {})
    generator, critic = system.generator, system.critic
    optimizers: dict = {}
    average: nn.Module | None = None
    for index, stage in enumerate(plan.stages):
        system.grow(index)
        old = dict(average.named_parameters()) if average is not None else {}
        average = copy.deepcopy(generator)
        with torch.no_grad():
            for name, parameter in average.named_parameters():
                if name in old:
                    parameter.copy_(old[name])
        moments = {p: state for o in optimizers.values() for p, state in o.state.items()}
        for network in (generator, critic):
            optimizers[network] = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.0, 0.99))
            for parameter in network.parameters():
                if parameter in moments:
                    optimizers[network].state[parameter] = moments[parameter]
        for step in range(stage.steps):
            batch = Batch.cat([data.batch(index, step, shard) for shard in range(4)])
            shown = step * 16
            alpha = torch.tensor(min(1.0, shown / stage.fade_images) if stage.fade_images else 1.0)
            where = (shown < stage.fade_images, alpha)
            real = fade_real(batch.target, alpha) if where[0] else batch.target

            fake = generator(batch.source, *where).detach()
            mix = []
            for shard in range(4):
                reseed(s.seed, index, step, "critic", shard)
                mix.append(torch.rand(4, 1, 1, 1))
            u = torch.cat(mix)
            between = (u * real + (1 - u) * fake).requires_grad_()
            (slope,) = torch.autograd.grad(
                critic(between, *where).sum(), between, create_graph=True
            )
            norms = (slope.square().sum(dim=(1, 2, 3)) + 1e-12).sqrt()
            loss = critic(fake, *where).mean() - critic(real, *where).mean()
            loss = loss + 10 * (norms - 1).square().mean()
            loss = loss + 1e-3 * critic(real, *where).square().mean()
            plain_step(critic, optimizers[critic], loss)

            if step % 2 == 1:
                fake = generator(batch.source, *where)
                loss = -critic(fake, *where).mean() + (real - fake).abs().mean()
                plain_step(generator, optimizers[generator], loss)
                with torch.no_grad():
                    for mine, theirs in zip(
                        average.parameters(), generator.parameters(), strict=True
                    ):
                        mine.mul_(0.9).add_(0.1 * theirs)
    return generator, critic, average


def plain_step(network, optimizer, loss):
    optimizer.zero_grad(set_to_none=True)
    gradients = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()


def test_hashes_name_what_differs(tiny):
    prepared = prepare("progressive_gan_sr", tiny())
    system = ProgressiveGANSR(prepared.settings, {})
    system.grow(0)
    for player in system.players:
        player.follow()
    before = state_hashes(system)
    with torch.no_grad():
        system.critic.end.score.bias.add_(1e-7)
    after = state_hashes(system)
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"critic_sha256", "state_sha256"}
