"""A system in a user's file: loaded, checked, shipped, recorded, done again."""

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ganforge.settings import SettingsError, override
from ganforge.systems.catalog import load_system, materialise, recorded_name
from ganforge.testing import check_system, small
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
    check_system(sys.argv[1], worlds=(2,))
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
    assert told == ["1.5", "my_gan.py:MyGAN", here["state_sha256"]]


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
    kind = load_system(name)
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
        ("class MyGAN: pass", "has no Settings, Data, metric"),
        ("def (", "SyntaxError"),
    ],
)
def test_a_file_that_is_no_system_is_said_so(tmp_path, text, message):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_system(f"{tmp_path}/bad.py:MyGAN")
    with pytest.raises(SettingsError, match="there is no file"):
        load_system(f"{tmp_path}/nothing.py:MyGAN")


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
        ("return {'a': self.generator(self.draw(batch)).mean()} if player == 'generator' else {}",
         "leaves parameters of discriminator alone"),
        ("self.generator.layers[0].weight.data.add_(1); "
         "return super().losses(player, batch, progress)",
         "the turn of discriminator moves generator"),
    ],
)  # fmt: skip
def test_a_broken_promise_is_named(tmp_path, body, message):
    (tmp_path / "broken.py").write_text(BROKEN.format(body))
    with pytest.raises(AssertionError, match=message):
        check_system(f"{tmp_path}/broken.py:MyGAN", worlds=())
