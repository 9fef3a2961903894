"""Everybody who can write to a storage can write its records. None of them makes a command of
somebody else read, send, write or delete another file, or speak to another server."""

import base64
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ganforge.commands.cli import main
from ganforge.local_files import Linked
from ganforge.settings import SettingsError
from ganforge.systems.settings import SystemSettings
from ganforge.tracking.client import open_client
from ganforge.tracking.named_store import check_artifact_uri, recorded_run, same_store
from ganforge.tracking.outbox.entry import entry_error
from ganforge.tracking.outbox.log import FILE, OutboxLog
from ganforge.tracking.outbox.outbox import Outbox
from ganforge.tracking.outbox.remote import RemoteOutbox
from ganforge.tracking.run_ref import RunRef
from ganforge.tracking.runs import Opening, open_run
from ganforge.training.checkpoint import MANIFEST, Damaged, Store, _manifest_bytes
from ganforge.training.files import open_folders

OPENING = {
    "name": "a run",
    "start": 1,
    "tags": {},
    "params": {},
    "settings": "{}",
    "data": None,
    "parent_key": "",
}
SECRET = b"-----BEGIN OPENSSH PRIVATE KEY-----"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A file of the user's, outside of every storage."""
    path = tmp_path / "home" / "id_rsa"
    path.parent.mkdir()
    path.write_bytes(SECRET)
    return path


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def run(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunRef:
    """A run in the store that the user of this shell has named."""
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    settings = SystemSettings(system="progressive_gan_sr")
    return open_run(uri, "victim", Opening("train", "a run", settings), key="train-1")


def plant(storage: Path, *entries: dict[str, Any]) -> Path:
    """An outbox in a storage, as the attacker writes it."""
    folder = storage / "train-1" / "tracking"
    (folder / "blobs").mkdir(parents=True)
    (folder / FILE).write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return folder


def sync(storage: Path, *more: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["sync", "--storage", str(storage), *more])
    return int(left.value.code or 0)


def uploaded(run: RunRef) -> set[str]:
    client = open_client(run.uri)
    return {file.path for file in client.list_artifacts(run.run_id)}


@pytest.mark.parametrize("climb", [False, True], ids=["absolute", "climbing"])
def test_a_kept_content_that_names_another_file_is_neither_sent_nor_deleted(
    climb: bool, run: RunRef, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = tmp_path / "storage"
    name = "../" * 20 + str(key).lstrip("/") if climb else str(key)
    plant(storage, {"at": 1, "run": run.entry(), "files": {"stolen.txt": name}})
    assert sync(storage) == 1
    assert key.read_bytes() == SECRET
    assert "stolen.txt" not in uploaded(run)
    assert "an entry is refused and set aside" in capsys.readouterr().out


def test_a_kept_content_that_is_a_link_is_neither_sent_nor_followed(
    run: RunRef, key: Path, tmp_path: Path
) -> None:
    storage, name = tmp_path / "storage", "0123456789abcdef"
    good = {"at": 2, "run": run.entry(), "step": 1, "metrics": {"x": 0.5}}
    planted = {"at": 1, "run": run.entry(), "files": {"stolen.txt": name}}
    folder = plant(storage, planted, good)
    (folder / "blobs" / name).symlink_to(key)
    assert sync(storage) == 1
    assert key.read_bytes() == SECRET and "stolen.txt" not in uploaded(run)
    # and the entry after it is not held up
    assert open_client(run.uri).get_run(run.run_id).data.metrics == {"x": 0.5}
    (folder / "blobs" / name).unlink()
    (folder / "blobs").rmdir()
    (folder / "blobs").symlink_to(key.parent)
    (key.parent / name).write_bytes(SECRET)
    with pytest.raises(Linked):
        OutboxLog(folder).open_blob(name)


@pytest.mark.parametrize("name", [FILE, "acknowledged", "refused.jsonl"])
def test_a_log_that_is_a_link_is_not_written_where_it_leads(
    name: str, run: RunRef, key: Path, tmp_path: Path
) -> None:
    storage = tmp_path / "storage"
    bad = {"at": 1, "run": run.entry(), "files": {"a": "b"}}
    folder = plant(storage, bad)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(key)
    assert sync(storage) == 1
    assert key.read_bytes() == SECRET


@pytest.mark.parametrize(
    "path", ["../../above.txt", "/etc/cron.d/x", "a/../../b", "a\nb", "..", ""]
)
def test_a_path_that_leaves_its_run_is_refused(path: str, run: RunRef) -> None:
    entry = {"at": 1, "run": run.entry(), "files": {path: "0123456789abcdef"}}
    assert entry_error(entry)
    entry["files"] = {"grids/stage-0.png": "0123456789abcdef"}
    assert not entry_error(entry)


@pytest.mark.parametrize(
    "part",
    [
        {"run": {"run_id": "../../x"}},
        {"run": {"key": "' or tags.x != '"}},
        {"run": 5},
        {"at": "now"},
        {"metrics": {"x": "y"}},
        {"status": "ROOT"},
        {"files": [1]},
        {"open": {}},
        {"at": 10**30},
        {"at": -1, "status": "FINISHED"},
        {"at": 10**25, "status": "FINISHED"},
        {"step": 10**30, "metrics": {"y": 1.0}},
        {"open": OPENING | {"start": 10**30}},
        {"open": OPENING | {"name": "\ud800"}},
        {"open": OPENING | {"settings": "\ud800"}},
        {"tags": {"a": "\ud800"}},
        {"tags": {"\ud800": "a"}},
        {"params": {"a": "\ud800"}},
        {"params": {"a": 10**30}},
        {"run": {"experiment": "\ud800", "key": "train-2"}},
        {"run": {"key": "train-2"}},
        {"run": {}},
        {"stages": [{"x": 1}]},
        {"stages": [{"index": []}]},
        {"stages": [{"index": 0}, {"index": "1"}]},
        {"stages": [{"index": 10**6}]},
        {"stages": [{"index": 0, "settings": json.loads('{"a":' * 700 + "1" + "}" * 700)}]},
    ],
    ids=lambda part: str(part)[:60].encode("ascii", "replace").decode(),
)
def test_an_entry_of_another_form_is_set_aside_and_the_rest_is_sent(
    part: dict[str, Any], run: RunRef, tmp_path: Path
) -> None:
    good = {"at": 2, "run": run.entry(), "step": 1, "metrics": {"x": 0.5}}
    folder = plant(tmp_path / "storage", {"at": 1, "run": run.entry(), **part}, good)
    assert sync(tmp_path / "storage") == 1
    assert open_client(run.uri).get_run(run.run_id).data.metrics == {"x": 0.5}
    assert len((folder / "refused.jsonl").read_text().splitlines()) == 1
    assert sync(tmp_path / "storage") == 0


@pytest.mark.parametrize(
    "run_part",
    [{"run_id": "0" * 32}, {"experiment": "victim", "key": "train-99"}],
    ids=["unknown", "never opened"],
)
def test_entries_of_a_run_that_is_not_there_wait_and_hold_nothing_up(
    run_part: dict[str, str], run: RunRef, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"at": 2, "run": run.entry(), "step": 1, "metrics": {"x": 0.5}}
    waiting = {"at": 1, "run": run_part, "step": 7, "metrics": {"late": 0.25}}
    storage = tmp_path / "storage"
    folder = plant(storage, waiting, good)
    assert sync(storage) == 1
    assert open_client(run.uri).get_run(run.run_id).data.metrics == {"x": 0.5}
    told = capsys.readouterr()
    assert "what does not wait for that is sent" in told.out
    assert "raining continues" not in told.out + told.err
    # nothing of it is lost: it is sent once its run is there
    assert not (folder / "refused.jsonl").exists()
    assert sync(storage) == 1
    if "key" in run_part:
        settings = SystemSettings(system="progressive_gan_sr")
        opened = open_run(run.uri, "victim", Opening("train", "late", settings), key="train-99")
        assert sync(storage) == 0
        (point,) = open_client(run.uri).get_metric_history(opened.run_id, "late")
        assert (point.timestamp, point.step, point.value) == (1, 7, 0.25)


def test_a_store_that_does_not_answer_sets_nothing_aside(
    run: RunRef, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entry = {"at": 1, "run": run.entry(), "metrics": {"x": 1.0}}
    folder = plant(tmp_path / "storage", entry)
    assert sync(tmp_path / "storage", "--tracking-uri", "http://127.0.0.1:9") == 1
    assert not (folder / "refused.jsonl").exists()
    assert "raining continues" not in caplog.text
    assert sync(tmp_path / "storage") == 0


@pytest.mark.parametrize("theirs", ["http://[::1", "sqlite:///\0", "http://a:b", "\ud800"])
def test_an_address_that_is_none_holds_up_no_other_outbox(
    theirs: str, run: RunRef, tmp_path: Path
) -> None:
    good = {"at": 2, "run": run.entry(), "step": 1, "metrics": {"x": 0.5}}
    storage = tmp_path / "storage"
    plant(storage, {"at": 1, "run": {**run.entry(), "uri": theirs}, "metrics": {"y": 1.0}})
    (storage / "train-1").rename(storage / "train-0")
    plant(storage, good)
    assert sync(storage) == 1
    assert open_client(run.uri).get_run(run.run_id).data.metrics == {"x": 0.5}
    with pytest.raises(SettingsError, match="the stored run is recorded in"):
        recorded_run({**run.entry(), "uri": theirs}, run.uri)


class _Listener(BaseHTTPRequestHandler):
    """Notes what it is asked, and with which credentials."""

    def _note(self) -> None:
        self.server.heard.append((self.path, self.headers.get("Authorization")))  # type: ignore[attr-defined]
        self.send_response(500)
        self.end_headers()

    do_GET = do_POST = do_PUT = _note

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    """The attacker's server; the user has credentials of his own server in his shell."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    server = HTTPServer(("127.0.0.1", 0), _Listener)
    server.heard = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def address(server: HTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def heard(server: HTTPServer) -> list[tuple[str, str | None]]:
    return server.heard  # type: ignore[attr-defined]


def test_a_server_that_only_a_record_names_hears_nothing(
    run: RunRef, listener: HTTPServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage, theirs = tmp_path / "storage", address(listener)
    planted = {"uri": theirs, "run_id": "0" * 32, "experiment": "e", "key": "train-1"}
    plant(storage, {"at": 1, "run": planted, "metrics": {"x": 1.0}})
    assert sync(storage) == 1
    assert not heard(listener)
    assert f"name it with --tracking-uri {theirs}" in capsys.readouterr().out
    # its user names it: it is his
    assert sync(storage, "--tracking-uri", theirs) == 1
    credentials = "Basic " + base64.b64encode(b"me:secret").decode()
    assert {found for _, found in heard(listener)} == {credentials}


def test_resume_does_not_follow_a_record_to_a_server(run: RunRef, listener: HTTPServer) -> None:
    theirs = {"uri": address(listener), "run_id": "0" * 32, "experiment": "e", "key": ""}
    with pytest.raises(SettingsError, match="the stored run is recorded in http"):
        recorded_run(theirs, run.uri)
    assert recorded_run({**run.entry()}, run.uri) == run
    assert recorded_run(None, run.uri) is None
    more = {**run.entry(), "more": 1}
    for damaged in ({"uri": 1}, [], {}, {**run.entry(), "run_id": "../x"}, more):
        with pytest.raises(SettingsError, match="damaged"):
            recorded_run(damaged, run.uri)


def test_a_refusal_prints_no_password(run: RunRef) -> None:
    theirs = {**run.entry(), "uri": "https://me:hunter2@other.example"}
    with pytest.raises(SettingsError, match=r"https://other\.example") as raised:
        recorded_run(theirs, "https://me:hunter2@mine.example/x")
    assert "hunter2" not in str(raised.value)


def test_one_store_has_several_addresses() -> None:
    assert same_store("http://me:secret@Host:80/", "http://host")
    assert same_store("sqlite:////a/b/../mlflow.db", "sqlite:////a/mlflow.db")
    for other in ("http://host.evil", "https://host", "http://host:81", "http://host/x"):
        assert not same_store("http://host", other)


@pytest.mark.parametrize(
    ("uri", "artifact_uri", "fine"),
    [
        ("https://host", "mlflow-artifacts:/1/2/artifacts", True),
        ("https://host", "mlflow-artifacts://host/1/2/artifacts", True),
        ("https://host", "mlflow-artifacts://evil/1/2/artifacts", False),
        ("https://host", "https://evil/api/2.0/mlflow-artifacts/artifacts", False),
        ("https://host", "http://host/api/2.0/mlflow-artifacts/artifacts", False),
        ("https://host", "s3://bucket/1", True),
        ("https://host", "file:///home/me/.config/autostart", False),
        ("https://host", "/home/me/.ssh", False),
        ("https://host", "sftp://me@evil/1", False),
        ("http://127.0.0.1:5000", "file:///data/mlartifacts/1", True),
        ("sqlite:////data/mlflow.db", "file:///data/mlartifacts/1", True),
        ("sqlite:////data/mlflow.db", "http://evil/x", False),
        ("sqlite:////data/mlflow.db", "mlflow-artifacts://evil/x", False),
    ],
)
def test_a_store_does_not_choose_where_credentials_go(
    uri: str, artifact_uri: str, fine: bool
) -> None:
    if fine:
        check_artifact_uri(uri, artifact_uri)
        return
    with pytest.raises(SettingsError, match="it is not used"):
        check_artifact_uri(uri, artifact_uri)


def test_a_shared_folder_of_artifacts_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANFORGE_ARTIFACTS", "/shared/mlruns")
    check_artifact_uri("https://host", "/shared/mlruns/1/2")
    with pytest.raises(SettingsError):
        check_artifact_uri("https://host", "/shared/mlruns/../../etc")


def test_artifacts_of_a_planted_experiment_are_not_fetched(
    run: RunRef, listener: HTTPServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    client = open_client(run.uri)
    theirs = f"{address(listener)}/artifacts"
    number = client.create_experiment(f"theirs of {tmp_path.name}", theirs)
    planted = client.create_run(number).info.run_id
    with pytest.raises(SystemExit) as left:
        main(["reproduce", "--run", planted])
    assert left.value.code == 2
    assert not heard(listener)
    assert "which is neither an object store" in capsys.readouterr().err


def test_what_is_restored_from_a_bucket_stays_in_the_outbox(
    object_store: str, run: RunRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", object_store)
    uri, outside = f"s3://bucket/{tmp_path.name}/run", tmp_path / "planted"
    folders = open_folders(uri)
    entry = {"at": 1, "run": run.entry(), "files": {"a": str(outside)}}
    rest = json.dumps(entry).encode() + b"\n[]\nnonsense\n"
    folders.write("tracking", {"rest.jsonl": rest, "facts.json": b'{"best": "high"}'})
    folders.files.create_dir(f"{folders.root}/tracking-{outside}", recursive=True)  # type: ignore[attr-defined]
    with folders.files.open_output_stream(  # type: ignore[attr-defined]
        f"{folders.root}/tracking-{outside}/content"  # type: ignore[attr-defined]
    ) as stream:
        stream.write(b"planted")
    outbox = Outbox(tmp_path / "outbox")
    assert RemoteOutbox(uri, outbox).restore() == 0
    assert not outside.exists()
    outbox.close()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "..", "", "a/b", "x" * 16, "0123456789ABCDEF"])
def test_only_names_of_kept_contents_are_taken(name: str, tmp_path: Path) -> None:
    log = OutboxLog(tmp_path / "outbox")
    with pytest.raises(ValueError, match="16 hexadecimal digits"):
        log.open_blob(name)
    if name:
        with pytest.raises(ValueError, match="16 hexadecimal digits"):
            log.keep(b"", name)
    log.close()


def test_a_manifest_does_not_read_files_outside_its_folder(key: Path, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "run"))
    for file in ("../../home/id_rsa", str(key), "..", ""):
        with pytest.raises(OSError, match="no name of a file"):
            store.folders.read("000-000000001.ab", file)
    manifest = {"index": 0, "step": 1, "files": {"../../home/id_rsa": {"sha256": "", "size": 1}}}
    store.folders.write("000-000000001.ab", {MANIFEST: _manifest_bytes(manifest)})
    with pytest.raises(Damaged, match="lists a file"):
        store.load("000-000000001.ab")


def test_links_in_a_storage_lead_nowhere(key: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    folders = open_folders(str(storage / "run"))
    folders.write("000-000000001.ab", {"a.bin": b"1"})
    (storage / "run" / "000-000000001.ab" / "key").symlink_to(key)
    with pytest.raises(Linked):
        folders.read("000-000000001.ab", "key")
    (storage / "train-9").symlink_to(key.parent)
    assert open_folders(str(storage)).names() == ["run"]
    planted = open_folders(str(storage / "train-9"))
    with pytest.raises(Linked):
        planted.write("one", {"a.bin": b"1"})
    with pytest.raises(Linked):
        planted.delete("one")
    (storage / "run" / "ray").symlink_to(key.parent)
    with pytest.raises(Linked):
        folders.sweep()
    assert {p.name for p in key.parent.iterdir()} == {"id_rsa"}


def test_a_pipe_in_a_storage_does_not_hang(run: RunRef, tmp_path: Path) -> None:
    folder = plant(tmp_path / "storage", {"at": 1, "run": run.entry(), "metrics": {"x": 1.0}})
    os.mkfifo(folder / "acknowledged")
    assert sync(tmp_path / "storage") == 1
