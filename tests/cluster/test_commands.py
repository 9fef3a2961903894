"""The commands on a cluster: train, resume, evaluate, reproduce."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from PIL import Image
from small import tiny

from ganforge.commands.cli import main
from ganforge.settings import to_json
from ganforge.tracking.queries import fetch_settings

# slow: two trainings by two workers; .ci/run runs it by name
pytestmark = [pytest.mark.ray, pytest.mark.slow]


def ganforge(*arguments: str, code: int = 0) -> None:
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    assert (left.value.code or 0) == code


def benchmark(folder: Path) -> Path:
    """Two images and their halves, in the folders of a benchmark."""
    for name in ("HR", "LR"):
        (folder / name).mkdir(parents=True)
    for number in range(2):
        high = Image.radial_gradient("L").resize((64, 48 + 16 * number)).convert("RGB")
        high.save(folder / "HR" / f"{number}.png")
        half = (high.width // 2, high.height // 2)
        high.resize(half, Image.Resampling.BICUBIC).save(folder / "LR" / f"{number}.png")
    return folder


def test_train_resume_evaluate_and_reproduce(cluster: None, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = tmp_path / "settings.json"
    settings.write_text(to_json(tiny(stages=2)))
    arguments = ("train", "--settings", str(settings), "--workers", "2")
    ganforge(*arguments)
    output = capsys.readouterr().out
    assert "stage 2/2 (16 px)" in output and "ganforge reproduce --run" in output
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("ganforge").experiment_id
    (run,) = client.search_runs([experiment])
    assert (run.info.status, run.data.tags["outcome"]) == ("FINISHED", "finished")
    assert Path(run.data.tags["storage"]).is_dir()

    ganforge(*arguments, "--resume")  # a finished run resumes to itself
    ganforge(*arguments, "--set", "critic_steps=2", "--resume", code=2)
    assert "critic_steps: recorded 1, here 2" in capsys.readouterr().err
    (again,) = client.search_runs([experiment])
    assert again.info.run_id == run.info.run_id and again.info.status == "FINISHED"

    ganforge("evaluate", "--model", run.info.run_id, "--benchmark", str(benchmark(tmp_path / "b")))
    assert "bicubic" in capsys.readouterr().out
    ganforge("reproduce")
    assert "2/2 stages identical" in capsys.readouterr().out


def test_a_search_that_begins_with_a_run_is_reproduced_elsewhere(
    cluster: None, tmp_path: Path, capsys, monkeypatch
):
    """Trained, tuned from there, and its best trial trained again from MLflow alone, on a machine
    that has neither the first run's storage nor its weights."""
    monkeypatch.chdir(tmp_path)
    settings, space = tmp_path / "settings.json", tmp_path / "space.py"
    settings.write_text(to_json(tiny(stages=1)))
    space.write_text(
        "from ray import tune\nSPACE = {'generator.learning_rate': tune.loguniform(1e-4, 1e-3)}\n"
    )
    ganforge("train", "--settings", str(settings), "--experiment", "first")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (first,) = client.search_runs([client.get_experiment_by_name("first").experiment_id])
    arguments = ("tune", "--settings", str(settings), "--space", str(space), "--trials", "2")
    ganforge(*arguments, "--from", first.info.run_id, "--experiment", "fine")
    runs = client.search_runs([client.get_experiment_by_name("fine").experiment_id])
    trials = [run for run in runs if "trial" in run.data.tags]
    assert len(trials) == 2
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    records = [fetch_settings(uri, run.info.run_id)["settings"] for run in trials]
    names = {record["initial_weights"] for record in records}
    assert len(names) == 1 and names.pop().startswith("sha256:")
    capsys.readouterr()
    shutil.rmtree(tmp_path / "ganforge-runs")
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "elsewhere"))
    ganforge("reproduce", "--experiment", "fine")
    assert "1/1 stages identical" in capsys.readouterr().out
