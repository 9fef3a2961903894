"""One run on its way from the driver to its workers; light: every process of a trial reads it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ganforge.systems.base import Metric
from ganforge.tracking.run_ref import RunRef

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
    tracking: RunRef | None = None
    trial: int = 0
    settings: dict[str, Any] | None = None
