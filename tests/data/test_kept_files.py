"""What is kept of far files never outgrows its limit, and is never trusted."""

from pathlib import Path

import pytest

from ganforge.data.kept_files import KeptFiles


def _get(kept: KeptFiles, number: int, fetched: list[int], size: int = 100) -> bytes:
    content = bytes([number % 256]) * size

    def fetch() -> bytes:
        fetched.append(number)
        return content

    assert kept.get(number, lambda found: found == content, fetch) == content
    return content


def _held(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("??/*"))


def test_a_file_is_fetched_once_while_there_is_room(tmp_path: Path) -> None:
    kept, fetched = KeptFiles(tmp_path, 100_000), list[int]()
    for _ in range(3):
        for number in range(20):
            _get(kept, number, fetched)
    assert fetched == list(range(20))
    # another process has them too
    _get(KeptFiles(tmp_path, 100_000), 7, fetched)
    assert len(fetched) == 20


def test_the_oldest_go_and_the_limit_holds(tmp_path: Path) -> None:
    one, other, fetched = KeptFiles(tmp_path, 10_000), KeptFiles(tmp_path, 10_000), list[int]()
    for number in range(600):
        _get(one if number % 2 else other, number, fetched)
        assert _held(tmp_path) <= 10_000
    before = len(fetched)
    _get(one, 599, fetched)
    assert len(fetched) == before
    _get(one, 0, fetched)
    assert len(fetched) == before + 1


@pytest.mark.parametrize("limit", [0, 1000])
def test_what_is_large_next_to_the_limit_is_not_kept(tmp_path: Path, limit: int) -> None:
    kept, fetched = KeptFiles(tmp_path, limit), list[int]()
    _get(kept, 1, fetched)
    _get(kept, 1, fetched)
    assert fetched == [1, 1] and _held(tmp_path) == 0


def test_a_disk_that_takes_nothing_costs_only_fetching(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept, fetched = KeptFiles(tmp_path / "file", 100_000), list[int]()
    _get(kept, 1, fetched)
    _get(kept, 1, fetched)
    assert fetched == [1, 1]


def test_damaged_bytes_are_fetched_again(tmp_path: Path) -> None:
    kept, fetched = KeptFiles(tmp_path, 100_000), list[int]()
    _get(kept, 3, fetched)
    (file,) = tmp_path.glob("??/3")
    file.write_bytes(b"x")
    _get(kept, 3, fetched)
    _get(kept, 3, fetched)
    assert fetched == [3, 3]
