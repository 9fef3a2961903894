"""The file of a search: on this machine, and in an object store."""

from pathlib import Path

import pytest

from ganforge.search.journal import Journal, latest, local_file
from ganforge.settings import SettingsError


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
