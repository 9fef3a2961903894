"""Models between two trainings of one network."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ganforge.commands.cli import main
from ganforge.inference.interpolation import interpolated
from ganforge.inference.model import from_folder
from ganforge.settings import SettingsError, override, to_json
from ganforge.systems.catalog import load_system


def trained(folder: Path, name: str, seed: int, **changes) -> Path:
    """The stored generator of an untrained quick system, and the settings above it."""
    kind = load_system(name)
    settings = override(kind.Settings(), kind.PRESETS["quick"] | {"seed": seed} | changes)
    system = kind(settings, {})
    system.grow(0)
    for player in system.players:
        player.follow()
    place = folder / f"{name}{seed}"
    (place / "stages" / "1").mkdir(parents=True)
    (place / "settings.json").write_text(to_json(settings))
    weights = {f"network.{n}": t.contiguous() for n, t in system.averaged().state_dict().items()}
    save_file(weights, place / "stages" / "1" / "generator.safetensors")
    return place


def test_stages_of_one_training_are_interpolated(tmp_path):
    folder, out = trained(tmp_path, "srgan", 0), tmp_path / "between"
    later = folder / "stages" / "1" / "generator.safetensors"
    earlier = folder / "stages" / "0" / "generator.safetensors"
    earlier.parent.mkdir()
    weights = load_file(later)
    save_file({n: t + 1 if t.is_floating_point() else t for n, t in weights.items()}, earlier)
    arguments = ["interpolate", "--model", str(folder), "--stage", "0", "--output", str(out)]
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert not done.value.code
    made = load_file(out / "stages" / "1" / "generator.safetensors")
    name = "network.exit.bias"
    torch.testing.assert_close(made[name], weights[name] + 0.2)


def test_weights_by_hand():
    first = {"w": torch.tensor([0.0, 4.0]), "count": torch.tensor(3)}
    second = {"w": torch.tensor([1.0, 2.0]), "count": torch.tensor(9)}
    assert interpolated(first, second, 0.25)["w"].tolist() == [0.25, 3.5]
    assert interpolated(first, second, 0.25)["count"].item() == 3
    for alpha, end in ((0.0, first), (1.0, second)):
        assert torch.equal(interpolated(first, second, alpha)["w"], end["w"])


def test_mistakes_are_named():
    with pytest.raises(SettingsError, match=r"alpha = 1\.5: must be from 0 to 1"):
        interpolated({}, {}, 1.5)
    with pytest.raises(SettingsError, match=r"w is \(2,\) in one network and \(3,\)"):
        interpolated({"w": torch.zeros(2)}, {"w": torch.zeros(3)}, 0.5)
    with pytest.raises(SettingsError, match=r"v is None in one network"):
        interpolated({}, {"v": torch.zeros(3)}, 0.5)


def test_the_command_writes_a_model_that_others_take(tmp_path, capsys):
    one, other = (trained(tmp_path, "esrgan", seed) for seed in (0, 1))
    out = tmp_path / "between"
    arguments = ["interpolate", "--model", str(one), "--toward", str(other), "--output", str(out)]
    with pytest.raises(SystemExit) as done:
        main([*arguments, "--alpha", "0.5"])
    assert not done.value.code and "0.5 of the way" in capsys.readouterr().out
    file = Path("stages/1/generator.safetensors")
    weights = [load_file(folder / file) for folder in (one, other, out)]
    name = "network.joint.weight"
    torch.testing.assert_close(weights[2][name], (weights[0][name] + weights[1][name]) / 2)
    assert from_folder(out).network(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 16, 16)
    for more in ([], ["--alpha", "2"]):
        with pytest.raises(SystemExit) as refused:
            main([*arguments, *more])
        assert refused.value.code == 2
    capsys.readouterr()
    with pytest.raises(SystemExit) as refused:
        main([*arguments[:3], "--output", str(tmp_path / "y")])
    assert (
        refused.value.code == 2
        and "--stage 1: would be interpolated with itself" in capsys.readouterr().err
    )
    stranger = trained(tmp_path, "srgan", 0)
    with pytest.raises(SystemExit) as refused:
        main([*arguments[:3], "--toward", str(stranger), "--output", str(tmp_path / "x")])
    assert refused.value.code == 2 and "is srgan at scale 2" in capsys.readouterr().err
