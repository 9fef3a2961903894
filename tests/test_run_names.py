"""T19: `--resume` takes the search that was begun last, whatever a clock or a time zone says."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganforge import run_names
from ganforge.run_names import begun, new_name, newest_first
from ganforge.search.journal import FILE, latest

#: in Europe 2026-10-25 03:00 summer time is 02:00 winter time: 01:00 UTC
BACK = 1792890000


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(now: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_names.time, "time", lambda: now)


def search(storage: Path, search_id: str) -> None:
    (storage / search_id).mkdir()
    opened = {"event": "opened", "experiment": "e"}
    (storage / search_id / FILE).write_text(json.dumps(opened) + "\n")


@pytest.mark.usefixtures("berlin")
def test_the_hour_that_is_repeated_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    for now in (BACK - 600, BACK + 600):  # 02:50 in summer time, then 02:10 in winter time
        at(now, monkeypatch)
        names.append(new_name([]))
        search(tmp_path, names[-1])
    hours = [time.strftime("%H:%M", time.localtime(n)) for n in (BACK - 600, BACK + 600)]
    assert hours == ["02:50", "02:10"]
    assert latest(str(tmp_path), "e") == names[1]


def test_a_clock_that_is_set_back_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    for now in (BACK, BACK - 86_400, BACK - 5, BACK + 1):
        at(now, monkeypatch)
        names.append(new_name([path.name for path in tmp_path.iterdir()]))
        search(tmp_path, names[-1])
        assert latest(str(tmp_path), "e") == names[-1]
    assert newest_first(names) == names[::-1]


@pytest.mark.usefixtures("berlin")
def test_names_of_earlier_versions_are_read_as_the_local_time_that_they_are() -> None:
    old, new = "20260701-120000-ab12", "20260701T103000Z-ab12"  # 12:00 there is 10:00 UTC
    assert newest_first([old, new, "about", "ray"])[:2] == [new, old]
    assert begun(old) == begun(new, "") - 1800  # type: ignore[operator]


@pytest.mark.parametrize(
    "name", ["20261399T000000Z-ab12", "x", "20260101T000000-ab12", "20260101-000000Z-ab12", ""]
)
def test_what_is_not_such_a_name_has_no_time(name: str) -> None:
    assert begun(name) is None


def test_runs_and_searches_in_one_storage_are_told_apart() -> None:
    search_id, run = new_name([]), new_name([], "train-")
    assert newest_first([search_id, run], "train-") == [run]
    assert begun(run) is None and begun(run, "train-") is not None


def test_durations_are_of_a_clock_that_does_not_jump() -> None:
    """`time.time` is read for points in time that are recorded, and nowhere to measure how long
    something takes."""
    package = Path(run_names.__file__).parent
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(f"time.{name}(" in path.read_text() for name in ("time", "time_ns", "localtime"))
        or "datetime.now(" in path.read_text()
    }
    recorded = {"tracking/runs.py", "tracking/view.py", "tracking/outbox/outbox.py"}
    recorded |= {"search/mirror.py", "tracking/preference.py"}
    compared = {"doctor/cluster.py", "cluster/preflight.py"}  # clocks of machines, with each other
    assert found == recorded | compared | {"run_names.py"}
