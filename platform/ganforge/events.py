"""What happens to a run, for listeners of the user's; MLflow is the record, these are copies."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

logger = logging.getLogger("ganforge")
Kind = Literal["started", "report", "ended"]


@dataclass(frozen=True)
class Event:
    """Something that happened to a run.

    `run` names it: "train-…", or "search-…/trial-0003". It is `started` once more where it was
    paused or interrupted; a `report` has the metrics after `images` images in all and `step` steps
    of stage `stage`, as they are recorded, and `grid`, a PNG of the samples, where they were drawn;
    `ended` has the `outcome`. `settings` are by dotted key, `searched` those of them that a search
    chose.
    """

    kind: Kind
    run: str
    run_id: str
    settings: Mapping[str, Any]
    searched: Mapping[str, Any] = field(default_factory=dict)
    trial: int | None = None
    stage: int = 0
    step: int = 0
    images: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    grid: bytes | None = None
    outcome: str = ""


Listener = Callable[[Event], object]


class Listeners:
    """Several listeners as one: each gets a report once, however often a run is resumed; one that
    raises is left out from then on, and training continues."""

    def __init__(self, listeners: Sequence[Listener] = ()):
        self._listeners = list(listeners)
        self._reported: set[tuple[str, int, int]] = set()

    def __bool__(self) -> bool:
        """Whether anyone listens."""
        return bool(self._listeners)

    def __call__(self, event: Event) -> None:
        if event.kind == "report":
            position = (event.run, event.stage, event.step)
            if position in self._reported:
                return
            self._reported.add(position)
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception as error:
                self._listeners.remove(listener)
                first = (str(error).splitlines() or [""])[0][:300]
                logger.warning(
                    "listener %s: %s: %s. It gets no further events; training continues",
                    name_of(listener), type(error).__name__, first,
                )  # fmt: skip


def name_of(listener: Listener) -> str:
    """What a message calls a listener."""
    return getattr(listener, "__qualname__", type(listener).__qualname__)
