"""An asynchronous clock: workers that train, a search that decides when one is free.

A worker that is free asks the arm for a job: one trial up to one step. The job ends when its steps'
costs are spent, and only then are its scores reported; the arm decides with what was reported by
then. So with several workers, decisions are made without the results of the jobs that still run.
"""

import heapq
from dataclasses import dataclass, field
from typing import Protocol

from search_tasks import Point, Task, Training, target


@dataclass(frozen=True)
class Job:
    """Train a trial up to a step: 1 is the first, `task.steps` the last."""

    trial: int
    step: int


@dataclass
class Lab:
    """The trials of one search: a suggestion becomes a run here."""

    task: Task
    trials: list[Training] = field(default_factory=list)
    used: set[int] = field(default_factory=set)

    def begin(self, point: Point) -> int | None:
        """The number of a new trial, None where a pool is exhausted."""
        training = self.task.train(point, self.used)
        if training is None:
            return None
        self.trials.append(training)
        return len(self.trials) - 1


class Arm(Protocol):
    """A way to search."""

    def next(self, lab: Lab) -> Job | None:
        """What a free worker does; None: nothing, until something is reported."""
        ...

    def report(self, lab: Lab, job: Job, diverged: bool) -> None:
        """A job has ended: the trial's scores up to `job.step` may be read. Where it diverged,
        the scores before the step at which it did."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How a search went.

    `device_seconds` are those of all workers together, `clock` the seconds of the simulated clock,
    both until a final score within the target was reported, or until the budget was spent or the
    arm had nothing left to do (`reached` is false). `regret` is the part of the way from the best
    to the median final score that is left at that moment; `trace` the regret whenever it improved.
    """

    reached: bool
    device_seconds: float
    clock: float
    regret: float
    trials: int
    finished: int
    trace: tuple[tuple[float, float], ...]


def simulate(task: Task, arm: Arm, workers: int) -> Outcome:
    """One search until its target, or the end of its budget."""
    lab = Lab(task)
    goal, span = target(task), task.best - task.median
    at: dict[int, int] = {}
    running: list[tuple[float, int, float, Job, bool]] = []
    clock = done = 0.0
    begun, finished, best = 0, 0, float("-inf")
    trace: list[tuple[float, float]] = []

    def spent() -> float:
        return done + sum(clock - start for _, _, start, _, _ in running)

    while True:
        while len(running) < workers:
            job = arm.next(lab)
            if job is None:
                break
            training = lab.trials[job.trial]
            cost = float(training.costs[at.get(job.trial, 0) : job.step].sum())
            diverged = job.step > len(training.scores)
            heapq.heappush(running, (clock + cost, begun, clock, job, diverged))
            begun += 1
        if not running:
            break
        clock, _, start, job, diverged = heapq.heappop(running)
        done += clock - start
        at[job.trial] = job.step
        if not diverged and job.step == task.steps:
            finished += 1
            score = float(lab.trials[job.trial].scores[-1])
            if score > best:
                best = score
                trace.append((spent(), (task.best - best) / span))
        if best >= goal or spent() >= task.budget:
            break
        arm.report(lab, job, diverged)
    regret = (task.best - best) / span if finished else float("inf")
    counts = (len(lab.trials), finished)
    return Outcome(best >= goal, spent(), clock, regret, *counts, tuple(trace))
