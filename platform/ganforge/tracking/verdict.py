"""A reproduction in the record: a run of its own, in the experiment of the original."""

from typing import Any

from ganforge.tracking.description import (
    Description,
    data_name,
    describe_run,
    reproduce_command,
)
from ganforge.tracking.queries import fetch_experiment
from ganforge.tracking.runs import Opening, end_run, open_run


def record_verdict(
    uri: str,
    run_id: str,
    name: str,
    settings: Any,
    tags: dict[str, str],
    text: str,
    ok: bool,
) -> str:
    """Record how a reproduction of run `run_id` came out; the id of the run that says so."""
    facts = Description(
        f"Reproduction of run {run_id}",
        text,
        commands={"Do it again": reproduce_command(uri, run_id)},
        data=data_name(settings),
    )
    note = describe_run(facts)
    opening = Opening(kind="reproduce", name=name, settings=settings, description=note, tags=tags)
    made = open_run(uri, fetch_experiment(uri, run_id), opening)
    end_run(made, "FINISHED" if ok else "FAILED", text)
    return made.run_id
