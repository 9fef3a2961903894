"""VGG-19 features at any layer against torchvision's own modules."""

import pytest
import torch

from ganforge.networks.vgg import DEVIATION, MEAN, VGGFeatures, layer_numbers, tensor_names
from ganforge.settings import SettingsError
from ganforge.systems.perceptual import resolve_network


@pytest.fixture(scope="module")
def theirs() -> torch.nn.Sequential:
    from torchvision.models.vgg import cfgs, make_layers

    torch.manual_seed(0)
    return make_layers(cfgs["E"]).eval()


@pytest.fixture(scope="module")
def tensors(theirs) -> dict[str, torch.Tensor]:
    return {f"features.{name}": value for name, value in theirs.state_dict().items()}


@pytest.mark.parametrize(
    ("layer", "before", "modules"),
    [
        ("block1_conv2", False, 4),
        ("block2_conv2", False, 9),
        ("block3_conv4", True, 17),
        ("block5_conv4", False, 36),
        ("block5_conv4", True, 35),
    ],
)
def test_features_are_torchvisions_first_modules(theirs, tensors, layer, before, modules):
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    x = ((images + 1) / 2 - torch.tensor(MEAN).reshape(1, 3, 1, 1)) / torch.tensor(
        DEVIATION
    ).reshape(1, 3, 1, 1)
    mine = VGGFeatures(tensors, layer, before_activation=before)(images)
    torch.testing.assert_close(mine, theirs[:modules](x))
    assert bool((mine < 0).any()) is before


def test_a_file_need_only_hold_the_layers_that_are_used(tensors, tmp_path):
    path = tmp_path / "vgg.pt"
    torch.save({name: tensors[name] for name in tensor_names("block2_conv1")}, path)
    name, assets, _ = resolve_network(str(path), "perceptual.network", "block2_conv1")
    assert VGGFeatures(assets[name], "block2_conv1")(torch.zeros(1, 3, 8, 8)).shape == (
        1,
        128,
        4,
        4,
    )
    with pytest.raises(SettingsError, match=r"has no features\.7\.weight.*layer block2_conv2"):
        resolve_network(str(path), "perceptual.network", "block2_conv2")
    with pytest.raises(SettingsError, match=r"has no features\.7\.weight.*layer block5_conv4"):
        resolve_network(name, "perceptual.network", "block5_conv4")


def test_layers_that_are_not_used_do_not_enter_the_name(tensors, tmp_path):
    names = []
    for layer in ("block1_conv2", "block2_conv1"):
        path = tmp_path / f"{layer}.pt"
        torch.save({name: tensors[name] for name in tensor_names(layer)}, path)
        names.append(resolve_network(str(path), "k", "block1_conv2")[0])
    assert names[0] == names[1]


def test_layers_are_known_by_name():
    assert len(layer_numbers()) == 16 and len(tensor_names("block5_conv4")) == 32
    with pytest.raises(ValueError, match="VGG-19 has block1_conv1"):
        tensor_names("block6_conv1")


def test_gradients_reach_the_image_and_no_weight(tensors):
    network = VGGFeatures(tensors, "block2_conv2")
    images = torch.rand(1, 3, 16, 16, requires_grad=True)
    network(images).sum().backward()
    assert images.grad.abs().sum() > 0 and not list(network.parameters())
