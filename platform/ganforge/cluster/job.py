"""One run on its way from the driver to its workers; light: every process of a trial reads it."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ray

from ganforge.systems.base import Metric
from ganforge.tracking.run_ref import RunRef

if TYPE_CHECKING:
    from ray import ObjectRef

    from ganforge.assets import Assets
    from ganforge.training.prepare import Prepared


@dataclass(frozen=True)
class Job:
    """What a worker does: all of it is resolved by the driver.

    `prepared` is the run's own part; the tensors in `assets` travel once for all trials of a
    search. In a search (`searched`) the coordinator decides at stage ends whether trial number
    `trial` continues; metrics `further` to the first must be measured, too. `ledger` is the
    storage whose ledger of stages is used. With `grids` sample grids come with the summaries. With
    `keeps_workers` the next trial gets the workers: no code but ganforge's was in their processes.
    A job runs with `fewest` to `workers` workers, and takes more only `grow_seconds` after it has
    started with less.
    """

    prepared: "ObjectRef[Prepared]"
    assets: "ObjectRef[Assets]"
    metric: Metric
    store: str
    workers: int
    threads: int
    gpu: bool
    coordinator: Any
    tracking: RunRef | None = None
    trial: int = 0
    searched: bool = False
    ledger: str | None = None
    further: tuple[Metric, ...] = ()
    grids: bool = False
    keeps_workers: bool = False
    fewest: int | None = None
    grow_seconds: float = 60.0


def load_prepared(job: Job) -> "Prepared":
    """The run as the driver resolved it, with its tensors."""
    prepared: Prepared = ray.get(job.prepared)
    assets: Assets = ray.get(job.assets)
    return replace(prepared, assets=assets | prepared.assets)
