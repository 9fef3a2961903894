"""A training for listeners of the user's: what its worker reports, as events."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ganforge.events import Event, Kind, Listeners

if TYPE_CHECKING:
    from ganforge.cluster.coordinator import Summary


class RunEvents:
    """Events of the run `name` with these settings by dotted key; `run_id` is empty where the
    tracking store could not be reached."""

    def __init__(self, listeners: Listeners, name: str, run_id: str, settings: Mapping[str, Any]):
        self._listeners = listeners
        self._name, self._run_id, self._settings = name, run_id, settings

    def started(self) -> None:
        self._send("started")

    def report(self, summary: "Summary") -> None:
        """Pass a summary of rank 0 on, where it is a report."""
        if "metrics" in summary:
            self._send(
                "report",
                stage=summary["index"],
                step=summary["step"],
                images=summary["images"],
                metrics=summary["metrics"],
                grid=summary.get("grid"),
            )

    def ended(self, outcome: str) -> None:
        self._send("ended", outcome=outcome)

    def _send(self, kind: Kind, **facts: Any) -> None:
        self._listeners(Event(kind, self._name, self._run_id, self._settings, **facts))
