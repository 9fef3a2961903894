"""`reproduce` proves a record, and refuses what is not the recorded run, naming the difference."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from generators import record_run
from mlflow import MlflowClient
from PIL import Image
from run_files import log_files

import ganforge
from ganforge.commands.cli import main
from ganforge.settings import override, to_json
from ganforge.systems.progressive_gan_sr import ProgressiveGANSR
from ganforge.tracking.artifacts import input_files
from ganforge.tracking.preference import Choice, record_choices
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
    log_files(tracking, input_files(prepared))
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


def test_the_preferred_run_is_the_one_that_is_repeated(tmp_path, capsys):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    better, worse = (record_run(uri, "chosen", psnr) for psnr in (20.0, 40.0))
    reproduce("--experiment", "chosen", "--metric", "preference", "--tracking-uri", uri, code=2)
    assert "no run has the metric preference" in capsys.readouterr().err
    record_choices(uri, [Choice("0" * 16, better, worse, "first", 0, 100)])
    # of these runs weights alone are recorded: which one it is, is said before that is seen
    reproduce("--experiment", "chosen", "--metric", "preference", "--tracking-uri", uri, code=2)
    printed = capsys.readouterr()
    assert better in printed.out + printed.err and worse not in printed.out + printed.err


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
    reproduce("--run", run_id, "--tracking-uri", uri, code=2)
    told = capsys.readouterr().out
    assert "data differs: image 3.png: changed" in told and "2.png" not in told


def test_a_changed_setting_is_refused_and_named(recorded, tiny, capsys):
    uri, run_id, copy = recorded
    path = artifacts(uri, run_id) / "settings.json"
    changed = override(tiny(data__root=str(copy)), {"critic.learning_rate": 0.002})
    path.write_text(to_json(changed))
    reproduce("--run", run_id, "--tracking-uri", uri, code=2)
    assert "critic.learning_rate: recorded 0.001, here 0.002" in capsys.readouterr().out


def with_changed_code(
    words: list[str], place: Path, changes: dict[str, tuple[str, str]]
) -> subprocess.CompletedProcess[str]:
    """The command line of a copy of the package in which texts of files are changed."""
    shutil.copytree(PACKAGE, place / "ganforge", ignore=shutil.ignore_patterns("__pycache__"))
    for name, (old, new) in changes.items():
        path = place / "ganforge" / name
        text = path.read_text()
        assert old in text, f"{name} has no {old}"
        path.write_text(text.replace(old, new))
    environment = os.environ | {"PYTHONPATH": str(place)}
    return subprocess.run(
        [sys.executable, "-m", "ganforge", *words], env=environment, capture_output=True, text=True
    )


def test_changed_comments_grids_and_metrics_are_explained_and_identical(recorded, tmp_path):
    uri, run_id, _ = recorded
    words = ["reproduce", "--run", run_id, "--tracking-uri", uri]
    changes = {
        "training/loop.py": ('"""The only training loop.', '"""# Another docstring.'),
        "training/grid.py": ("PAPER = (96, 96, 96)", "PAPER = (90, 90, 90)"),
        "metrics/image_quality.py": ("SIGMA = 1.5", "SIGMA = 1.4"),
    }
    done = with_changed_code(words, tmp_path / "copy", changes)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2/2 stages identical" in done.stdout and "code differs" not in done.stdout
    assert "validation/ssim: recorded" in done.stdout
    assert "measured by other code: metrics.image_quality.SIGMA" in done.stdout


def test_other_code_of_equal_bits_is_listed_and_identical_and_strict_refuses_it(recorded, tmp_path):
    uri, run_id, _ = recorded
    words = ["reproduce", "--run", run_id, "--tracking-uri", uri]
    line = {"training/loop.py": ("% 10 == 0", "% 11 == 0")}
    tried = with_changed_code(words, tmp_path / "line", line)
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert "code differs: training.loop.read_at_once: recorded" in tried.stdout
    assert "2/2 stages identical" in tried.stdout
    refused = with_changed_code([*words, "--strict"], tmp_path / "strict", line)
    assert refused.returncode == 2 and "refused" in refused.stdout
    words += ["--strict", "--accept", "code"]
    accepted = with_changed_code(words, tmp_path / "accepted", line)
    assert accepted.returncode == 0 and "code is accepted" in accepted.stdout


def test_a_changed_loss_stops_at_the_first_stored_state(recorded, tmp_path):
    uri, run_id, _ = recorded
    words = ["reproduce", "--run", run_id, "--tracking-uri", uri]
    loss = {"losses.py": ("1e-12) - 1).square()", "1e-12) - 1.5).square()")}
    done = with_changed_code(words, tmp_path / "loss", loss)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "the state at step 5 is the first that differs" in done.stdout
    assert "critic_sha256: recorded" in done.stdout
    assert "changed code: losses._excess: recorded" in done.stdout
    assert "0/1 stages" in done.stdout


def test_a_difference_costs_less_than_a_tenth_of_the_run(tiny, tmp_path, monkeypatch, capsys):
    from ganforge.systems import progressive_gan_sr as system

    turns: list[int] = []
    real = system.gradient_penalty
    monkeypatch.setattr(system, "gradient_penalty", lambda *given: turns.append(0) or real(*given))
    settings = tiny(reports_per_stage=10)
    prepared = prepare("progressive_gan_sr", settings)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracking = open_run(uri, "long", Opening("train", "a", settings))
    recorder = Recorder(tracking, *ProgressiveGANSR.metric)
    for report in run(prepared, store=str(tmp_path / "states")):
        recorder.log(report)
    assert recorder.close()
    whole = len(turns)
    turns.clear()
    worse = lambda *given: turns.append(0) or 1.5 * real(*given)  # noqa: E731
    monkeypatch.setattr(system, "gradient_penalty", worse)
    reproduce("--run", tracking.run_id, "--tracking-uri", uri, code=1)
    assert "the state at step 1 is the first that differs" in capsys.readouterr().out
    assert 0 < len(turns) <= whole / 10


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
    from ganforge.tracking.artifacts import fetch_asset
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
