"""Files that somebody else made and that are no files of their kind: pipes, devices, sparse files
of terabytes, JSON of a hundred thousand brackets. One line names each, nothing hangs or is read."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from generators import write_folder

from ganforge import local_files
from ganforge.commands.cli import main
from ganforge.commands.train import ABOUT, _newest
from ganforge.inference.model import admitted, from_folder
from ganforge.local_files import MOST_LOG, MOST_RECORD, MOST_SOURCE, MOST_TENSORS, Unfit, read_file
from ganforge.search.journal import Journal, latest
from ganforge.search.points import _rows
from ganforge.settings import SettingsError, override
from ganforge.systems.settings import SystemSettings
from ganforge.systems.trust import is_trusted, trust, trust_file
from ganforge.tracking.artifacts import fetch_images, fetch_system
from ganforge.tracking.client import open_client
from ganforge.tracking.outbox.outbox import Outbox
from ganforge.tracking.outbox.remote import RemoteOutbox
from ganforge.tracking.run_ref import RunRef
from ganforge.tracking.runs import Opening, open_run
from ganforge.training.files import open_folders

DEEP = b"[" * 100_000


def sparse(path: Path, size: int) -> None:
    path.unlink(missing_ok=True)
    path.touch()
    os.truncate(path, size)


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


@pytest.fixture(autouse=True)
def _never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that would hang, or read for ever, fails at its first call of the old kind."""
    plain = Path.open

    def opened(path: Path, *args: Any, **more: Any) -> Any:
        if path.exists() and (not path.is_file() or path.stat().st_size > MOST_LOG):
            raise AssertionError(f"{path} is opened as if it were a file")
        return plain(path, *args, **more)

    monkeypatch.setattr(Path, "open", opened)


def test_a_file_is_read_whole_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"four")
    assert read_file(path, 4) == b"four"
    (tmp_path / "link").symlink_to(path)
    assert read_file(tmp_path / "link", 4) == b"four"
    with pytest.raises(Unfit, match="has 4 bytes, and a file of this kind at most 3"):
        read_file(path, 3)
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path, 3)
    for make in (pipe, endless):
        make(path)
        with pytest.raises(Unfit, match="is not a regular file"):
            read_file(path, 4)


def test_a_file_that_becomes_a_pipe_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at it and its opening."""
    path, asked = tmp_path / "a", []
    pipe(path)
    real = local_files.check_fit
    monkeypatch.setattr(
        local_files, "check_fit", lambda *of: asked.append(1) or (len(asked) > 1 and real(*of))
    )
    with pytest.raises(Unfit):
        read_file(path, 4)


@pytest.mark.parametrize("make", [pipe, endless, lambda path: sparse(path, MOST_TENSORS + 1)])
def test_weights_of_a_folder_are_a_file(make: Any, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", width=4)
    make(folder / "stages" / "1" / "generator.safetensors")
    with pytest.raises(SettingsError, match=r"is not a regular file|of this kind at most"):
        from_folder(folder)


def test_settings_of_a_folder_are_a_file(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", width=4)
    sparse(folder / "settings.json", MOST_LOG + 1)
    with pytest.raises(SettingsError, match="of this kind at most"):
        from_folder(folder)


@pytest.mark.parametrize("make", [pipe, endless, lambda path: sparse(path, MOST_LOG + 1)])
def test_files_of_the_command_line_are_files(
    make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "given.json"
    make(path)
    with pytest.raises(SystemExit) as left:
        main(["train", "progressive_gan_sr", "--settings", str(path), "--dry-run"])
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "not a regular file" in line or "of this kind at most" in line
    with pytest.raises(SettingsError, match=r"not a regular file|of this kind at most"):
        _rows(path)


def test_source_of_a_record_is_read_within_limits(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "source").mkdir(parents=True)
    sparse(folder / "source" / "evil.py", MOST_SOURCE + 1)
    with pytest.raises(SettingsError, match="of this kind at most"):
        admitted("evil.py:Evil", "a folder", folder, trust_code=True)
    sparse(folder / "evil.py", MOST_SOURCE + 1)
    with pytest.raises(SettingsError, match="of this kind at most"):
        admitted(f"{folder}/evil.py:Evil", "a folder", trust_code=True)


def test_source_without_any_text_is_not_trusted(tmp_path: Path) -> None:
    """Its hash is that of nothing: it would stand for whatever file the name says."""
    folder = tmp_path / "model"
    (folder / "source").mkdir(parents=True)
    pipe(folder / "source" / "evil.py")
    (tmp_path / "evil.py").write_text("raise AssertionError('it runs')\n")
    for trusted in (False, True):
        with pytest.raises(SettingsError, match="holds no text of it"):
            admitted(f"{tmp_path}/evil.py:Evil", "a folder", folder, trust_code=trusted)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("manifest.json", MOST_RECORD + 1),
        ("journal.jsonl", MOST_LOG + 1),
        ("x.safetensors", MOST_TENSORS + 1),
    ],
)
def test_files_of_a_storage_have_an_end(name: str, size: int, tmp_path: Path) -> None:
    folders = open_folders(str(tmp_path))
    folders.write("one", {name: b"{}"})
    assert folders.read("one", name) == b"{}"
    sparse(tmp_path / "one" / name, size)
    with pytest.raises(OSError, match="of this kind at most"):
        folders.read("one", name)


def test_files_of_a_bucket_have_an_end(
    object_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", object_store)
    folders = open_folders(f"s3://bucket/{tmp_path.name}")
    folders.write("one", {"a.json": b"12345"})
    assert folders.read("one", "a.json") == b"12345"
    monkeypatch.setattr("ganforge.training.files._MOST", {".json": 4})
    with pytest.raises(OSError, match="has 5 bytes, and a file of this kind at most 4"):
        folders.read("one", "a.json")


def test_a_journal_too_large_is_not_resumed(tmp_path: Path) -> None:
    Journal(str(tmp_path), "search").close()
    sparse(tmp_path / "search" / "journal.jsonl", MOST_LOG + 1)
    with pytest.raises(SettingsError, match=r"cannot resume search search: .*of this kind at most"):
        Journal(str(tmp_path), "search")


def test_deep_json_in_a_foreign_folder_is_passed_over(tmp_path: Path) -> None:
    storage = str(tmp_path)
    folders = open_folders(storage)
    good = b'{"event": "opened", "experiment": "e"}\n'
    folders.write("search-1", {"journal.jsonl": good})
    folders.write("search-2", {"journal.jsonl": DEEP + b"\n"})
    assert latest(storage, "e") == "search-1"
    about: Any = {"experiment": "e", "system": "s", "tracking": None}
    open_folders(f"{storage}/train-1").write(ABOUT, {"run.json": json.dumps(about).encode()})
    open_folders(f"{storage}/train-2").write(ABOUT, {"run.json": DEEP})
    start: Any = SimpleNamespace(prepared=SimpleNamespace(system="s"))
    assert _newest(start, "e", storage, "sqlite:////a.db") == ("train-1", None)


def test_a_run_that_names_a_store_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    about: Any = {"experiment": "e", "system": "s"}
    start: Any = SimpleNamespace(prepared=SimpleNamespace(system="s"))
    for number, uri in enumerate(("http://[::1", "sqlite:///\0")):
        tracking = {"uri": uri, "run_id": "0" * 32, "experiment": "e", "key": ""}
        record = json.dumps(about | {"tracking": tracking}).encode()
        open_folders(f"{tmp_path}/train-{number}").write(ABOUT, {"run.json": record})
        with pytest.raises(SettingsError, match="the stored run is recorded in"):
            _newest(start, "e", str(tmp_path), "sqlite:////a.db")


@pytest.mark.parametrize("place", ["facts.json", "rest.jsonl"])
def test_deep_json_in_a_stored_outbox_is_left_out(place: str, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    stored = RemoteOutbox(str(tmp_path / "run"), outbox)
    run = {"run_id": "0" * 32}
    entry = json.dumps({"at": 1, "run": run, "metrics": {"x": 1.0}}).encode() + b"\n"
    files = {"facts.json": b"{}", "rest.jsonl": entry}
    files[place] = DEEP + b"\n" + (entry if place == "rest.jsonl" else b"")
    stored.folders.write("tracking", files)
    assert stored.restore() == (1 if place == "rest.jsonl" else 0)
    outbox.close()


def test_deep_json_in_the_list_of_trusted_code_is_a_damaged_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANFORGE_TRUST", str(tmp_path / "trusted.jsonl"))
    trust("a" * 64, "a test")
    trust_file().write_bytes(DEEP + b"\n" + trust_file().read_bytes())
    assert is_trusted("a" * 64) and not is_trusted("b" * 64)


@pytest.mark.parametrize("count", [1025, 2**31, 2**63 - 1])
def test_threads_have_an_end(count: int) -> None:
    with pytest.raises(SettingsError, match="threads"):
        override(SystemSettings(), {"threads": count})
    assert override(SystemSettings(), {"threads": 1024}).threads == 1024


def test_a_parent_that_is_not_there_is_none(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    settings = SystemSettings(system="dcgan")
    run = open_run(uri, "orphans", Opening("trial", "a trial", settings, parent="f" * 32))
    assert isinstance(run, RunRef)
    with pytest.raises(SettingsError, match="was not recorded"):
        fetch_system(uri, run.run_id, "evil.py:Evil")
    assert fetch_images(uri, run.run_id) == {}
    for strange in ("", "../..", "\N{SNOWMAN}" * 40):
        open_client(uri).set_tag(run.run_id, "mlflow.parentRunId", strange)
        assert fetch_images(uri, run.run_id) == {}
    with pytest.raises(SettingsError, match="unavailable"):
        fetch_system(uri, "e" * 32, "evil.py:Evil")
