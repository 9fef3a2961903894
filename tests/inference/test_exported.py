"""Weights that were taken home are opened again by what they say of themselves."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ganforge.commands.export import ExportOptions, export
from ganforge.commands.models import FoundModel, find_model
from ganforge.inference.exported import from_exported
from ganforge.inference.model import Model, deployed, grown
from ganforge.schedule import finished
from ganforge.settings import SettingsError, override, read_json, to_json
from ganforge.systems.catalog import load_system
from ganforge.systems.trust import UntrustedCode

COMPACT = {
    "generator_architecture": "spandrel:Compact",
    "generator_shape": '{"num_feat": 8, "num_conv": 2}',
    "scale": 2,
}


def model(system: str, **changes: object) -> Model:
    settings = override(load_system(system).Settings(), {"width": 8, **changes})
    record = read_json(to_json(settings))
    torch.manual_seed(0)
    made = grown(record, len(settings.stages) - 1)
    return deployed(made, system, finished(made.settings, len(settings.stages) - 1))


def exported(found: Model, path: Path) -> Path:
    options = ExportOptions("", str(path), file_format=path.suffix[1:])
    export(options, FoundModel(found, "here"))
    return path


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize(
    ("system", "changes"), [("srgan", {}), ("progressive_gan_sr", {}), ("srgan", COMPACT)]
)
def test_it_is_the_same_network(system: str, changes: dict, suffix: str, tmp_path: Path):
    mine = model(system, **changes)
    read = find_model(str(exported(mine, tmp_path / f"file.{suffix}")), None).model
    assert (read.system, read.stage, read.scale) == (system, mine.stage, mine.scale)
    image = torch.rand(1, 3, 12, 8) * 2 - 1
    with torch.inference_mode():
        assert torch.equal(read.network(image), mine.network(image))


def changed(path: Path, **about: str) -> Path:
    """A copy of a file whose record says something else."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        found = dict(file.metadata()) | about
    save_file(load_file(path), path.with_name("changed.safetensors"), found)
    return path.with_name("changed.safetensors")


def test_a_record_that_does_not_fit_is_refused(tmp_path: Path):
    path = exported(model("srgan"), tmp_path / "file.safetensors")
    unknown = json.dumps({"schema": 1, "system": "nothing", "settings": {}})
    wider = to_json(override(load_system("srgan").Settings(), {"width": 16}))
    for about, message in (
        ({"settings": "{"}, "its record cannot be read"),
        ({"settings": "[" * 100000}, "its record cannot be read|nested"),
        ({"stage": "x"}, "its record cannot be read"),
        ({"stage": "9"}, "stage = 9: the settings have stages 0 to"),
        ({"settings": wider}, "its weights are not of stage"),
        ({"settings": unknown}, "nothing|read"),
    ):
        with pytest.raises(SettingsError, match=message):
            from_exported(changed(path, **about))


def test_code_that_it_names_is_not_run(tmp_path: Path):
    planted = tmp_path / "planted.py"
    planted.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    path = exported(model("srgan"), tmp_path / "file.safetensors")
    record = json.loads(to_json(load_system("srgan").Settings()))
    record["system"] = f"{planted}:Own"
    with pytest.raises(UntrustedCode):
        from_exported(changed(path, settings=json.dumps(record)))
    assert not (tmp_path / "ran").exists()


def test_other_files_have_no_record(tmp_path: Path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "plain.safetensors")
    torch.save({"params": {"weight": torch.zeros(2)}}, tmp_path / "plain.pth")
    (tmp_path / "text.safetensors").write_text("no tensors")
    (tmp_path / "text.pth").write_text("no tensors")
    for name in ("plain.safetensors", "plain.pth", "text.safetensors", "text.pth"):
        assert from_exported(tmp_path / name) is None
