"""A log's entries are whole or absent, whatever ends the process that writes them."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from ganforge.append_log import AppendLog
from ganforge.local_files import Busy


def entries(path: Path) -> list[dict[str, object]]:
    log = AppendLog(path)
    try:
        return list(log.entries())
    finally:
        log.close()


def test_what_was_appended_is_there_in_order(tmp_path: Path) -> None:
    log = AppendLog(tmp_path / "new" / "log.jsonl")
    for number in range(3):
        # longer than what is read at once
        log.append({"number": number, "text": "ü\n" * 100_000 * number})
    assert log.content() == (tmp_path / "new" / "log.jsonl").read_bytes()
    assert log.size == len(log.content()) and log.content().count(b"\n") == 3
    log.close()
    assert [entry["number"] for entry in entries(tmp_path / "new" / "log.jsonl")] == [0, 1, 2]


def test_a_torn_tail_is_cut_off_and_what_follows_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"number": 0}\n{"number": 1, "te')
    log = AppendLog(path)
    log.append({"number": 2})
    log.close()
    assert path.read_bytes() == b'{"number": 0}\n{"number": 2}\n'
    path.write_bytes(b'{"number": 0')
    assert entries(path) == [] and path.read_bytes() == b""


def test_a_full_disk_leaves_no_part_of_an_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AppendLog(tmp_path / "log.jsonl")
    log.append({"number": 0})
    write, room = log.write, [5]

    def little_room(content: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "no space left")
        done = write(content[: room[0]])
        room[0] -= done
        return done

    with monkeypatch.context() as patch:
        patch.setattr(log, "write", little_room)
        with pytest.raises(
            OSError, match=r"log\.jsonl cannot be written: the disk is full. It needs 14 bytes"
        ):
            log.append({"number": 1})
    log.append({"number": 2})
    assert [entry["number"] for entry in log.entries()] == [0, 2]
    log.close()


def test_another_process_gets_busy_until_the_holder_is_dead(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from ganforge.append_log import AppendLog\n"
        "log = AppendLog(Path(sys.argv[1]))\nprint('held', flush=True)\ntime.sleep(600)\n"
    )
    path = tmp_path / "log.jsonl"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(Busy, match="in use by a running process"):
        AppendLog(path)
    holder.kill()
    holder.wait()
    assert entries(path) == []


def test_a_damaged_line_is_an_empty_entry(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b'{"number": 0}\n\0\0\0\n{"number": 2}\n')
    assert entries(tmp_path / "log.jsonl") == [{"number": 0}, {}, {"number": 2}]
