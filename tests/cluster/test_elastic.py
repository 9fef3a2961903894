"""Runs whose number of workers changes: what is decided when, and the bits of what comes out."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.failure_handling import FailureDecision
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError
from ray.util.placement_group import placement_group, remove_placement_group
from small import METRIC, SYSTEM, tiny

from ganforge.cluster.coordinator import TrialCoordinator
from ganforge.cluster.elastic import Crew, Regroup
from ganforge.cluster.machines import slots, wait_for_slots
from ganforge.cluster.placement import held
from ganforge.cluster.ray_trainer import FAILURES, ReplaceTheDead, free_resources
from ganforge.cluster.room import ClusterRoom
from ganforge.cluster.train import make_job
from ganforge.search.capacity import wait_for_capacity
from ganforge.search.limits import Limits
from ganforge.search.placement import update_machines
from ganforge.search.request import SearchRequest
from ganforge.search.trial import Trial
from ganforge.settings import SettingsError
from ganforge.training.prepare import prepare

SCRIPT = Path(__file__).parents[1] / "stress" / "elastic.py"


@dataclass
class Rooms:
    """A cluster of so many worker slots, some of which others use."""

    total: int
    used: int = 0
    mine: int = 0
    wanted: int = 0
    waiting: bool = False
    calls: list[str] = field(default_factory=list)

    def whole(self) -> int:
        return self.total

    def free(self, group: str = "") -> int:
        own = self.mine if group else 0
        return self.total - self.used - self.mine - self.held() + own

    def reserve(self, workers: int) -> None:
        self.wanted = workers

    def held(self) -> int:
        return self.wanted if self.wanted <= self.total - self.used - self.mine else 0

    def give_back(self) -> None:
        self.wanted = 0

    def others_wait(self) -> bool:
        return self.waiting

    def regroup(self) -> None:
        self.calls.append("regroup")


@dataclass
class Watched:
    """A crew of one to four workers in such a cluster, and the time."""

    room: Rooms
    now: float = 0.0

    def __post_init__(self) -> None:
        self.crew = Crew(1, 4, self.room, self.room.regroup, 60.0, lambda: self.now)

    def start(self) -> int:
        """Start workers, and the seconds until it is decided how many."""
        while (size := self.crew.start_size()) is None:
            self.now += 0.5
        self.room.mine = size
        return size

    def train(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self.crew.look(self.room.mine, "group")


def test_a_run_begins_with_what_there_is_and_takes_the_rest_when_it_comes() -> None:
    watched = Watched(Rooms(1))
    assert (watched.start(), watched.now) == (1, 0.0)  # there is nothing to wait for
    watched.train(100)
    assert watched.room.wanted == 3 and not watched.room.calls  # an autoscaler may buy them
    watched.room.total = 3
    watched.train(3)
    assert watched.room.held() == 2  # as many as came
    watched.train(10)
    assert watched.room.calls == ["regroup"]
    assert watched.start() == 3 and watched.room.wanted == 0
    watched.room.total = 4
    watched.train(50)
    assert len(watched.room.calls) == 1  # what a change costs has to be made up first
    watched.train(20)
    assert len(watched.room.calls) == 2 and watched.start() == 4
    watched.train(200)
    assert len(watched.room.calls) == 2 and watched.room.wanted == 0


def test_after_a_loss_the_workers_that_are_left_continue() -> None:
    watched = Watched(Rooms(4))
    assert watched.start() == 4
    watched.train(5)
    watched.room.total = 2
    watched.room.mine = 2
    began = watched.now
    assert (watched.start(), watched.now) == (2, began)
    # a worker died, not its machine: its resources come back after a moment
    watched.room.total = watched.room.used = 4
    watched.room.mine = 0
    began = watched.now
    assert watched.crew.start_size() is None
    watched.room.used = 0
    assert watched.start() == 4 and watched.now - began < 1


def test_where_others_are_it_waits_a_moment_and_then_for_the_fewest() -> None:
    watched = Watched(Rooms(4, used=3))
    assert watched.start() == 1 and watched.now >= 4
    full = Watched(Rooms(4, used=4))
    assert full.start() == 1  # whose placement group waits


def test_a_run_takes_no_room_that_others_wait_for() -> None:
    watched = Watched(Rooms(4))
    watched.room.used = 3
    watched.start()
    watched.room.used = 0
    watched.train(3)
    assert watched.room.held() == 3
    watched.room.waiting = True  # the next trial has come
    watched.train(100)
    assert watched.room.held() == 0 and not watched.room.calls
    watched.room.waiting, watched.room.used = False, 2
    watched.train(20)
    assert watched.room.calls == ["regroup"] and watched.room.held() == 1
    watched.room.waiting = True  # before the workers have ended
    watched.train(5)
    assert watched.room.held() == 0
    watched.crew.close()
    assert watched.room.wanted == 0


def test_a_request_to_regroup_that_was_lost_is_made_again() -> None:
    """Workers that begin to train after it discard it (cluster/coordinator.py)."""
    watched = Watched(Rooms(1))
    watched.start()
    watched.room.total = 4
    watched.train(70)
    assert watched.room.calls == ["regroup"]
    watched.train(50)
    assert watched.room.calls == ["regroup"]  # a state may take that long to be stored
    watched.train(20)
    assert watched.room.calls == ["regroup", "regroup"] and watched.start() == 4


def test_to_regroup_is_no_failure() -> None:
    policy = ReplaceTheDead(FAILURES, lambda failures: None, None, 2)
    for _ in range(10):
        left = WorkerGroupError("left", {0: Regroup()})
        assert policy.make_decision(left) == FailureDecision.RETRY
        gone = ControllerError(WorkerGroupStartupTimeoutError(3))
        assert policy.make_decision(gone) == FailureDecision.RETRY
    # but the fewest are waited for as those of any run
    never = ControllerError(WorkerGroupStartupTimeoutError(2))
    decisions = [policy.make_decision(never) for _ in range(3)]
    assert decisions[-1] == FailureDecision.RAISE
    over = ReplaceTheDead(FAILURES, lambda failures: None, lambda: True, 2)
    assert over.make_decision(WorkerGroupError("left", {0: Regroup()})) == FailureDecision.RAISE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"workers_at_least": 0},
            "workers_at_least = 0: Input should be greater than or equal to 1",
        ),
        (
            {"workers_at_least": 3, "workers": 2},
            r"workers_at_least = 3: must be at most workers \(2\)",
        ),
        (
            {"workers_at_least": 1, "workers": 2, "exact_world_size": False},
            "workers_at_least = 1: needs exact_world_size",
        ),
        (
            {"workers_at_least": 1, "workers": 3},
            r"workers = 3: must be at most shards \(2\)",
        ),
    ],
)
def test_a_range_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        tiny(**changes)


def test_a_trial_says_how_many_workers_it_has_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(SYSTEM, tiny(workers=2, workers_at_least=1))
    changing = Trial(1, {}, prepared, prepared.plan(), str(tmp_path))
    machines = {"first": ["one", "two"], "second": ["one"], "third": ["one", "three"]}
    monkeypatch.setattr("ganforge.search.placement.machines_of", machines.__getitem__)
    for group, hosts in machines.items():
        changing.update({"placement_group": group, "workers": len(hosts)})
        update_machines(changing, group)
    assert [crew.workers for crew in changing.crews] == [2, 1, 2]
    assert len(changing.losses) == 1 and changing.losses[0].endswith(", with 1 of 2 workers")
    assert changing.news.startswith("continues with 2 of 2 workers from image 0")


@pytest.mark.ray
def test_where_the_fewest_fit_a_run_begins(cluster: None) -> None:
    each = {"CPU": 1.0}
    assert wait_for_slots(4, each, joined=False, fewest=2).worker_slots == 2
    with pytest.raises(SettingsError, match="workers_at_least = 3: each needs 1 CPU, but there"):
        wait_for_slots(4, each, joined=False, fewest=3)
    with pytest.raises(SettingsError, match="concurrent = 2: 2 trials of 2 workers"):
        wait_for_slots(4, each, joined=False, fewest=2, trials=2)
    # with all of its workers, and on what is left over with less
    assert [slots(n, each, 1).trial_slots for n in (1, 2, 3)] == [2, 1, 1]


def until(true: Callable[[], bool]) -> None:
    """Wait until Ray has noticed."""
    while not true():
        time.sleep(0.05)


@pytest.mark.ray
def test_the_room_in_a_cluster(cluster: None) -> None:
    here: list[str] = []
    room = ClusterRoom({"CPU": 1.0}, free_resources, lambda: here)
    assert room.whole() == 2
    here.append(ray.get_runtime_context().get_node_id())  # about to be taken away
    assert room.whole() == room.free() == 0
    here.clear()
    own = placement_group([{"CPU": 1.0}])
    until(lambda: room.free() == 1)
    assert room.free(own.id.hex()) == 2  # what the run itself has is free for its next workers
    room.reserve(1)
    until(lambda: room.held() == 1)
    until(lambda: room.free() == 0)
    room.reserve(2)  # in place of that; it is asked for, and not there
    until(lambda: room.free() == 1)
    assert room.held() == 0 and not room.others_wait()
    other = placement_group([{"CPU": 1.0}] * 2)
    until(room.others_wait)
    for group in (own, other):
        remove_placement_group(group)
    until(lambda: room.held() == 2)
    room.give_back()
    until(lambda: room.free() == 2)
    assert not room.others_wait() and held() == {}


@pytest.mark.ray
def test_trials_at_a_time_share_what_there_is(cluster: None, tmp_path: Path) -> None:
    prepared = prepare(SYSTEM, tiny(workers=2, workers_at_least=1))
    coordinator = TrialCoordinator()
    job = make_job(prepared, METRIC, "", coordinator)
    coordinator.close()
    alone = SearchRequest(prepared, {}, METRIC, str(tmp_path), "", "", limits=Limits(4))
    found, there = wait_for_capacity(alone, job)
    assert (found.workers, there.trial_slots) == (2, 1)
    found, there = wait_for_capacity(replace(alone, concurrent=2), job)
    assert (found.workers, found.fewest, there.trial_slots) == (1, 1, 2)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", [(), ("--search",)], ids=["train", "search"])
def test_one_four_two_and_three_workers_end_in_the_bits_of_one(
    how: tuple[str, ...], tmp_path: Path
) -> None:
    """On Ray nodes of its own, which come and are killed in the middle of stages."""
    out = tmp_path / "out.json"
    command = [sys.executable, str(SCRIPT), "--seconds", "50", "--json", str(out), *how]
    done = subprocess.run(command, capture_output=True, text=True)
    assert out.exists(), done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["through"], found["lines"]
    assert found["same"]
    assert found["left"] == {}
