"""Waiting for the notice that workers are to end: it ends by itself, and is asked for again."""

import asyncio
import threading
import time

import pytest

from ganforge.cluster import notices
from ganforge.cluster.coordinator import TrialCoordinator, _TrialCoordinator
from ganforge.cluster.notices import Notices


def test_a_departure_is_answered_at_once_or_after_a_while():
    async def answers() -> list[bool]:
        coordinator = _TrialCoordinator()
        found = [await coordinator.departure(0, 0.01)]
        waiting = asyncio.create_task(coordinator.departure(1, 60))
        other = asyncio.create_task(coordinator.departure(2, 0.2))
        await asyncio.sleep(0.05)
        await coordinator.regroup(1)
        found += [await waiting, await other]
        await coordinator.depart()
        return [*found, await coordinator.departure(2, 60)]

    assert asyncio.run(answers()) == [False, True, False, True]


@pytest.mark.ray
def test_a_run_that_is_over_waits_no_more(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each trial of a search left a call at the coordinator, which takes a thousand."""
    monkeypatch.setattr(notices, "_WAIT_SECONDS", 0.5)
    coordinator = TrialCoordinator()

    def waiting() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "departure"]

    try:
        over, running = (Notices(coordinator.actor, trial, 0) for trial in (0, 1))
        assert len(waiting()) == 2
        time.sleep(1.2)  # asked more than once
        over.close()
        until = time.monotonic() + 20
        while len(waiting()) > 1 and time.monotonic() < until:
            time.sleep(0.1)
        assert len(waiting()) == 1 and (over(), running()) == (0, 0)
        coordinator.depart()
        while not running() and time.monotonic() < until:
            time.sleep(0.1)
        assert running() == 2
    finally:
        coordinator.close()
