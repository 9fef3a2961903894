"""One run on its way from the driver to its workers; light: every process of a trial reads it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ganforge.systems.base import Metric
from ganforge.tracking.record import Tracking

if TYPE_CHECKING:
    from ray import ObjectRef

    from ganforge.training.prepare import Prepared


@dataclass(frozen=True)
class Job:
    """What a worker is to do. Tensors travel once, through the object store.

    In a search `settings` (plain data) replace those of the prepared run, and `exchange` is asked
    at stage ends whether the trial goes on.
    """

    prepared: "ObjectRef[Prepared]"
    metric: Metric
    store: str
    workers: int
    threads: int
    gpu: bool
    exchange: Any
    tracking: Tracking | None = None
    trial: int = 0
    settings: dict[str, Any] | None = None


def work(config: dict[str, Job]) -> None:
    """The function of each Train worker."""
    # here and not above: the trial's driver and controller need none of it, and it takes seconds
    from ganforge.cluster.worker import worker

    worker(config["job"])
