"""The commands on a cluster: train, resume, evaluate, reproduce."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from PIL import Image
from small import tiny

from ganforge.commands.cli import main
from ganforge.settings import to_json

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
