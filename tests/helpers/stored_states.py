"""What a run stores, by position."""

from contextlib import closing
from pathlib import Path

from ganforge.schedule import Position
from ganforge.training.prepare import Prepared
from ganforge.training.run import run


def states(prepared: Prepared, folder: Path, most: int = 99) -> dict[Position, str]:
    """The sha256 of each state that a run stores in `folder` from where it stands there, until
    there are `most`."""
    found: dict[Position, str] = {}
    with closing(run(prepared, store=str(folder), resume=True)) as reports:
        for report in reports:
            if report.state is not None:
                found[report.position] = report.state["state_sha256"]
            if len(found) == most:
                break
    return found
