"""Folders of files, the same on a disk and in an object store."""

import os

import pytest
from pyarrow import fs

from ganforge.local_files import DiskFull
from ganforge.settings import SettingsError
from ganforge.training import files
from ganforge.training.files import LocalFolders, ObjectFolders, join, open_folders

FILES = {"a.bin": b"first", "b.bin": b"", "manifest.json": b"{}"}


def test_what_is_written_is_read_listed_and_deleted(storage):
    come_and_go(storage)


def test_an_address_may_say_where_its_store_is(storage_by_query):
    come_and_go(storage_by_query)
    finds_the_same(storage_by_query)


def test_another_object_finds_the_same_and_places_beside_it_stay_out(storage):
    finds_the_same(storage)


def come_and_go(storage):
    folders = open_folders(storage)
    assert folders.names() == []
    folders.write("one", FILES)
    folders.write("two", {"manifest.json": b"x" * 100_000})
    assert folders.names() == ["one", "two"]
    assert {name: folders.read("one", name) for name in FILES} == FILES
    assert folders.read("two", "manifest.json") == b"x" * 100_000
    folders.delete("one")
    assert folders.names() == ["two"]
    with pytest.raises(OSError):
        folders.read("one", "a.bin")
    folders.delete("two")
    assert folders.names() == []


def finds_the_same(storage):
    open_folders(storage).write("one", FILES)
    open_folders(join(storage, "below")).write("three", FILES)
    beside = storage.replace("/one", "/one-more")
    open_folders(beside).write("two", FILES)
    assert open_folders(storage).names() == ["below", "one"]
    assert open_folders(beside).names() == ["two"]
    assert open_folders(join(storage, "below")).read("three", "a.bin") == b"first"


def test_a_sweep_leaves_whole_folders(storage):
    folders = open_folders(storage)
    folders.write("one", FILES)
    folders.sweep()
    assert folders.names() == ["one"]


def test_listing_asks_the_object_store_for_one_level(object_store, monkeypatch):
    """A store of many checkpoints is listed in one answer, whatever lies in each."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", object_store)
    folders = ObjectFolders("s3://bucket/many")
    for number in range(5):
        folders.write(f"{number}", {f"{k}": b"x" for k in range(20)})
    found = folders.files.get_file_info(fs.FileSelector(folders.root))
    assert len(found) == 5
    assert folders.names() == list("01234")


def test_the_query_of_an_address_stays_at_its_end():
    assert join("s3://b/p?x=1", "run", "k") == "s3://b/p/run/k?x=1"
    assert join("s3://b/p/", "run") == "s3://b/p/run"
    assert join("/a/what?", "run") == "/a/what?/run"


@pytest.mark.parametrize("uri", ["nonsense://place", "s3://"])
def test_an_unknown_kind_of_store_is_an_error_in_words(uri):
    with pytest.raises(SettingsError, match="not a store that pyarrow can open"):
        open_folders(uri)


def test_file_uris_are_local(tmp_path):
    assert open_folders(f"file://{tmp_path}").root == tmp_path  # type: ignore[attr-defined]


def test_a_local_folder_appears_whole(tmp_path, monkeypatch):
    """Until the rename nothing is there; files are synced before it, the folder's name after it."""
    folders = LocalFolders(tmp_path)
    events = []
    fsync, rename = os.fsync, os.rename

    def synced(descriptor):
        events.append("sync " + os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def renamed(source, target):
        assert folders.names() == [".writing-one"]
        events.append("rename")
        rename(source, target)

    monkeypatch.setattr(files.os, "fsync", synced)
    monkeypatch.setattr(files.os, "rename", renamed)
    folders.write("one", FILES)
    assert events == [
        "sync a.bin",
        "sync b.bin",
        "sync manifest.json",
        "sync .writing-one",
        "rename",
        f"sync {tmp_path.name}",
    ]


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    folders = LocalFolders(tmp_path)

    def full(path, content):
        path.write_bytes(content[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_synced", full)
    with pytest.raises(DiskFull, match=r"one cannot .* full\. It needs 7 bytes"):
        folders.write("one", FILES)
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_removes_what_was_half_written_and_half_deleted(tmp_path):
    folders = LocalFolders(tmp_path)
    folders.write("one", FILES)
    for name in (".writing-two", ".deleting-three-ab"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.bin").write_bytes(b"half")
    (tmp_path / "note.txt").write_text("not ours")
    folders.sweep()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["note.txt", "one"]
