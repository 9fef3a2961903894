"""Residual generators: published sizes, any scale, and what they do."""

import pytest
import torch

from ganforge.layers import upsample_bicubic
from ganforge.networks.residual import RRDBNet, SRResNet, TranslationResNet
from ganforge.reach import reach


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_parameter_counts():
    with torch.device("meta"):
        assert count(SRResNet()) == 1_548_547
        assert count(RRDBNet()) == 16_697_987
        assert count(TranslationResNet()) == 11_378_179


def test_without_norm_a_bias_is_what_batch_norm_adds_to_zeros():
    """Each norm's scale and shift become one bias; with statistics (0, 1) both are one function."""
    plain = SRResNet(width=4, blocks=2, scale=2, tanh=False, norm=False)
    normed = SRResNet(width=4, blocks=2, scale=2, tanh=False).eval()
    assert count(normed) - count(plain) == 5 * 4
    for module in normed.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 0.0
            torch.nn.init.normal_(module.bias)
    weights = iter(normed.parameters())
    with torch.no_grad():
        for module in plain.modules():
            if isinstance(module, torch.nn.PReLU):
                module.weight.copy_(next(weights))
            elif isinstance(module, torch.nn.Conv2d):
                module.weight.copy_(weight := next(weights))
                if weight.shape[:2] == (4, 4):
                    next(weights)  # the norm's scale, 1
                module.bias.copy_(next(weights))
    images = torch.rand(2, 3, 6, 5) * 2 - 1
    torch.testing.assert_close(plain(images), normed(images))


def test_without_norm_blocks_begin_small():
    torch.manual_seed(0)
    normed, plain = (SRResNet(width=4, blocks=1, norm=norm) for norm in (True, False))
    for network in (normed, plain):
        torch.manual_seed(1)
        network.initialise()
    last = plain.blocks[0].branch[-1]
    bound = 0.1 / (4 * 9) ** 0.5
    assert 0.5 * bound < last.weight.abs().max() <= bound
    assert plain.blocks[0].branch[0].weight.abs().max() > 5 * bound


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("kind", [SRResNet, RRDBNet])
def test_every_scale_and_any_side(kind, scale):
    network = kind(width=4, blocks=1, scale=scale)
    assert network(torch.zeros(2, 3, 5, 7)).shape == (2, 3, 5 * scale, 7 * scale)


def test_other_scales_are_refused():
    with pytest.raises(ValueError, match="scale = 5: must be 2, 3, 4 or 8"):
        SRResNet(scale=5)


@pytest.mark.parametrize("kind", [SRResNet, RRDBNet])
def test_beside_a_bicubic_skip_nothing_is_added_at_first(kind):
    network = kind(width=4, blocks=1, scale=2, bicubic_skip=True)
    network.initialise()
    images = torch.rand(2, 3, 6, 6) * 2 - 1
    torch.testing.assert_close(network(images), upsample_bicubic(images))


def test_tanh_bounds_srresnet_and_can_be_left_out():
    torch.manual_seed(0)
    for tanh in (True, False):
        network = SRResNet(width=4, blocks=1, scale=2, tanh=tanh)
        network.initialise()
        with torch.no_grad():
            network.exit.bias.fill_(3.0)
            network.exit.weight.zero_()
        value = network(torch.rand(1, 3, 4, 4)).max().item()
        assert abs(value - (torch.tanh(torch.tensor(3.0)).item() if tanh else 3.0)) < 1e-6


def test_first_weights_of_rrdbnet_are_a_tenth_of_kaimings():
    torch.manual_seed(0)
    network = RRDBNet(width=32, growth=16, blocks=1)
    network.initialise()
    weight = network.joint.weight
    expected = 0.1 * (2 / (32 * 9)) ** 0.5
    assert abs(weight.std().item() / expected - 1) < 0.05 and not network.joint.bias.any()


def test_translation_keeps_sides_and_range():
    torch.manual_seed(0)
    network = TranslationResNet(width=4, blocks=2)
    network.initialise()
    out = network(torch.rand(1, 3, 16, 24) * 2 - 1)
    assert out.shape == (1, 3, 16, 24) and out.abs().max() <= 1
    assert abs(network.layers[0].weight.std().item() - 0.02) < 0.004


def test_first_weights_are_those_of_the_seed():
    for network in (
        SRResNet(width=4, blocks=1),
        RRDBNet(width=4, blocks=1),
        TranslationResNet(width=4),
    ):
        states = []
        for _ in range(2):
            torch.manual_seed(3)
            network.initialise()
            states.append({n: t.clone() for n, t in network.state_dict().items()})
        assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("kind", [SRResNet, RRDBNet])
def test_networks_see_exactly_as_far_as_they_say(kind, scale):
    """A changed pixel changes targets up to the edge of the field, and none beyond it."""
    torch.manual_seed(0)
    network = kind(width=4, blocks=1, scale=scale, bicubic_skip=True).double().eval()
    if isinstance(network, RRDBNet):
        network.initialise(1.0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    before, after = reach(network.receptive_field, scale)
    middle, side = 25, 52
    source = torch.rand(1, 3, side, side, dtype=torch.float64) - 0.5
    changed = source.clone()
    changed[..., middle, middle] += 0.3
    with torch.inference_mode():
        moved = (network(source) != network(changed)).any(dim=1)[0]
    cells = moved.reshape(side, scale, side, scale).any(dim=3).any(dim=1).nonzero()
    for axis in (0, 1):
        assert cells[:, axis].min() == middle - after
        assert cells[:, axis].max() == middle + before
