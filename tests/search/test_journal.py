"""The file of a search: on this machine, and in an object store."""

from pathlib import Path

import pytest

from ganforge.search import remote_journal
from ganforge.search.journal import Journal, latest, local_file, read_events
from ganforge.settings import SettingsError
from ganforge.training.files import ObjectFolders, open_folders


def test_events_are_there_when_the_journal_is_opened_again(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path), "search")
    journal.append("opened", experiment="e")
    journal.close()
    again = Journal(str(tmp_path), "search")
    again.append("suggested", trial=0)
    assert again.events == [
        {"event": "opened", "experiment": "e"},
        {"event": "suggested", "trial": 0},
    ]
    again.close()


@pytest.mark.parametrize("line", ["\0\0\0", "[1]", "7", "null", "{}", '{"event": 1}', '"event"'])
def test_a_damaged_line_is_named_and_not_skipped(tmp_path: Path, line: str) -> None:
    path = local_file(str(tmp_path), "search")
    path.parent.mkdir()
    path.write_text(f'{{"event": "opened"}}\n{line}\n{{"event": "suggested"}}\n')
    with pytest.raises(SettingsError, match=r"line 2 of .*journal\.jsonl is not an event"):
        Journal(str(tmp_path), "search")
    path.write_text('{"event": "opened"}\n')
    Journal(str(tmp_path), "search").close()  # it was let go


@pytest.mark.parametrize("line", ["[1]", "null", '"text"'])
def test_a_search_without_a_head_is_not_the_newest(tmp_path: Path, line: str) -> None:
    for name, text in (("1", '{"event": "opened", "experiment": "e"}'), ("2", line)):
        path = local_file(str(tmp_path), name)
        path.parent.mkdir()
        path.write_text(text + "\n")
    assert latest(str(tmp_path), "e") == "1"


def test_a_journal_in_an_object_store_is_continued_on_another_machine(
    object_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", object_store)
    storage = f"s3://bucket/{tmp_path.name}"
    for number in range(2):
        monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / f"machine-{number}"))
        journal = Journal(storage, "search")
        assert len(journal.events) == number
        journal.append("suggested", trial=number)
        journal.close()


def test_a_long_journal_in_an_object_store_is_sent_in_parts(
    object_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So what is sent grows with the number of events, and not with its square."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", object_store)
    monkeypatch.setattr(remote_journal, "PART_BYTES", 400)
    storage = f"s3://bucket/{tmp_path.name}"
    sent: list[int] = []
    write = ObjectFolders.write

    def counted(self: ObjectFolders, folder: str, files: dict[str, bytes]) -> None:
        sent.append(sum(map(len, files.values())))
        write(self, folder, files)

    monkeypatch.setattr(ObjectFolders, "write", counted)
    events = [{"event": "suggested", "trial": number} for number in range(60)]
    for machine, first in enumerate((0, 20, 40)):
        monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / f"machine-{machine}"))
        journal = Journal(storage, "search")
        assert journal.events == events[:first]
        for number in range(first, first + 20):
            journal.append("suggested", trial=number)
        journal.close()
        assert read_events(storage, "search") == events[: first + 20]
    assert max(sent) < 450 and len(sent) <= 60 + 2 * 3
    names = [remote_journal.part_name(number) for number in range(3)]
    assert names == ["journal.jsonl", "journal-0001.jsonl", "journal-0002.jsonl"]


def test_a_journal_of_one_file_and_one_that_is_behind_are_continued_in_parts(
    object_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", object_store)
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path))
    monkeypatch.setattr(remote_journal, "PART_BYTES", 100)
    storage = f"s3://bucket/{tmp_path.name}"
    lines = [b'{"event": "suggested", "trial": %d}\n' % number for number in range(10)]
    folders = open_folders(storage)
    # as version 0.3 wrote it
    folders.write("search", {"journal.jsonl": b"".join(lines[:8])})
    assert len(read_events(storage, "search")) == 8
    journal = Journal(storage, "search")
    journal.append("suggested", trial=8)
    journal.close()
    assert len(folders.read("search", "journal.jsonl")) == sum(map(len, lines[:3]))
    assert remote_journal.read_whole(folders, "search") == b"".join(lines[:9])
    # killed after a line was written here, and before it was sent, where it has filled a part
    path = local_file(storage, "search")
    path.write_bytes(b"".join(lines[:9]))
    folders.write("search", {"journal-0002.jsonl": b"".join(lines[6:8])})
    journal = Journal(storage, "search")
    journal.append("suggested", trial=9)
    journal.close()
    assert remote_journal.read_whole(folders, "search") == b"".join(lines)
