"""Models of other trainers: read by their architecture, used like any other, or refused."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ganforge.commands.cli import main
from ganforge.commands.export import ExportOptions, export
from ganforge.commands.initial_weights import initial_weights
from ganforge.commands.models import find_model
from ganforge.inference.foreign import is_foreign
from ganforge.inference.tiles import upscale
from ganforge.settings import SettingsError

spandrel = pytest.importorskip("spandrel", reason="spandrel reads files of other trainers")


def compact(scale: int = 2, channels: int = 3) -> torch.nn.Module:
    """Real-ESRGAN's small network with weights at random."""
    from spandrel.architectures.Compact import Compact

    torch.manual_seed(0)
    made = Compact(num_in_ch=channels, num_out_ch=channels, num_feat=16, num_conv=2, upscale=scale)
    return made.eval()


def saved(network: torch.nn.Module, path: Path, inside: str = "") -> Path:
    state = network.state_dict()
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({inside: state} if inside else state, path)
    return path


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
@pytest.mark.parametrize("scale", [2, 4])
def test_it_is_the_network_on_images_between_minus_one_and_one(
    name: str, scale: int, tmp_path: Path
) -> None:
    network = compact(scale)
    path = saved(network, tmp_path / name, "params_ema" if name == "x.pth" else "")
    found = find_model(str(path), None).model
    assert (found.scale, found.channels, found.system, found.takes) == (
        scale,
        3,
        "RealESRGAN Compact",
        "image",
    )
    image = torch.rand(3, 13, 17) * 2 - 1
    with torch.inference_mode():
        expected = (network((image[None] + 1) / 2) * 2 - 1).clamp(-1, 1)[0]
    torch.testing.assert_close(upscale(found.network, image), expected, rtol=0, atol=1e-6)


def test_sides_that_a_network_does_not_take_are_padded_and_cropped(tmp_path: Path) -> None:
    from ganforge.networks.foreign import ForeignGenerator

    found = spandrel.ModelLoader().load_from_state_dict(compact().state_dict())
    generator = ForeignGenerator(found)
    generator.least, generator.multiple = 16, 8
    seen: list[torch.Size] = []
    generator.network.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    assert generator(torch.zeros(1, 3, 9, 17)).shape == (1, 3, 18, 34)
    generator.square = True
    assert generator(torch.zeros(1, 3, 9, 17)).shape == (1, 3, 18, 34)
    assert [tuple(shape[-2:]) for shape in seen] == [(16, 24), (24, 24)]


def test_commands_use_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, folder = saved(compact(), tmp_path / "x.pth"), tmp_path / "b"
    for name, side in (("HR", 48), ("LR", 24)):
        (folder / name).mkdir(parents=True)
        Image.radial_gradient("L").resize((side, side)).convert("RGB").save(folder / name / "a.png")
    for words in (
        ["evaluate", "--model", str(path), "--benchmark", str(folder)],
        ["upscale", str(folder / "LR"), "--model", str(path), "--output", str(tmp_path / "out")],
    ):
        with pytest.raises(SystemExit) as left:
            main(words)
        assert not left.value.code, capsys.readouterr().err
    assert Image.open(tmp_path / "out" / "a.png").size == (48, 48)
    with pytest.raises(SettingsError, match="is of another trainer"):
        from ganforge.commands.interpolate import InterpolateOptions, interpolate

        interpolate(InterpolateOptions(str(path), str(tmp_path / "new"), toward=str(path)))


def test_own_files_stay_own(tmp_path: Path) -> None:
    (tmp_path / "stages" / "0").mkdir(parents=True)
    (tmp_path / "settings.json").write_text("{}")
    own = tmp_path / "stages" / "0" / "generator.safetensors"
    assert not is_foreign(own) and is_foreign(own.with_suffix(".pth"))
    assert not is_foreign(tmp_path / "settings.json")


# ---- what is refused ----


def test_what_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(2)}, path)
    with pytest.raises(SettingsError, match=r"recognises no architecture in its 1 tensors"):
        find_model(str(path), None)
    path.write_bytes(b"rubbish")
    with pytest.raises(SettingsError, match="not a file of tensors"):
        find_model(str(path), None)


def test_a_network_that_enlarges_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="enlarges 1 times; give a model that enlarges"):
        find_model(str(saved(compact(1), tmp_path / "x.pth")), None)


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "x.pth"
    path.write_bytes(pickle.dumps({"params": Hostile()}))
    with pytest.raises(SettingsError, match="not a file of tensors"):
        find_model(str(path), None)
    assert not (tmp_path / "ran").exists()


def test_without_the_package_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(compact(), tmp_path / "x.pth")
    monkeypatch.setattr("ganforge.inference.foreign.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'ganforge\[models\]'"):
        find_model(str(path), None)


def test_a_grey_network(tmp_path: Path) -> None:
    found = find_model(str(saved(compact(2, 1), tmp_path / "x.pth")), None).model
    assert found.channels == 1
    assert upscale(found.network, torch.zeros(1, 8, 8)).shape == (1, 16, 16)
    assert initial_weights(str(tmp_path / "x.pth"), "all", None) == str(tmp_path / "x.pth")


# ---- taken home ----


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_taken_home_it_opens_again_without_a_difference(kind: str, tmp_path: Path) -> None:
    path, image = saved(compact(), tmp_path / "x.pth"), torch.rand(3, 9, 11) * 2 - 1
    file = tmp_path / f"home.{kind}"
    export(ExportOptions(str(path), str(file), kind))
    one, two = (find_model(str(p), None).model.network for p in (path, file))
    assert torch.equal(upscale(one, image), upscale(two, image))
    # as other tools open it
    state = spandrel.ModelLoader().load_from_file(file).model.state_dict()
    assert all(torch.equal(state[name], t) for name, t in compact().state_dict().items())


def test_a_program_for_one_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, file = saved(compact(), tmp_path / "x.pth"), tmp_path / "x.pt2"
    export(ExportOptions(str(path), str(file), "torch", size="12x20"))
    assert "N = 1, H = 12, W = 20" in capsys.readouterr().out
    image = torch.rand(1, 3, 12, 20) * 2 - 1
    made = torch.export.load(file).module()(image)
    torch.testing.assert_close(made, upscale(find_model(str(path), None).model.network, image))


@pytest.mark.parametrize(
    ("size", "kind", "message"),
    [
        ("12", "torch", "--size 12: must be HEIGHTxWIDTH"),
        ("0x4", "torch", "--size 0x4: must be HEIGHTxWIDTH"),
        ("8x8", "pth", "--size 8x8: weights have no size"),
        (None, "zip", "--format zip: must be torch, onnx, safetensors, pth"),
    ],
)
def test_what_cannot_be_exported(size: str | None, kind: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message):
        export(ExportOptions(str(tmp_path), str(tmp_path / f"x.{kind}"), kind, size=size))


def test_a_network_that_hangs_on_its_sides_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> None:
        raise ValueError("specialised")

    monkeypatch.setattr("ganforge.commands.export.trace", failing)
    path = saved(compact(), tmp_path / "x.pth")
    with pytest.raises(SettingsError, match=r"for any sides .ValueError: specialised.; give --siz"):
        export(ExportOptions(str(path), str(tmp_path / "x.onnx")))
    assert not (tmp_path / "x.onnx").exists()
