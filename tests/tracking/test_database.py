"""T11 and T18: a new SQLite store survives searches that start on it at once, one that is locked
gets everything later, and one that cannot be written is refused before anything is trained."""

import multiprocessing
import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from small_disk import small_disk

from ganforge.commands.cli import main
from ganforge.settings import SettingsError
from ganforge.systems.settings import SystemSettings
from ganforge.tracking import database
from ganforge.tracking.client import experiment_id, open_client
from ganforge.tracking.driver import DriverClient
from ganforge.tracking.recordable import check_recordable
from ganforge.tracking.runs import Opening, open_run
from ganforge.tracking.server import answers, own_server

SETTINGS = SystemSettings(system="progressive_gan_sr")


def opening(name: str = "a run") -> Opening:
    return Opening("train", name, SETTINGS)


def _begin(uri: str, number: int, with_server: bool, start: Any, said: Any) -> None:
    """What a search does first: in a process of its own, together with two others."""
    try:
        start.wait()
        if number or not with_server:
            run = open_run(uri, "one experiment", opening(f"run {number}"))
            said.put(run.run_id)
            return
        # with a server of its own, which opens the file at the same time as its driver
        with own_server(uri, None):
            address = os.environ["GANFORGE_TRACKING_SERVER"].rpartition(" ")[2]
            run = open_run(uri, "one experiment", opening("run 0"))
            until = time.monotonic() + 90
            while not answers(address) and time.monotonic() < until:
                time.sleep(0.1)
            assert answers(address), "the server did not start"
            open_run(uri, "one experiment", opening("through the server"))
        said.put(run.run_id)
    except BaseException as error:
        said.put(f"failed: {type(error).__name__}: {error}"[:300])


def at_once(folder: Path, *, with_server: bool = False) -> list[str]:
    """Three processes on one new store; the names of the runs that are recorded there."""
    uri = f"sqlite:///{folder}/mlflow.db"
    # forked: a spawned one imports MLflow for many seconds, at a time of its own
    context = multiprocessing.get_context("fork")
    start, said = context.Barrier(3), context.Queue()
    three = [
        context.Process(target=_begin, args=(uri, n, with_server, start, said)) for n in range(3)
    ]
    for process in three:
        process.start()
    found = []
    try:
        for _ in three:
            found.append(said.get(timeout=150))
    except Empty:
        found.append("failed: nothing was said")
    for process in three:
        process.join(10)
        process.kill()
    assert not [text for text in found if text.startswith("failed")], found
    client = open_client(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'one experiment'")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.run_id for run in runs} >= set(found)
    return sorted(run.info.run_name for run in runs)


FORKED = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


@FORKED
def test_three_that_start_at_once_on_a_new_store_are_all_recorded(tmp_path: Path) -> None:
    assert at_once(tmp_path) == ["run 0", "run 1", "run 2"]


@FORKED
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_times_three_at_once_one_with_a_server_of_its_own(tmp_path: Path) -> None:
    for number in range(10):
        folder = tmp_path / str(number)
        folder.mkdir()
        names = at_once(folder, with_server=True)
        assert names == ["run 0", "run 1", "run 2", "through the server"]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


def test_a_locked_database_holds_nothing_up_and_gets_everything(uri: str, tmp_path: Path) -> None:
    """T11: another process holds the file for longer than a driver waits."""
    client = DriverClient(uri, "locked", tmp_path / "driver")
    run = client.open("train-1", opening())
    assert run.run_id
    with closing(sqlite3.connect(database.database_file(uri))) as other:
        other.execute("BEGIN EXCLUSIVE")
        begin = time.monotonic()
        client.end(run, "FINISHED", "finished", metrics={"x": 1.0})
        assert time.monotonic() - begin < 1.0
        other.rollback()
    assert client.close(60.0), client.trouble
    found = open_client(uri).get_run(run.run_id)
    assert found.data.metrics == {"x": 1.0} and found.info.status == "FINISHED"


def test_a_deleted_experiment_is_refused_before_training(uri: str) -> None:
    client = open_client(uri)
    client.delete_experiment(experiment_id(client, uri, "gone"))
    with pytest.raises(SettingsError, match=r"experiment = gone: it was deleted .*restore"):
        check_recordable(uri, "gone")


@pytest.mark.parametrize("command", ["train", "tune"])
def test_the_commands_refuse_it_with_one_line(
    command: str, uri: str, images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    client = open_client(uri)
    name = f"gone from {command}"
    client.delete_experiment(experiment_id(client, uri, name))
    arguments = [command, "progressive_gan_sr", "--preset", "quick", "--data", str(images)]
    arguments += ["--set", "perceptual.network=none", "--storage", str(tmp_path / "storage")]
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--experiment", name, "--tracking-uri", uri])
    assert left.value.code == 2
    assert f"error: experiment = {name}: it was deleted" in capfd.readouterr().err
    assert list((tmp_path / "storage").glob("*")) == []


@pytest.mark.parametrize("name", ["..", ".", "...", "../../x", "a/../..", "\\..\\x"])
def test_an_experiment_of_any_name_keeps_its_artifacts_in_their_folder(name: str, uri: str) -> None:
    run = open_run(uri, name, opening())
    place = open_client(uri).get_run(run.run_id).info.artifact_uri
    top = database.database_file(uri).parent / "mlartifacts"
    found = Path(place.removeprefix("file://")).resolve()
    assert found.is_relative_to(top) and found.parent.parent.parent == top
    assert (found / "settings.json").is_file()


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128, "", " ", "a\nb", "\x1b[31mred"], ids=ascii)
def test_a_name_that_cannot_be_recorded_is_refused(name: str, uri: str) -> None:
    with pytest.raises(SettingsError, match=r"experiment = .*Fix: a"):
        check_recordable(uri, name)
    check_recordable(uri, "x" * 200)


def test_a_store_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a database, and longer than the header of one: " * 20)
    with closing(sqlite3.connect(tmp_path / "newer.db")) as newer:  # of a later MLflow
        newer.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        newer.execute("INSERT INTO alembic_version VALUES ('ffffffffffff')")
        newer.commit()
    with pytest.raises(SettingsError, match=r"cannot record a run of experiment e \("):
        check_recordable(f"sqlite:///{tmp_path}/newer.db", "e")
    for path in ("missing/mlflow.db", "file/mlflow.db", "", "file"):
        with pytest.raises(SettingsError, match=r"cannot be written .*would not be recorded"):
            check_recordable(f"sqlite:///{tmp_path}/{path}", "e")


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    with small_disk(tmp_path / "disk", "4m") as folder:
        yield folder


def test_a_disk_that_is_only_read_is_refused(tmpfs: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(tmpfs)], check=True)
    with pytest.raises(SettingsError, match=r"cannot be written .*would not be recorded"):
        check_recordable(f"sqlite:///{tmpfs}/mlflow.db", "e")


def test_a_server_that_is_down_is_not_a_reason_to_refuse(tmp_path: Path) -> None:
    check_recordable("http://127.0.0.1:9", "e")


def test_the_lock_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setattr(database, "_PATIENCE_SECONDS", 0.3)
    holder = open(tmp_path / ("mlflow.db" + database.LOCK), "a")  # noqa: SIM115
    database.lock(holder.fileno(), tmp_path)
    with pytest.raises(OSError, match="in use by a running process"):
        database.open_database(uri)
    assert not (tmp_path / "mlflow.db").exists()
    monkeypatch.setattr(database, "_PATIENCE_SECONDS", 60.0)
    threading.Timer(0.5, holder.close).start()
    begin = time.monotonic()
    database.open_database(uri)
    assert time.monotonic() - begin >= 0.4
