"""Code that a record names does not run unless the user, or this machine before, has trusted it.

The attacker writes to the tracking store, a folder of weights or a checkpoint; each record names a
Python file that would leave a mark where it is imported.
"""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from run_files import log_files

from ganforge.commands.cli import main
from ganforge.inference.model import admitted
from ganforge.inference.stored import from_snapshot
from ganforge.schedule import Progress, Stage
from ganforge.settings import SettingsError, override, to_json
from ganforge.systems.catalog import load_own_system, load_system, materialise
from ganforge.systems.dcgan import DCGAN
from ganforge.systems.settings import StageSettings
from ganforge.systems.srgan import SRGAN
from ganforge.systems.trust import UntrustedCode, is_trusted, sources_sha256, trust, trust_file
from ganforge.testing import small
from ganforge.tracking.client import open_client
from ganforge.tracking.runs import Opening, end_run, open_run
from ganforge.training.checkpoint import Snapshot, pack

EVIL = """
import os
from pathlib import Path

import sibling_of_evil
from ganforge.systems.{module} import {base}

Path(os.environ["GANFORGE_TEST_MARK"]).touch()


class Evil({base}):
    pass
"""
SIBLING = "NAME = 'imported by evil.py'\n"
SOURCES = {"evil.py": EVIL.format(module="dcgan", base="DCGAN"), "sibling_of_evil.py": SIBLING}
FROM_IMAGES = SOURCES | {"evil.py": EVIL.format(module="srgan", base="SRGAN")}
SMALL = {"features": 4, "latent_size": 8, "stages": (StageSettings(resolution=16),)}


@pytest.fixture(autouse=True)
def mark(tmp_path, monkeypatch) -> Path:
    """The file that the code would leave; each test trusts nothing to begin with."""
    path = tmp_path / "mark"
    monkeypatch.setenv("GANFORGE_TEST_MARK", str(path))
    monkeypatch.setenv("GANFORGE_TRUST", str(tmp_path / "trusted_code.jsonl"))
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "cache"))
    return path


def generator() -> tuple[str, bytes]:
    """settings.json and weights of a DCGAN, as of the system Evil."""
    settings = override(DCGAN.Settings(), SMALL)
    system = DCGAN(settings, {})
    system.grow(0)
    for player in system.players:
        player.follow()
    progress = Progress(0, Stage(16, 1, 0, 8, 4), 1, settings.at(0), False, torch.tensor(1.0))
    weights = pack(dict(system.deploy(progress).state_dict()))
    return to_json(settings.model_copy(update={"system": "evil.py:Evil"})), weights


def write_weights(folder: Path, system: str) -> Path:
    text, weights = generator()
    (folder / "stages" / "0").mkdir(parents=True)
    (folder / "stages" / "0" / "generator.safetensors").write_bytes(weights)
    (folder / "settings.json").write_text(json.dumps(json.loads(text) | {"system": system}))
    return folder


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


def record(uri: str, experiment: str, kind: type, sources: dict[str, str]) -> str:
    """A run that anyone may have logged, with the best figure there is; its id."""
    settings = override(kind.Settings(), {"stages": (StageSettings(resolution=16),)})
    settings = settings.model_copy(update={"system": "evil.py:Evil"})
    opening = Opening("train", "a run", settings, fingerprint="f" * 64)
    run = open_run(uri, experiment, opening)
    weights = generator()[1] if kind is DCGAN else b""
    rows = [{"index": 0, "resolution": 16, "metrics": {kind.metric.name: 1e6}}]
    files = {
        "stages/0/generator.safetensors": weights,
        "stages.json": json.dumps(rows).encode(),
        **{f"source/{path}": text.encode() for path, text in sources.items()},
    }
    if kind is DCGAN:
        files["settings.json"] = generator()[0].encode()
    log_files(run, files)
    end_run(run, "FINISHED", "finished", metrics={kind.metric.name: 1e6})
    return run.run_id


@pytest.fixture(scope="module")
def from_noise(uri) -> str:
    return record(uri, "noise", DCGAN, SOURCES)


@pytest.fixture(scope="module")
def from_images(uri) -> str:
    return record(uri, "images", SRGAN, FROM_IMAGES)


def ganforge(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def image(folder: Path, side: int = 32) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "a.png"
    Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    "command",
    ["upscale", "evaluate", "export", "register", "interpolate", "reproduce", "reproduce the best"],
)
def test_a_run_does_not_bring_code(command, uri, from_images, tmp_path, capsys, mark):
    image(tmp_path / "b" / "HR")
    image(tmp_path / "b" / "LR", 16)
    model = ("--model", from_images)
    words = {
        "upscale": (image(tmp_path / "in"), *model, "--output", tmp_path / "out"),
        "evaluate": ("--benchmark", tmp_path / "b", *model),
        "export": (*model, "--output", tmp_path / "g.onnx"),
        "register": model,
        "interpolate": (*model, "--output", tmp_path / "between", "--stage", 0),
        "reproduce": ("--run", from_images),
        "reproduce the best": ("--experiment", "images"),
    }[command]
    assert ganforge(command.split()[0], *words, "--tracking-uri", uri) == 2
    assert not mark.exists()
    error = capsys.readouterr().err
    for part in (
        "class Evil in evil.py with sibling_of_evil.py",
        f"{sum(map(len, FROM_IMAGES.values()))} bytes",
        f"sha256 {sources_sha256(FROM_IMAGES)}",
        f"from run {from_images} of {uri}",
        "--trust-code",
    ):
        assert part in error
    # where it says that the code can be read, it can
    folder = Path(error.partition("read it in ")[2].partition(",")[0])
    assert {p.name: p.read_text() for p in folder.iterdir()} == FROM_IMAGES


def test_code_that_the_user_trusts_runs_and_is_trusted_until_it_changes(
    uri, from_noise, tmp_path, capsys, mark
):
    words = ("sample", "--model", from_noise, "--count", 1, "--tracking-uri", uri)
    assert ganforge(*words, "--output", tmp_path / "a") == 2
    assert not mark.exists()
    assert ganforge(*words, "--output", tmp_path / "a", "--trust-code") == 0
    assert mark.exists()
    assert "runs class Evil in evil.py with sibling_of_evil.py" in capsys.readouterr().err
    assert ganforge(*words, "--output", tmp_path / "b") == 0
    (entry,) = map(json.loads, trust_file().read_text().splitlines())
    assert entry["sha256"] == sources_sha256(SOURCES) and from_noise in entry["from"]
    # the same main file with another sibling is other code
    other = record(uri, "other", DCGAN, SOURCES | {"sibling_of_evil.py": "NAME = 'another'\n"})
    words = ("sample", "--model", other, "--count", 1, "--tracking-uri", uri)
    assert ganforge(*words, "--output", tmp_path / "c") == 2


@pytest.mark.parametrize("where", ["beside", "elsewhere", "the working directory"])
def test_a_folder_of_weights_does_not_bring_code(where, tmp_path, monkeypatch, capsys, mark):
    code = tmp_path / ("model/source" if where == "beside" else "code")
    code.mkdir(parents=True)
    for name, text in SOURCES.items():
        (code / name).write_text(text)
    monkeypatch.chdir(code)
    folder = write_weights(
        tmp_path / "model", f"{code}/evil.py:Evil" if where == "elsewhere" else "evil.py:Evil"
    )
    words = ("sample", "--count", 1, "--output", tmp_path / "out", "--model", folder)
    assert ganforge(*words) == 2
    assert not mark.exists()
    assert f"({sum(map(len, SOURCES.values()))} bytes" in capsys.readouterr().err
    assert ganforge(*words, "--trust-code") == 0
    assert mark.exists()


def test_a_registered_model_does_not_bring_code(uri, from_noise, tmp_path, mark):
    folder = write_weights(tmp_path / "model", "evil.py:Evil")
    (folder / "source").mkdir()
    for name, text in SOURCES.items():
        (folder / "source" / name).write_text(text)
    client = open_client(uri)
    client.create_registered_model("gift")
    client.create_model_version("gift", folder.as_uri(), from_noise)
    words = ("sample", "--model", "models:/gift/1", "--count", 1, "--tracking-uri", uri)
    assert ganforge(*words, "--output", tmp_path / "out") == 2
    assert not mark.exists()
    assert ganforge(*words, "--output", tmp_path / "out", "--trust-code") == 0


def test_a_checkpoint_does_not_bring_code(tmp_path, mark):
    for name, text in SOURCES.items():
        (tmp_path / name).write_text(text)
    name = f"{tmp_path}/evil.py:Evil"
    settings = json.loads(generator()[0]) | {"system": name}
    manifest = {"index": 0, "step": 1, "settings": settings, "stage": {}}
    with pytest.raises(UntrustedCode, match=r"class Evil in evil\.py.*from a bucket"):
        from_snapshot(Snapshot({}, manifest), "a bucket")
    old = {"index": 0, "step": 1, "identity": {"stages.0: system": name}}
    with pytest.raises(UntrustedCode, match=r"class Evil in evil\.py.*from a bucket"):
        from_snapshot(Snapshot({}, old), "a bucket")
    assert not mark.exists()


def test_a_settings_file_does_not_bring_code(tmp_path, capsys, mark):
    for name, text in SOURCES.items():
        (tmp_path / name).write_text(text)
    name = f"{tmp_path}/evil.py:Evil"
    (tmp_path / "settings.json").write_text(json.dumps({"system": name, "settings": {}}))
    words = ("--settings", tmp_path / "settings.json", "--dry-run")
    assert ganforge("train", *words) == 2
    assert "name that file with the command, FILE.py:Class" in capsys.readouterr().err
    assert not mark.exists()
    # the user names it: that is enough
    (tmp_path / "settings.json").write_text('{"system": "evil.py:Evil", "settings": {}}')
    assert ganforge("train", name, *words) == 0
    assert mark.exists()


@pytest.mark.parametrize("name", ["os:system", "os.path:join", "subprocess:run", "evil:Evil"])
def test_a_record_names_no_module(name, tmp_path, capsys, monkeypatch, mark):
    """Only a system of this package, or one that an installed package has registered."""
    (tmp_path / "evil.py").write_text(SOURCES["evil.py"])
    (tmp_path / "sibling_of_evil.py").write_text(SIBLING)
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = write_weights(tmp_path / "model", name)
    assert ganforge("sample", "--model", folder, "--output", tmp_path / "out") == 2
    assert f"unknown system '{name}'" in capsys.readouterr().err
    assert not mark.exists()


def test_a_users_own_runs_are_trusted(tmp_path, monkeypatch, mark):
    """What the user named for a run may be used from its record, on this machine."""
    for name, text in SOURCES.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UntrustedCode):
        load_system(f"{tmp_path}/evil.py:Evil")
    prepared = small(f"{tmp_path}/evil.py:Evil")
    assert is_trusted(sources_sha256(prepared.sources))
    folder = write_weights(tmp_path / "model", "evil.py:Evil")
    monkeypatch.chdir(tmp_path)
    assert ganforge("sample", "--model", folder, "--output", tmp_path / "out", "--count", 1) == 0


def test_only_the_text_that_was_trusted_is_imported(tmp_path):
    """Not what lies next to it: a module that no text names, or a compiled file that Python
    prefers."""
    text = (
        "import importlib\nfrom ganforge.systems.dcgan import DCGAN\n"
        "class Evil(DCGAN):\n    pass\n"
        "try:\n    importlib.import_module('plan' + 'ted')\nexcept ImportError:\n    pass\n"
    )
    (tmp_path / "chatty.py").write_text(text)
    trust(sources_sha256({"chatty.py": text}), "a test")
    mark = Path(os.environ["GANFORGE_TEST_MARK"])
    (tmp_path / "planted.py").write_text(f"open({str(mark)!r}, 'w')\n")
    name = admitted(f"{tmp_path}/chatty.py:Evil", "a folder", trust_code=False)
    assert load_system(name).__name__ == "Evil"
    assert not mark.exists()


def test_a_text_changed_after_it_was_trusted_is_refused(tmp_path, mark):
    trust(sources_sha256(SOURCES), "a test")
    name = materialise("evil.py:Evil", SOURCES)
    file = Path(name.rpartition(":")[0])
    file.write_text(file.read_text() + "# more\n")
    with pytest.raises(UntrustedCode):
        load_system(name)
    assert not mark.exists()


@pytest.mark.parametrize("path", ["../x.py", "/tmp/x.py", "a/../../x.py", "x.pth", "a//x.py", "."])
def test_recorded_paths_stay_in_their_folder(path, tmp_path):
    with pytest.raises(SettingsError, match="is not the path of a Python file below them"):
        materialise("evil.py:Evil", {"evil.py": "", path: "planted"})
    assert not list(tmp_path.rglob("x.p*"))


def test_files_of_a_record_that_are_no_text_get_one_line(uri, tmp_path, capsys):
    run = record(uri, "bytes", DCGAN, {"evil.py": "\0"})
    from ganforge.tracking.run_ref import RunRef

    log_files(RunRef(uri, run), {"source/__pycache__/evil.pyc": b"\xcb\x0d\x0d\x0a\xff"})
    assert ganforge("sample", "--model", run, "--tracking-uri", uri) == 2
    assert "not all Python files in UTF-8" in capsys.readouterr().err


def test_the_list_is_the_users_alone(tmp_path):
    trust("a" * 64, "a test of sqlite://me:secret@host/db")
    assert stat.S_IMODE(trust_file().stat().st_mode) == 0o600
    assert is_trusted("a" * 64) and not is_trusted("b" * 64)
    assert "secret" not in trust_file().read_text()
    trust_file().chmod(0o622)
    with pytest.raises(SettingsError, match="another user owns it or may write it"):
        is_trusted("a" * 64)
    trust_file().chmod(0o600)
    with trust_file().open("a") as file:  # torn by a full disk
        file.write('{"sha256": "dd')
    trust("c" * 64, "a test")
    assert is_trusted("a" * 64) and is_trusted("c" * 64) and not is_trusted("dd")


def test_many_processes_may_trust_at_once():
    names = [f"{number:064x}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:  # a lock is held per open file, as by processes
        list(pool.map(lambda name: trust(name, "a test"), names * 2))
    lines = trust_file().read_text().splitlines()
    assert {json.loads(line)["sha256"] for line in lines} == set(names)


def test_two_files_of_one_name_are_two_systems(tmp_path):
    for folder, base in (("a", "DCGAN"), ("b", "SRGAN")):
        (tmp_path / folder).mkdir()
        module = base.lower()
        text = f"from ganforge.systems.{module} import {base}\nclass Mine({base}): pass\n"
        (tmp_path / folder / "mine.py").write_text(text)
    first = load_own_system(f"{tmp_path}/a/mine.py:Mine")
    second = load_own_system(f"{tmp_path}/b/mine.py:Mine")
    assert issubclass(first, DCGAN) and issubclass(second, SRGAN)
    assert load_system(f"{tmp_path}/a/mine.py:Mine") is first
