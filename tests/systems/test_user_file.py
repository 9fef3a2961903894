"""A system in a user's file: loaded, checked, shipped, recorded, done again."""

import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ganforge.settings import SettingsError, override
from ganforge.systems.catalog import (
    load_own_system,
    load_system,
    materialise,
    recorded_name,
)
from ganforge.systems.players import make_player
from ganforge.testing import check_first_weights, check_system, fresh, small
from ganforge.training.loop import grow
from ganforge.training.prepare import prepare

HERE = Path(__file__).parent / "user"


@pytest.fixture
def folder(tmp_path) -> Path:
    """The user's two files in a folder that no import path knows."""
    for name in ("my_gan.py", "terms.py"):
        shutil.copy(HERE / name, tmp_path)
    return tmp_path


def in_new_process(code: str, *words: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


CHECK = """
import sys
from ganforge.testing import check_system
if __name__ == "__main__":
    check_system(sys.argv[1], worker_counts=(2,))
    print("kept")
"""


def test_a_users_system_keeps_every_promise(folder):
    """In a process of its own, as in a user's pytest; two workers are further processes."""
    script = folder / "check.py"
    script.write_text(CHECK)
    done = subprocess.run(
        [sys.executable, str(script), f"{folder}/my_gan.py:MyGAN"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, "kept"), done.stderr


REVIVE = """
import pickle, sys
prepared = pickle.load(open(sys.argv[1], "rb"))
from ganforge.training.run import run
rows = [report.stage for report in run(prepared) if report.stage]
print(prepared.settings.margin, prepared.settings.system, rows[-1].state_sha256)
"""


def test_it_travels_to_a_machine_that_does_not_have_its_files(folder, tmp_path, monkeypatch):
    from ganforge.training.run import run

    name = f"{folder}/my_gan.py:MyGAN"
    prepared = small(name, {"margin": 1.5})
    assert sorted(prepared.sources) == ["my_gan.py", "terms.py"]
    followed = {"./my_gan.py:MyGAN.losses", "./terms.py:hinge", "systems.wgan_gp.WGANGP"}
    assert followed <= set(prepared.code)
    here = [report.stage for report in run(prepared) if report.stage][-1]
    shipped = tmp_path / "prepared"
    shipped.write_bytes(pickle.dumps(prepared))
    for path in folder.glob("*.py"):
        path.unlink()
    told = in_new_process(REVIVE, str(shipped)).split()
    assert told == ["1.5", "my_gan.py:MyGAN", here.state_sha256]


def test_its_identity_is_its_code_and_not_its_place(folder, tmp_path):
    first = small(f"{folder}/my_gan.py:MyGAN")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("my_gan.py", "terms.py"):
        shutil.copy(folder / name, elsewhere)
    second = small(f"{elsewhere}/my_gan.py:MyGAN")
    assert first.lineage().stage_ids == second.lineage().stage_ids
    text = (elsewhere / "terms.py").read_text()
    (elsewhere / "terms.py").write_text(text.replace("margin - real", "2 * margin - real"))
    changed = small(f"{elsewhere}/my_gan.py:MyGAN")
    assert changed.lineage().stage_ids != first.lineage().stage_ids
    assert [n for n in first.code if first.code[n] != changed.code[n]] == ["./terms.py:hinge"]


def test_its_settings_name_it_and_not_its_parent(folder):
    name = f"{folder}/my_gan.py:MyGAN"
    kind = load_own_system(name)
    assert kind.Settings().system == "wgan_gp"  # inherited, until it is prepared
    settings = override(kind.Settings(), kind.PRESETS["quick"])
    assert prepare(name, settings).settings.system == recorded_name(name) == "my_gan.py:MyGAN"


def test_written_down_again_it_is_the_same_file(folder):
    texts = {path.name: path.read_text() for path in folder.glob("*.py")}
    name = materialise("my_gan.py:MyGAN", texts)
    assert Path(name.partition(":")[0]).read_text() == texts["my_gan.py"]
    assert materialise("my_gan.py:MyGAN", texts) == name
    assert materialise("wgan", {}) == "wgan"
    nested = {f"a/{key}": value for key, value in texts.items()}
    assert materialise("my_gan.py:MyGAN", nested).endswith("a/my_gan.py:MyGAN")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nosuchmodule", "ModuleNotFoundError: No module named 'nosuchmodule'"),
        ("class Other: pass", "there is no class MyGAN in it"),
        ("class MyGAM: pass", "there is no class MyGAN in it; did you mean 'MyGAM'?"),
        ("class MyGAN: pass", "has no Settings, Data, metric"),
        ("def (", "SyntaxError"),
    ],
)
def test_a_file_that_is_no_system_is_said_so(tmp_path, text, message):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_own_system(f"{tmp_path}/bad.py:MyGAN")
    with pytest.raises(SettingsError, match="there is no file"):
        load_own_system(f"{tmp_path}/nothing.py:MyGAN")


OWN_WEIGHTS = """
from torch import nn

from ganforge.systems.dcgan import DCGAN


def weights_init(module):
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight.data, 0.0, 0.5)


class MyGAN(DCGAN):
    def __init__(self, settings, assets):
        super().__init__(settings, assets)
        self.apply(weights_init)
"""


def test_weights_initialised_in_the_constructor_are_trained(tmp_path):
    """The usual idiom of a DCGAN: `self.apply(weights_init)`. Its draws follow the seed."""
    (tmp_path / "own.py").write_text(OWN_WEIGHTS)
    prepared = small(f"{tmp_path}/own.py:MyGAN")
    check_first_weights(prepared)
    first = fresh(prepared)
    grow(first, prepared.plan(), 0)
    weight = first.generator.layers[0].weight
    assert 0.45 < weight.std().item() < 0.55  # DCGAN's own rule gives 0.02
    other = fresh(replace(prepared, settings=override(prepared.settings, {"seed": 1})))
    assert not torch.equal(weight, other.generator.layers[0].weight)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def __init__(self, *given):\n        super().__init__(*given)\n        "
         "self.apply(weights_init)\n\n    "
         "def grow(self, index): self.init_networks('generator')", r"grow\(0\) overwrites weights"),
        ("def grow(self, index): self.apply(weights_init)", r"grow\(0\) overwrites weights"),
        ("def __init__(self, *given):\n        super().__init__(*given)\n        "
         "self.generator.layers[0].weight.data.normal_(generator=torch.Generator().manual_seed("
         "torch.seed() % 99999))", "begin with other weights"),
    ],
)  # fmt: skip
def test_weights_that_would_be_lost_or_differ_are_named(tmp_path, body, message):
    text = OWN_WEIGHTS.partition("class MyGAN")[0]
    (tmp_path / "lost.py").write_text(f"import torch\n{text}class MyGAN(DCGAN):\n    {body}\n")
    with pytest.raises(AssertionError, match=message):
        check_system(f"{tmp_path}/lost.py:MyGAN", worker_counts=())


def test_a_player_is_named_like_the_setting_of_its_optimizer():
    settings = override(load_system("wgan_gp").Settings(), {})
    network = torch.nn.Linear(1, 1)
    with pytest.raises(SettingsError, match=r"'judge': .*wgan_gp\.Settings has no opt") as raised:
        make_player(settings, "judge", network)
    assert "generator, critic" in str(raised.value)
    assert "declare judge: Adam" in str(raised.value)
    with pytest.raises(SettingsError, match="no optimizer of that name"):
        make_player(settings, "latent_size", network)  # a setting, but not an optimizer
    with pytest.raises(SettingsError, match="every needs the setting 'pace'"):
        make_player(settings, "critic", network, every="pace")
    with pytest.raises(SettingsError, match="averaged needs the setting 'average_decay'"):
        make_player(settings, "critic", network, averaged=True)


BROKEN = """
from ganforge.systems.dcgan import DCGAN

class MyGAN(DCGAN):
    def losses(self, player, batch, progress):
        {}
"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return {'a': super().losses(player, batch, progress)['adversarial'] / 0}", "a is inf"),
        ("fake = self.generator(self.draw_latents(batch)); "
         "return {'a': fake.mean()} if player == 'generator' else {}",
         "leaves parameters of discriminator alone"),
        ("self.generator.layers[0].weight.data.add_(1); "
         "return super().losses(player, batch, progress)",
         "the turn of discriminator moves generator"),
    ],
)  # fmt: skip
def test_a_broken_promise_is_named(tmp_path, body, message):
    (tmp_path / "broken.py").write_text(BROKEN.format(body))
    with pytest.raises(AssertionError, match=message):
        check_system(f"{tmp_path}/broken.py:MyGAN", worker_counts=())
