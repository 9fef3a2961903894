"""What a search suggested, saw and decided: one entry per event, on the disk before it counts."""

import difflib
import json
from pathlib import Path
from typing import Any

from ganforge.append_log import AppendLog
from ganforge.local_files import (
    MOST_LOG,
    Busy,
    Linked,
    Unfit,
    cache_directory,
    check_fit,
    check_own_folder,
    replacing,
)
from ganforge.run_names import begun, newest_first
from ganforge.search.remote_journal import FILE, RemoteJournal, read_whole
from ganforge.settings import SettingsError, shown
from ganforge.training.files import join, open_folders

Event = dict[str, Any]
#: ids of searches that an error names
_MOST_NAMED = 5


class Journal:
    """The log of a search's events; one process at a time may hold it. SettingsError where a link
    lies among its folders: trials would be stored where it leads.

    With an object store as storage the file lies on the driver's disk, and every event also goes to
    the store, from where a search can be resumed elsewhere.
    """

    def __init__(self, storage: str, search_id: str):
        self.storage, self.search_id = storage, search_id
        path = local_file(storage, search_id)
        try:
            check_own_folder(path.parent)
        except Linked as error:
            raise SettingsError(f"cannot resume search {search_id}: {error}") from None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._remote: RemoteJournal | None = None
        if "://" in storage:
            folders = open_folders(storage)
            self._remote = RemoteJournal(folders, search_id)
            if not path.exists() and search_id in folders.names():
                with replacing(path) as file:
                    file.write(read_whole(folders, search_id))
        try:
            if path.exists():
                check_fit(path.lstat(), path, MOST_LOG)
            self._log = AppendLog(path)
        except (Linked, Unfit) as error:
            raise SettingsError(f"cannot resume search {search_id}: {error}") from None
        except Busy:
            raise SettingsError(f"search {search_id} is running in another process") from None
        # an entry cut off by a crash was never acted upon
        self.events: list[Event] = list(self._log.entries())
        for number, event in enumerate(self.events, 1):
            if not isinstance(event, dict) or not isinstance(event.get("event"), str):
                self._log.close()
                raise SettingsError(
                    f"cannot resume search {search_id}: line {number} of {path} is not an event of "
                    "a search; repair it from a copy, or start a new search"
                )

    def append(self, event: str, **facts: Any) -> None:
        """Write an event and have the disk confirm it."""
        entry = {"event": event, **facts}
        self._log.append(entry)
        self.events.append(entry)
        if self._remote is not None:
            self._remote.follow(self._log)

    def folder(self, number: int) -> str:
        """Where a trial's states lie; a function of the search and the suggestion's number."""
        return join(self.storage, self.search_id, f"trial-{number:04d}")

    def close(self) -> None:
        """Let another process hold the journal."""
        self._log.close()


def local_file(storage: str, search_id: str) -> Path:
    """Where the journal of a search lies on this machine."""
    root = cache_directory() / "searches" if "://" in storage else Path(storage)
    return root / search_id / FILE


def latest(storage: str, experiment: str) -> str:
    """Id of the newest search of an experiment in a storage."""
    folders = open_folders(storage)
    for search_id in newest_first(folders.names()):
        try:
            first = folders.read(search_id, FILE).partition(b"\n")[0]
            opened = json.loads(first)
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(opened, dict) and opened.get("experiment") == experiment:
            return search_id
    raise SettingsError(
        f"nothing to resume: no search of experiment {experiment} in {storage}; "
        "leave --resume out, or name the storage of the first call"
    )


def named(storage: str, search_id: str) -> str:
    """The id of a search that the user named; SettingsError, with the ids that come closest and the
    newest ones, where the storage has none of that id."""
    folders = open_folders(storage)
    names = list(folders.names())
    if search_id in names and read_events(storage, search_id):
        return search_id
    searches = [name for name in newest_first(names) if begun(name) is not None]
    close = difflib.get_close_matches(search_id, searches, _MOST_NAMED)
    found = list(dict.fromkeys([*close, *searches]))[:_MOST_NAMED]
    there = f"it has {', '.join(found)}" if found else "it has none; leave --resume out"
    raise SettingsError(f"resume = {shown(search_id)}: no such search in {storage}; {there}")


def read_events(storage: str, search_id: str) -> list[Event]:
    """The events of a search that another process may hold, up to the first that is damaged."""
    try:
        content = read_whole(open_folders(storage), search_id)
    except OSError:
        return []
    events: list[Event] = []
    for line in content.splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            break
        events.append(event)
    return events
