"""A journal in an object store, which cannot append to a file: in parts, of which the newest is
written again at each event. (Written as a whole each time, the journal of a search of two thousand
trials would be gigabytes on the wire.)

A part ends with the line that brings it to `PART_BYTES`, so the lines alone say where parts begin.
The first is the file `journal.jsonl`, the others follow as `journal-0001.jsonl` and so on. Up to
version 0.3 all was in the first: a first file that goes on after the end of a part is the whole.
"""

from itertools import count

from ganforge.append_log import AppendLog
from ganforge.training.files import Folders

FILE = "journal.jsonl"
PART_BYTES = 1 << 16


def part_name(number: int) -> str:
    """The file of a part."""
    return f"journal-{number:04d}.jsonl" if number else FILE


def parts(content: bytes) -> list[bytes]:
    """The parts of a journal; the last one, to which lines are added, may be empty."""
    found, begin = list[bytes](), 0
    while len(content) - begin >= PART_BYTES:
        end = content.find(b"\n", begin + PART_BYTES - 1) + 1
        if not end:
            break
        found.append(content[begin:end])
        begin = end
    return [*found, content[begin:]]


def read_whole(folders: Folders, search_id: str) -> bytes:
    """The content of a journal; OSError where it is unavailable."""
    content = folders.read(search_id, FILE)
    if len(content) < PART_BYTES or len(content) > len(parts(content)[0]):
        return content
    found = [content]
    for number in count(1):
        try:
            found.append(folders.read(search_id, part_name(number)))
        except FileNotFoundError:
            break  # no event came after a part that is full
        if len(found[-1]) < PART_BYTES:
            break
    return b"".join(found)


class RemoteJournal:
    """The copy of a search's journal in a store."""

    def __init__(self, folders: Folders, search_id: str):
        self._folders, self._search_id = folders, search_id
        #: the part that grows, and where in the log it begins; unknown before the first event
        self._part: tuple[int, int] | None = None

    def follow(self, log: AppendLog) -> None:
        """Bring the copy up to a log that has one more line."""
        number, begin = self._begin(log) if self._part is None else self._part
        self._write(number, log.content(begin))
        self._part = (number + 1, log.size) if log.size - begin >= PART_BYTES else (number, begin)

    def _begin(self, log: AppendLog) -> tuple[int, int]:
        """What an earlier process may have left behind: the line before, and a journal that is one
        file. Its parts are written first, so that it is the whole until they are there."""
        found = parts(log.content())
        if not found[-1]:
            found.pop()  # the new line has filled a part
        try:
            whole = len(self._folders.read(self._search_id, FILE)) > len(found[0])
        except FileNotFoundError:
            whole = True
        for number in reversed(range(len(found)) if whole else range(len(found))[-2:]):
            self._write(number, found[number])
        return len(found) - 1, log.size - len(found[-1])

    def _write(self, number: int, content: bytes) -> None:
        self._folders.write(self._search_id, {part_name(number): content})
