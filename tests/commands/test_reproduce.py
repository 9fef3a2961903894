"""`reproduce` proves a record, and refuses what is not the recorded run, naming the difference."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from PIL import Image

import ganforge
from ganforge.commands.cli import main
from ganforge.settings import override, to_json
from ganforge.systems.progressive_gan_sr import ProgressiveGANSR
from ganforge.tracking.artifacts import log_files, log_inputs
from ganforge.tracking.recorder import Recorder
from ganforge.tracking.runs import Opening, end_run, open_run
from ganforge.training.prepare import prepare
from ganforge.training.run import run

PACKAGE = Path(ganforge.__file__).parent


@pytest.fixture
def recorded(tiny, images, tmp_path):
    """A finished run in a store of its own, on a copy of the images: (uri, run id, images)."""
    copy = tmp_path / "copy"
    shutil.copytree(images, copy)
    settings = tiny(data__root=str(copy))
    prepared = prepare("progressive_gan_sr", settings)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    opening = Opening("trial", "a", settings, fingerprint=prepared.facts.fingerprint)
    tracking = open_run(uri, "proof", opening)
    log_inputs(tracking, prepared)
    recorder = Recorder(tracking, *ProgressiveGANSR.metric)
    for report in run(prepared, store=str(tmp_path / "states")):
        recorder.log(report)
    assert recorder.close()
    end_run(tracking, "FINISHED", "finished")
    return uri, tracking.run_id, copy


def reproduce(*words: str, code: int) -> None:
    if code == 0:
        main_returns(["reproduce", *words])
        return
    with pytest.raises(SystemExit) as left:
        main(["reproduce", *words])
    assert left.value.code == code


def main_returns(words: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert not left.value.code


def artifacts(uri: str, run_id: str) -> Path:
    where = MlflowClient(uri).get_run(run_id).info.artifact_uri
    return Path(str(where).removeprefix("file://"))


def test_equal_from_the_store_and_the_data_alone(recorded, tmp_path, monkeypatch, capsys):
    uri, run_id, copy = recorded
    shutil.rmtree(tmp_path / "states")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    moved = elsewhere / "images"
    shutil.move(copy, moved)
    shutil.rmtree(artifacts(uri, run_id) / "stages")  # weights gone, hashes kept
    reproduce("--experiment", "proof", "--tracking-uri", uri, "--data", str(moved), code=0)
    assert "2/2 stages identical" in capsys.readouterr().out
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("proof")
    assert experiment is not None
    made = client.search_runs([experiment.experiment_id], "tags.kind = 'reproduce'")
    assert [r.data.tags["reproduces"] for r in made] == [run_id]
    assert made[0].info.status == "FINISHED" and made[0].data.tags["verdict"].startswith("2/2")


def test_a_changed_hash_is_seen(recorded, capsys):
    uri, run_id, _ = recorded
    path = artifacts(uri, run_id) / "stages.json"
    rows = json.loads(path.read_text())
    rows[1]["critic_sha256"] = "0" * 64
    path.write_text(json.dumps(rows))
    reproduce("--run", run_id, "--tracking-uri", uri, code=1)
    told = capsys.readouterr().out
    assert "critic_sha256: recorded 000000000000" in told and "1/2 stages" in told


def test_a_changed_pixel_is_refused_and_named(recorded, capsys):
    uri, run_id, copy = recorded
    path = copy / "3.png"
    image = Image.open(path)
    image.putpixel((5, 5), (1, 2, 3))
    image.save(path)
    reproduce("--run", run_id, "--tracking-uri", uri, code=1)
    told = capsys.readouterr().out
    assert "data differs: image 3.png: changed" in told and "2.png" not in told


def test_a_changed_setting_is_refused_and_named(recorded, tiny, capsys):
    uri, run_id, copy = recorded
    path = artifacts(uri, run_id) / "settings.json"
    changed = override(tiny(data__root=str(copy)), {"critic.learning_rate": 0.002})
    path.write_text(to_json(changed))
    reproduce("--run", run_id, "--tracking-uri", uri, code=1)
    assert "critic.learning_rate: recorded 0.001, here 0.002" in capsys.readouterr().out


def with_changed_code(words: list[str], place: Path, change) -> subprocess.CompletedProcess[str]:
    """The command line of a copy of the package in which training/loop.py is changed."""
    shutil.copytree(PACKAGE, place / "ganforge", ignore=shutil.ignore_patterns("__pycache__"))
    loop = place / "ganforge" / "training" / "loop.py"
    loop.write_text(change(loop.read_text()))
    environment = os.environ | {"PYTHONPATH": str(place)}
    return subprocess.run(
        [sys.executable, "-m", "ganforge", *words], env=environment, capture_output=True, text=True
    )


def test_a_changed_line_of_the_loop_is_refused_and_a_changed_comment_is_not(recorded, tmp_path):
    uri, run_id, _ = recorded
    words = ["reproduce", "--run", run_id, "--tracking-uri", uri]

    def line(text: str) -> str:
        assert "% 10 == 0" in text
        return text.replace("% 10 == 0", "% 11 == 0")

    def comment(text: str) -> str:
        changed = text.replace('"""The only training loop.', '"""# Another docstring.')
        return changed + "\n# a remark\n"

    refused = with_changed_code(words, tmp_path / "line", line)
    assert refused.returncode == 1 and "code differs: training/loop.py" in refused.stdout
    accepted = with_changed_code([*words, "--accept", "code"], tmp_path / "accepted", line)
    assert accepted.returncode == 0 and "code is accepted" in accepted.stdout
    remark = with_changed_code(words, tmp_path / "comment", comment)
    assert remark.returncode == 0, remark.stdout + remark.stderr
    assert "2/2 stages identical" in remark.stdout


def test_from_a_kept_stage_or_the_reason_why_not(recorded, tmp_path, capsys):
    uri, run_id, _ = recorded
    words = ("--run", run_id, "--tracking-uri", uri, "--from-stage", "1", "--storage")
    reproduce(*words, str(tmp_path / "states"), code=2)
    assert "was not kept" in capsys.readouterr().err


def test_a_kept_stage_is_gone_on_from(tiny, tmp_path, capsys):
    settings = tiny(keep="all")
    prepared = prepare("progressive_gan_sr", settings)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracking = open_run(uri, "kept", Opening("train", "a", settings))
    recorder = Recorder(tracking, *ProgressiveGANSR.metric)
    for report in run(prepared, store=str(tmp_path / "states")):
        recorder.log(report)
    assert recorder.close()
    words = ("--run", tracking.run_id, "--tracking-uri", uri, "--from-stage", "1")
    reproduce(*words, "--storage", str(tmp_path / "states"), code=0)
    assert "1/1 stages identical" in capsys.readouterr().out


def test_nothing_to_reproduce_is_said(recorded, tmp_path, capsys):
    uri, _, _ = recorded
    reproduce("--experiment", "nothing", "--tracking-uri", uri, code=2)
    reproduce("--experiment", "proof", "--tracking-uri", uri, "--accept", "data", code=2)
    told = capsys.readouterr().err
    assert "experiment = nothing: not in" in told and "only `code` can be accepted" in told


def test_frozen_networks_come_from_the_record(tmp_path, monkeypatch):
    import torch

    from ganforge.assets import keep, present, tensors_sha256
    from ganforge.tracking.models import fetch_asset
    from ganforge.training.checkpoint import pack

    tensors = {"features.0.weight": torch.ones(2)}
    name = "sha256:" + tensors_sha256(tensors)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    from ganforge.systems.progressive_gan_sr import Settings

    parent = open_run(uri, "assets", Opening("search", "p", Settings()))
    child = open_run(uri, "assets", Opening("trial", "c", Settings(), parent=parent.run_id))
    assert fetch_asset(uri, child.run_id, name) is None
    log_files(parent, {f"assets/{name.removeprefix('sha256:')}.safetensors": pack(tensors)})
    content = fetch_asset(uri, child.run_id, name)
    assert content == pack(tensors)
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "cache"))
    assert not present(name)
    keep(name, tensors)
    assert present(name)
    assert mlflow.active_run() is None
