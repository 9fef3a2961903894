"""The complaints that people have about MLflow under Ray, each as a test of one small search.

The search's driver is a process of its own. It is killed with SIGKILL, and looked at; then it is
resumed, ended with SIGTERM, and looked at; then it is resumed and runs to its end.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow.entities import Run

from ganforge.tracking.client import open_client
from ganforge.tracking.outbox.log import FILE
from ganforge.tracking.queries import fetch_settings, fetch_stages
from ganforge.tracking.runs import close_orphans

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TRIALS = 3
EXPERIMENT = "killed"


@dataclass
class Story:
    """What the store held after each act."""

    place: Path
    killed: dict[str, Run]
    reaped: dict[str, Run]
    terminated: dict[str, Run]
    ended: dict[str, Run]
    code: int

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.place}/mlflow.db"

    def points(self, name: str) -> Counter[tuple[str, int, float]]:
        client, run = open_client(self.uri), self.ended[name]
        return Counter(
            (point.key, point.step, point.timestamp)
            for key in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, key)
        )


def begin(place: Path, *words: str) -> "subprocess.Popen[bytes]":
    script = Path(__file__).parents[1] / "helpers" / "driver.py"
    command = [sys.executable, str(script), str(place), str(TRIALS), *words]
    environment = os.environ | {"RAY_ADDRESS": "local"}
    return subprocess.Popen(command, start_new_session=True, env=environment)


def runs(place: Path) -> dict[str, Run]:
    """All runs of the experiment by name."""
    client = open_client(f"sqlite:///{place}/mlflow.db")
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        return {}
    listed = client.search_runs([found.experiment_id])
    assert len({run.info.run_name for run in listed}) == len(listed), "a run was opened twice"
    return {run.info.run_name or "": run for run in listed}


def wait_for_reports(place: Path, number: int, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 300
    while time.monotonic() < until and process.poll() is None:
        time.sleep(0.1)
        reports = [line for f in place.rglob(f"tracking/{FILE}") for line in f.open()]
        if len(reports) >= number:
            return
    raise AssertionError(f"no {number} reports; the driver's exit code is {process.poll()}")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    place = tmp_path_factory.mktemp("search")
    process = begin(place)
    wait_for_reports(place, 2, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    killed = runs(place)
    close_orphans(f"sqlite:///{place}/mlflow.db", EXPERIMENT)  # as any search in this store does
    reaped = runs(place)
    process = begin(place, "--resume")
    wait_for_reports(place, 9, process)
    process.terminate()
    code = process.wait(60)
    terminated = runs(place)
    assert begin(place, "--resume").wait(500) == 0
    return Story(place, killed, reaped, terminated, runs(place), code)


def test_status_right_after_sigkill(story: Story) -> None:
    assert {run.info.status for run in story.killed.values()} == {"RUNNING"}
    assert {run.info.status for run in story.reaped.values()} == {"KILLED"}
    for run in story.reaped.values():
        assert run.data.tags["outcome"] == "failed: its driver died"
        assert run.info.end_time


def test_status_right_after_sigterm(story: Story) -> None:
    assert story.code == 143
    states = {name: run.info.status for name, run in story.terminated.items()}
    journal = next(story.place.glob("storage/*/journal.jsonl")).read_text().splitlines()
    assert any(json.loads(line)["event"] == "ended" for line in journal)
    assert states[search_name(story)] == "KILLED"
    assert set(states.values()) <= {"KILLED", "FINISHED"}
    assert story.terminated[search_name(story)].data.tags["outcome"] == "interrupted"


def test_trial_run_continues_after_failure(story: Story) -> None:
    for name, run in story.killed.items():
        assert story.ended[name].info.run_id == run.info.run_id
        assert story.ended[name].info.start_time == run.info.start_time
    assert len(story.ended) == TRIALS + 1
    assert {run.info.status for run in story.ended.values()} == {"FINISHED"}


def test_no_duplicate_steps_after_failure(story: Story) -> None:
    for name, run in story.ended.items():
        assert set(story.points(name).values()) == {1}
        if "trial" not in run.data.tags:
            continue
        stored = Counter((key, step) for key, step, _ in story.points(name))
        told = [json.loads(line) for line in lines(run).open()]
        positions = [tuple(entry["position"]) for entry in told]
        assert len(set(positions)) == len(positions)
        assert stored - Counter({("final_score", 0): 1}) == Counter(
            (key, entry["step"]) for entry in told for key in entry["metrics"]
        )


def test_params_fixed_on_resume(story: Story) -> None:
    for name, run in story.killed.items():
        assert story.ended[name].data.params == run.data.params


def test_nested_settings(story: Story) -> None:
    for run in story.ended.values():
        settings = fetch_settings(story.uri, run.info.run_id)["settings"]
        assert isinstance(settings["generator"]["learning_rate"], float)
        if "trial" in run.data.tags:
            assert float(run.data.params["generator.learning_rate"]) == pytest.approx(
                settings["generator"]["learning_rate"]
            )


def test_artifacts_of_every_trial_present(story: Story) -> None:
    client = open_client(story.uri)
    for run in trials(story):
        rows = fetch_stages(story.uri, run.info.run_id)
        assert rows and [row.index for row in rows] == list(range(len(rows)))
        grids = [file.path for file in client.list_artifacts(run.info.run_id, "grids")]
        for row in rows:
            files = client.list_artifacts(run.info.run_id, f"stages/{row.index}")
            assert [file.path for file in files] == [f"stages/{row.index}/generator.safetensors"]
            assert f"grids/stage-{row.index}-{row.steps:06d}.png" in grids
        assert not list((lines(run).parent / "blobs").iterdir())


def test_tracking_uri_reaches_workers(story: Story) -> None:
    for run in trials(story):
        assert "validation/psnr" in run.data.metrics
        assert run.info.artifact_uri.startswith((story.place / "mlartifacts").as_uri())
    # nobody has written to the store of a working directory
    assert [path.name for path in story.place.rglob("mlflow.db")] == ["mlflow.db"]
    assert not list(story.place.rglob("mlruns"))


def test_parent_and_child_tags_right(story: Story) -> None:
    parent = story.ended[search_name(story)]
    assert parent.data.tags["kind"] == "search" and "mlflow.parentRunId" not in parent.data.tags
    for number, run in enumerate(trials(story)):
        tags = run.data.tags
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert (tags["kind"], tags["trial"]) == ("trial", str(number))
        assert tags["outcome"] == "finished" or tags["outcome"].startswith("stopped early at")


def search_name(story: Story) -> str:
    (folder,) = story.place.glob("storage/*/journal.jsonl")
    return folder.parent.name


def trials(story: Story) -> list[Run]:
    return [story.ended[f"trial {number}"] for number in range(TRIALS)]


def lines(run: Run) -> Path:
    return Path(run.data.tags["storage"]) / "tracking" / FILE
