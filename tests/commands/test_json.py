"""`--json`: one document on standard output, as docs/inference.md says, however a command ends."""

import csv
import json
import os
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import ganforge
from generators import write_folder
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from small import SYSTEM

from ganforge.api.start import changes
from ganforge.commands import results
from ganforge.commands.evaluate import BenchmarkResult, EvaluateResult, FolderResult
from ganforge.commands.json_document import SCHEMA, document
from ganforge.commands.upscale import ImageOutcome, UpscaleResult, _Batch
from ganforge.doctor.findings import Finding
from ganforge.inference.benchmark import ImageMetrics
from ganforge.inference.naturalness import ImageNaturalness

ROOT = Path(__file__).parents[2]
results.Finding = Finding  # pyright: ignore[reportAttributeAccessIssue]  # read for types alone there
OBJECTS: dict[str, Any] = {
    "result of `upscale`": UpscaleResult,
    "image outcome": ImageOutcome,
    "result of `evaluate`": EvaluateResult,
    "benchmark": BenchmarkResult,
    "metrics": ImageMetrics,
    "folder": FolderResult,
    "naturalness": ImageNaturalness,
    "result of `doctor`": results.DoctorResult,
    "finding": Finding,
    "result of `train`": results.TrainResult,
    "stage outcome": results.StageOutcome,
    "result of `tune`": results.TuneResult,
    "trial outcome": results.TrialOutcome,
    "result of `reproduce`": results.ReproduceResult,
    "stage verdict": results.StageVerdict,
}
SETTINGS = {
    "images_per_epoch": 16,
    "width": 4,
    "batch_size": 4,
    "stages": {"0": {"epochs": 1}},
    "validation": {"images": 1, "samples": 1, "max_side": 32, "sliced_wasserstein": False},
    "reports_per_stage": 2,
}


def checked(text: str, command: str, *, ok: bool = True) -> dict[str, Any]:
    """The result in a document that is as it is described: these fields, of these types."""
    found = json.loads(text)
    assert text.isascii() and list(found) == ["schema", "command", "ok", "error", "result"]
    assert (found["schema"], found["command"], found["ok"]) == (SCHEMA, command, ok)
    kind = OBJECTS[f"result of `{command}`"]
    if found["result"] is not None:
        TypeAdapter(kind).validate_json(json.dumps(found["result"]), strict=True)
        same_fields(kind, found["result"])
    return found


def same_fields(kind: Any, found: dict[str, Any]) -> None:
    """Every field and no other; inside lists of objects too."""
    assert list(found) == [field.name for field in fields(kind)]
    by_fields = {tuple(field.name for field in fields(one)): one for one in OBJECTS.values()}
    for value in found.values():
        for inner in value if isinstance(value, list) else []:
            if isinstance(inner, dict):
                assert tuple(inner) in by_fields, inner


def test_the_page_lists_every_field_of_every_object():
    page = (ROOT / "docs" / "inference.md").read_text()
    rows = dict(re.findall(r"^\| ([^|]+?) \| (`.+) \|$", page, re.MULTILINE))
    for name, kind in OBJECTS.items():
        assert is_dataclass(kind)
        listed = re.findall(r"`(\w+)`", rows[name])
        assert listed == [field.name for field in fields(kind)], name


def test_the_check_sees_a_field_too_many_and_another_type():
    with pytest.raises(ValidationError):
        TypeAdapter(ImageOutcome).validate_json('{"source": 1, "target": "", "status": ""}')
    with pytest.raises(AssertionError):
        same_fields(Finding, {"subject": "", "verdict": "ok", "message": "", "fix": "", "more": 1})


def test_plain_values_names_and_numbers_that_are_none(capsys):
    with document("upscale", asked=True) as made:
        print("for people")
        made.result = {
            "nan": float("nan"),
            "path": Path("a"),
            "name": "caf\udce9 \x1b[31m \x7f",
            "level": np.float32(2.5),
            "tuple": (1, True, None),
        }
    printed = capsys.readouterr()
    assert printed.err == "for people\n" and printed.out.isascii() and "\x7f" not in printed.out
    assert json.loads(printed.out)["result"] == {
        "nan": None,
        "path": "a",
        "name": "caf\udce9 \x1b[31m \x7f",
        "level": 2.5,
        "tuple": [1, True, None],
    }


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a\nb"), SystemExit(3)])
def test_a_document_is_printed_however_a_command_ends(error, capsys):
    with pytest.raises(type(error)), document("train", asked=True):
        raise error
    found = checked(capsys.readouterr().out, "train", ok=False)
    text = {KeyboardInterrupt: "interrupted", ValueError: "a"}.get(type(error))
    assert found["error"] == text and found["result"] is None


def test_options_that_are_refused_give_a_document(capsys, tmp_path):
    for words, said in (
        (("upscale", tmp_path, "--output", tmp_path / "o", "--json"), "--model"),
        (("evaluate", "--json"), "--benchmark"),
        (("upscale", tmp_path, "--model", "m", "--output", "o", "--width", "0", "--json"), "width"),
    ):
        assert ganforge(*words) == 2
        found = checked(capsys.readouterr().out, words[0], ok=False)
        assert said in found["error"] and found["result"] is None
    assert ganforge("evaluate") == 2
    assert capsys.readouterr().out == ""


def test_an_interrupt_of_upscale_names_what_was_made(model, tmp_path, capsys, monkeypatch):
    for name in ("a.png", "b.png", "c.png"):
        image(tmp_path / "in" / name)
    made = _Batch._done

    def two(self, *arguments):
        if len(self.outcomes) == 2:
            raise KeyboardInterrupt
        return made(self, *arguments)

    monkeypatch.setattr(_Batch, "_done", two)
    words = ("upscale", tmp_path / "in", "--model", model, "--output", tmp_path / "out", "--json")
    assert ganforge(*words) == 130
    printed = capsys.readouterr()
    found = checked(printed.out, "upscale", ok=False)
    assert found["error"] == "interrupted" and found["result"]["written"] == 2
    assert [Path(one["source"]).name for one in found["result"]["images"]] == ["a.png", "b.png"]
    assert "--skip-existing makes the others" in printed.err and "--resume" not in printed.err


def test_an_interrupt_before_a_command_begins_gives_a_document(capsys, monkeypatch):
    def interrupted(name: str):
        raise KeyboardInterrupt

    monkeypatch.setattr("ganforge.commands.model_commands.module", interrupted)
    assert ganforge("upscale", "in", "--model", "m", "--output", "o", "--json") == 130
    assert checked(capsys.readouterr().out, "upscale", ok=False)["error"] == "interrupted"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("model"))


def image(path: Path, side: int = 24) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(levels).save(path)
    return path


def test_upscale_and_its_errors(model, tmp_path, capsys):
    image(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"")
    words = ("upscale", tmp_path / "in", "--model", model, "--output", tmp_path / "out", "--json")
    assert ganforge(*words) == 1
    printed = capsys.readouterr()
    found = checked(printed.out, "upscale", ok=False)["result"]
    assert [one["status"] for one in found["images"]] == ["written", "failed"]
    assert "1 of 2 images are in" in printed.err and "b.png" in found["images"][1]["message"]
    assert ganforge(*words, "--format", "gif") == 2
    found = checked(capsys.readouterr().out, "upscale", ok=False)
    assert found["error"].startswith("--format gif: must be") and found["result"] is None
    (tmp_path / "in" / "b.png").unlink()
    assert ganforge(*words, "--skip-existing") == 0
    found = checked(capsys.readouterr().out, "upscale")["result"]
    assert found["images"][0]["status"] == "skipped" and found["skipped"] == 1


def test_evaluate_as_a_document_and_as_a_table(model, tmp_path, capsys):
    for side in (40, 48):
        with Image.open(image(tmp_path / "b" / "HR" / f"{side}.png", side)) as high:
            (tmp_path / "b" / "LR").mkdir(exist_ok=True)
            half = high.resize((side // 2, side // 2), Image.Resampling.BICUBIC)
            half.save(tmp_path / "b" / "LR" / f"{side}.png")
    table = tmp_path / "metrics.csv"
    words = ("evaluate", "--model", model, "--benchmark", tmp_path / "b", "--json")
    assert ganforge(*words, "--output", table) == 0
    (luma,) = checked(capsys.readouterr().out, "evaluate")["result"]["benchmarks"]
    rows = list(csv.DictReader(table.open()))
    assert [row["name"] for row in rows] == ["40.png", "48.png", "mean"]
    for row, one in zip(rows, [*luma["images"], luma["mean"]], strict=True):
        assert float(row["psnr"]) == one["psnr"] and row["measured_on"] == "luma"
    assert ganforge(*words, "--tile", 16) == 0
    (tiles,) = checked(capsys.readouterr().out, "evaluate")["result"]["benchmarks"]
    assert tiles["mean"]["psnr"] == pytest.approx(luma["mean"]["psnr"], abs=1e-3)
    assert ganforge(*words, "--rgb", "--device", "cpu") == 0
    (colour,) = checked(capsys.readouterr().out, "evaluate")["result"]["benchmarks"]
    assert colour["mean"]["measured_on"] == "rgb"
    assert colour["mean"]["psnr_bicubic"] < luma["mean"]["psnr_bicubic"]
    assert ganforge(*words, "--output", table) == 2
    assert (
        "--overwrite replaces it" in checked(capsys.readouterr().out, "evaluate", ok=False)["error"]
    )
    assert ganforge(*words, "--output", tmp_path / "a.txt") == 2
    assert "must end in .csv" in capsys.readouterr().err
    for wrong, said in (
        ("tpu", "--device tpu: must be cpu"),
        ("cuda:99", "--device cuda:99: torch"),
    ):
        assert ganforge(*words, "--device", wrong) == 2
        assert said in capsys.readouterr().err


def test_doctor(tmp_path, capsys):
    assert ganforge("doctor", tmp_path / "none.yaml", "--json") == 1
    printed = capsys.readouterr()
    found = checked(printed.out, "doctor", ok=False)["result"]
    assert found["errors"] == 1 and "No such file" in found["checks"][0]["message"]
    assert "1 errors" in printed.err


def test_a_run_and_a_search_that_have_ended(capsys):
    from ganforge.commands.train import TrainedRun
    from ganforge.commands.tune import Searched
    from ganforge.search.result import SearchResult
    from ganforge.systems.base import Metric
    from ganforge.training.report import StageResult

    metric = Metric("validation/psnr", "max")
    stage = StageResult(0, 16, 64, 4, 1, 2.5, stage_id="s", metrics={"validation/psnr": 30.0})
    run = TrainedRun("r", "sqlite:///m.db", "runs/r", metric, stage.metrics, (stage,))
    with document("train", asked=True) as made:
        made.result = results.train_result(run)
    found = checked(capsys.readouterr().out, "train")["result"]
    assert found["score"] == 30 and found["stages"][0]["seconds"] == 2.5
    search = SearchResult("x", None, (), None, "runs/x", interrupted=True)
    with document("tune", asked=True) as made:
        made.result = results.tune_result(Searched(search, metric, "sqlite:///m.db"))
    found = checked(capsys.readouterr().out, "tune")["result"]
    assert found["interrupted"] and found["best"] is None and found["trials"] == []


@pytest.mark.ray
@pytest.mark.slow
def test_train_tune_and_reproduce_in_processes_of_their_own(images, tmp_path):
    """Nothing that Ray or a worker prints gets between the document and its reader."""

    def run(command: str, *arguments: object) -> dict[str, Any]:
        words = [sys.executable, "-m", "ganforge", command, *map(str, arguments), "--json"]
        done = subprocess.run(
            words, capture_output=True, text=True, cwd=tmp_path, env=os.environ, timeout=250
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr  # what people read
        return checked(done.stdout, command)["result"]

    common = ["--preset", "quick", "--target", 16, "--data", images]
    common += [part for change in changes(SETTINGS) for part in ("--set", change)]
    trained = run("train", SYSTEM, *common)
    assert trained["score"] == trained["metrics"][trained["metric"]] and len(trained["stages"]) == 1
    again = run("reproduce", "--run", trained["run_id"])
    assert again["verdict"] == "identical" and again["stages"][0]["exact"]
    assert again["verdict_run"] != again["run_id"] == trained["run_id"]
    found = run("tune", SYSTEM, *common, "--trials", 2, "--experiment", "searched")
    assert found["best"] in (0, 1) and len(found["trials"]) == 2
    assert found["trials"][found["best"]]["score"] is not None
