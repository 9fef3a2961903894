"""What is resumed lies in a storage that others can write to: a record of it chooses no server and
no folder."""

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ganforge.commands.reproduce import _snapshot
from ganforge.commands.start import Start
from ganforge.commands.train import ABOUT, _newest
from ganforge.search.journal import Journal, latest
from ganforge.search.search import use_named_store
from ganforge.settings import SettingsError
from ganforge.tracking.run_ref import RunRef
from ganforge.training.checkpoint import Store
from ganforge.training.files import open_folders
from ganforge.training.resume import find

MINE, THEIRS = "sqlite:////home/me/mlflow.db", "https://evil.example"
START = cast(Start, SimpleNamespace(prepared=SimpleNamespace(system="srgan")))


def about(storage: Path, name: str, tracking: object) -> None:
    record = {"experiment": "e", "system": "srgan", "tracking": tracking}
    content = json.dumps(record).encode()
    open_folders(str(storage / name)).write(ABOUT, {"run.json": content})


def test_train_resume_sends_to_the_named_store_only(tmp_path: Path) -> None:
    name = "train-20260101T000000Z-ab12"
    about(tmp_path, name, asdict(RunRef(MINE, "a" * 32, "e", name)))
    assert _newest(START, "e", str(tmp_path), MINE) == (name, RunRef(MINE, "a" * 32, "e", name))
    about(tmp_path, "train-20260102T000000Z-ab12", asdict(RunRef(THEIRS, "a" * 32, "e", name)))
    with pytest.raises(SettingsError, match=r"recorded in https://evil\.example, and nothing is"):
        _newest(START, "e", str(tmp_path), MINE)
    # its user knows that server
    assert _newest(START, "e", str(tmp_path), THEIRS)[1] == RunRef(THEIRS, "a" * 32, "e", name)


@pytest.mark.parametrize("content", [b"[]", b"{}", b"5", b"\xff", b'{"experiment": "e"}'], ids=repr)
def test_a_record_of_another_form_is_passed_over(content: bytes, tmp_path: Path) -> None:
    about(tmp_path, "train-20260101T000000Z-ab12", None)
    newer = tmp_path / "train-20260102T000000Z-ab12"
    open_folders(str(newer)).write(ABOUT, {"run.json": content})
    assert _newest(START, "e", str(tmp_path), MINE) == ("train-20260101T000000Z-ab12", None)


def test_a_run_that_is_a_link_is_not_resumed(tmp_path: Path) -> None:
    home, storage = tmp_path / "home", tmp_path / "storage"
    about(home, "train-20260102T000000Z-ab12", None)
    storage.mkdir()
    (storage / "train-20260102T000000Z-ab12").symlink_to(home / "train-20260102T000000Z-ab12")
    with pytest.raises(SettingsError, match="has no run of experiment"):
        _newest(START, "e", str(storage), MINE)


def opened(storage: Path, **runs: Any) -> Journal:
    journal = Journal(str(storage), "20260101T000000Z-ab12")
    journal.append("opened", experiment="e", parent=runs.get("parent"))
    journal.append("suggested", trial=0, run=runs.get("run"))
    return journal


def test_tune_resume_sends_to_the_named_store_only(tmp_path: Path) -> None:
    mine, theirs = asdict(RunRef(MINE, "a" * 32)), asdict(RunRef(THEIRS, "a" * 32))
    for number, runs in enumerate(({"parent": theirs}, {"run": theirs}, {"run": {"uri": 5}})):
        journal = opened(tmp_path / str(number), **runs)
        with pytest.raises(SettingsError, match=r"nothing is sent|is damaged"):
            use_named_store(journal, MINE)
        journal.close()
    journal = opened(tmp_path / "mine", parent=mine, run=mine)
    use_named_store(journal, MINE)
    assert journal.events[1]["run"] == mine
    journal.close()


def test_a_search_with_a_link_among_its_folders_is_not_resumed(tmp_path: Path) -> None:
    storage, home = tmp_path / "storage", tmp_path / "home"
    home.mkdir()
    opened(storage).close()
    (storage / "20260101T000000Z-ab12" / "trial-0000").symlink_to(home)
    with pytest.raises(SettingsError, match=r"cannot resume search .*is a link"):
        Journal(str(storage), "20260101T000000Z-ab12")
    (storage / "20270101T000000Z-ab12").symlink_to(storage / "20260101T000000Z-ab12")
    assert latest(str(storage), "e") == "20260101T000000Z-ab12"


def test_a_run_with_a_link_among_its_folders_is_not_continued(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "ray").symlink_to(tmp_path)
    one = cast(Any, SimpleNamespace(rank=0))
    with pytest.raises(SettingsError, match=r"storage = .*is a link"):
        find(Store(str(tmp_path / "run")), True, one)


def test_reproduce_does_not_open_a_storage_that_a_record_names() -> None:
    with pytest.raises(SettingsError, match=r"the record names s3://evil/x.*; give --storage"):
        _snapshot(None, "s3://evil/x?endpoint_override=evil", 1, 2)
