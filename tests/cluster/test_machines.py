"""What is checked on machines before trials start, and the reported cost of a loss."""

import socket
from pathlib import Path

import pytest
from small import SYSTEM, tiny

from ganforge.cluster.machines import wait_for_nodes, wait_for_slots
from ganforge.cluster.placement import held
from ganforge.cluster.preflight import (
    Machine,
    different,
    storage_problems,
    tracking_problems,
    unready,
    versions,
)
from ganforge.cluster.session import packages
from ganforge.commands.cli import main
from ganforge.doctor.machine import check_machine
from ganforge.schedule import Position
from ganforge.search.dashboard import Progress
from ganforge.search.limits import Limits
from ganforge.search.placement import next_yield, stored, update_machines
from ganforge.search.trial import Trial
from ganforge.settings import SettingsError
from ganforge.training.files import open_folders
from ganforge.training.lineage import PACKAGES
from ganforge.training.prepare import Prepared, prepare


def test_a_folder_that_only_the_driver_sees_is_not_storage(tmp_path: Path) -> None:
    open_folders(str(tmp_path / "shared")).write("mine", {"probe": b"mine"})
    assert storage_problems(str(tmp_path / "shared"), "mine") == []
    ((message, fix),) = storage_problems(str(tmp_path / "own"), "mine")
    assert "another machine's own disk" in message and "s3://" in fix
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["mine"]


def test_a_server_that_does_not_answer_and_a_file_are_no_tracking_store_of_many() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
    assert "does not answer" in tracking_problems(nobody)[0][0]
    assert "mlflow server" in tracking_problems("sqlite:////here/mlflow.db")[0][1]


def test_other_software_is_named_by_machine_and_version() -> None:
    there = Machine("one", {"torch": "2.14.0", "ray": "2.60.0"}, 0.0)
    assert different(there, {"torch": "2.14.0", "ray": "2.60.0"}) == []
    (problem,) = different(there, {"torch": "2.15.0", "ray": "2.60.0"})
    assert problem.message == "torch 2.14.0, here 2.15.0" and problem.fix


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_that_can_change_bits_is_compared(package: str, prepared: Prepared) -> None:
    here = versions(PACKAGES)
    assert package in here
    assert unready(Machine("one", here, 0.0), prepared, here) == []
    there = Machine("one", here | {package: "0.0.1"}, 0.0)
    (line,) = unready(there, prepared, here)
    assert line.startswith(f"one: {package} 0.0.1, here {here[package]}; ")


def test_the_job_takes_the_packages_of_this_tree_along() -> None:
    names = {Path(place).name for place in packages()}
    assert names == {"ganforge", "search_spaces"}
    assert all((Path(place) / "__init__.py").is_file() for place in packages())


def trial(folder: str) -> Trial:
    prepared = prepare(SYSTEM, tiny(images_per_epoch=16, reports_per_stage=2))
    return Trial(1, {}, prepared, prepared.plan(), folder)


def test_what_is_done_again_reaches_from_the_stored_state_to_the_next_report(
    tmp_path: Path,
) -> None:
    lost = trial(str(tmp_path))
    # four steps of four images a stage, reported after two and after four
    assert [p.steps for p in lost.plan.stages] == [4, 4, 4]
    assert next_yield(lost.plan, Position()) == 8
    assert next_yield(lost.plan, Position(0, 2)) == 16
    assert next_yield(lost.plan, Position(0, 4)) == 24
    assert next_yield(lost.plan, Position(2, 4)) == 48
    assert stored(lost) == Position()


def test_a_loss_is_said_with_its_machines_and_its_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = trial(str(tmp_path))
    places = {"first": ["one", "two"], "second": ["one", "one"]}
    monkeypatch.setattr("ganforge.search.placement.machines_of", places.__getitem__)
    update_machines(lost, "first")
    assert lost.losses == [] and lost.machines == ("one", "two")
    update_machines(lost, "second")
    told = Progress(Limits(4), "validation/psnr").line(lost, "placed")
    assert "trial 1  runs on one: lost a worker on one, two; continues from image 0" in told
    assert "up to 8 images are trained again" in told


def test_the_doctor_finds_no_error_here_and_names_what_is_unusable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("GANFORGE_STORAGE", str(tmp_path / "runs"))
    errors = [f for f in check_machine() if f.verdict == "error"]
    assert errors == []
    (tmp_path / "file").touch()
    monkeypatch.setenv("GANFORGE_STORAGE", str(tmp_path / "file"))
    monkeypatch.setenv("GANFORGE_DATA", "photos")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///nowhere")
    named = {f.subject for f in check_machine() if f.verdict == "error"}
    assert named == {"storage", "GANFORGE_DATA", "MLflow"}


def test_machines_are_not_waited_for_where_there_is_no_cluster(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    with pytest.raises(SystemExit) as left:
        main(["tune", "--nodes", "3", "--set", "data.view=crop"])
    assert left.value.code == 2
    assert "nodes = 3: there is no cluster here" in capsys.readouterr().err


@pytest.mark.ray
def test_trials_that_do_not_fit_are_refused_with_what_there_is(cluster: None) -> None:
    with pytest.raises(SettingsError, match=r"concurrent = 3: 3 trials of 2 workers.* 2 CPUs on"):
        wait_for_slots(2, {"CPU": 1.0}, joined=True, trials=3, timeout_seconds=0.0)
    assert held() == {}  # what was asked for is not left behind
    with pytest.raises(SettingsError, match=r"nodes = 2: there is 1 \("):
        wait_for_nodes(2, timeout_seconds=0.0)
    wait_for_nodes(1, timeout_seconds=0.0)
