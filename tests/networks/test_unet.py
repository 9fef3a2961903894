"""U-Nets: published sizes, any power of two, skips, dropout after training."""

import pytest
import torch

from ganforge.networks.unet import Pix2PixUNet, RefinementUNet


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_parameter_counts():
    with torch.device("meta"):
        assert count(Pix2PixUNet()) == 54_414_531
        assert count(RefinementUNet()) == 17_727_619
        assert count(RefinementUNet(head=3)) == 16_659_228


@pytest.mark.parametrize("size", [8, 32, 64, 128, 256, 512])
def test_pix2pix_reaches_one_by_one_from_any_power_of_two(size):
    seen = []
    with torch.device("meta"):
        network = Pix2PixUNet(size=size, width=4)
        network.bottleneck.register_forward_hook(lambda *args: seen.append(args[2].shape[-2:]))
        assert network(torch.empty(2, 3, size, size)).shape == (2, 3, size, size)
    assert seen == [(1, 1)]


def test_pix2pix_refuses_other_sides():
    with pytest.raises(ValueError, match="size = 96: must be a power of two"):
        Pix2PixUNet(size=96)


def test_published_dropout_stands_on_three_blocks_and_stays_on_where_asked_for():
    with torch.device("meta"):
        assert Pix2PixUNet().dropped == 3
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    for always in (True, False):
        torch.manual_seed(0)
        network = Pix2PixUNet(size=32, width=8, test_dropout=always).eval()
        assert network.dropped == 1
        assert torch.equal(network(images), network(images)) is not always


def test_refinement_halves_five_times_and_enlarges():
    shapes = []
    for scale in (2, 4, 8):
        network = RefinementUNet(width=4, head=6, scale=scale).eval()
        network.downs[-1].register_forward_hook(lambda *args: shapes.append(args[2].shape[-1]))
        assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 64 * scale, 64 * scale)
    assert shapes == [2, 2, 2]


def test_refinement_takes_any_side_and_agrees_with_a_filled_up_image():
    torch.manual_seed(0)
    network = RefinementUNet(width=4, head=4).eval()
    images = torch.rand(1, 3, 40, 50) * 2 - 1
    filled = torch.nn.functional.pad(images, (0, 14, 0, 24), mode="replicate")
    out = network(images)
    assert out.shape == (1, 3, 80, 100)
    torch.testing.assert_close(out, network(filled)[..., :80, :100])


@pytest.mark.parametrize(
    "make", [lambda: Pix2PixUNet(size=32, width=4), lambda: RefinementUNet(width=4, head=4)]
)
def test_every_parameter_takes_part(make):
    torch.manual_seed(0)
    network = make()
    network.initialise()
    network(torch.rand(2, 3, 32, 32) * 2 - 1).square().sum().backward()
    # a bias before a batch norm is cancelled by it: its gradient is zero but it is there
    assert all(p.grad is not None for p in network.parameters())


def test_first_weights_as_described():
    torch.manual_seed(0)
    network = RefinementUNet(width=32, head=16)
    network.initialise()
    assert abs(network.downs[2].weight.std().item() - 0.002) < 1e-4
    assert abs(network.down_norms[1].weight.std().item() - 0.02) < 4e-3
    assert not network.exit.bias.any()


def test_after_training_each_image_is_normalised_by_itself_where_asked_for():
    torch.manual_seed(0)
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    for own in (True, False):
        network = Pix2PixUNet(size=16, width=4, test_dropout=False, test_statistics=own)
        network.initialise()
        alone = network.eval()(images[:1])
        torch.testing.assert_close(network(images)[:1], alone)  # the others do not matter
        network.train().dropped = 0
        trained = network(images[:1])  # a batch of one: the statistics of this image
        assert torch.allclose(trained, alone, atol=1e-5) is own
