"""What a run's page opens with, in markdown: what it is, how good, how to get it again."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ganforge.tracking.versions import source
from ganforge.training.report import StageResult


@dataclass(frozen=True)
class Description:
    """The facts of one run. Empty ones are left out.

    `outcome` is in words, `commands` are by what they do, `searched` the settings that a search
    varied, with their values or their domains.
    """

    title: str
    outcome: str = "running"
    metric: str = ""
    stages: Sequence[StageResult] = ()
    commands: Mapping[str, str] = field(default_factory=dict)
    searched: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""
    remarks: Sequence[str] = ()
    table: str = ""


def describe_run(facts: Description) -> str:
    """The description in markdown; for a run that is going on or over."""
    # the page shows four lines or so and folds the rest
    head = [f"**{facts.title}**. {_result(facts)}"]
    head += [f"{what}: `{command}`" for what, command in facts.commands.items()]
    about = [("Data set", facts.data), ("commit", commit())]
    head.append("; ".join(f"{name}: {value}" for name, value in about if value))
    parts = ["  \n".join(line for line in head if line)]
    parts += [f"> {remark}" for remark in facts.remarks]
    if facts.table:
        parts.append(facts.table)
    if facts.stages:
        parts.append(_stages(facts))
    if facts.searched:
        rows = [(f"`{key}`", _shown(value)) for key, value in facts.searched.items()]
        parts.append(markdown_table(("searched setting", "value"), rows))
    return "\n\n".join(parts)


def _result(facts: Description) -> str:
    """One line: the outcome and the best score, with bicubic beside it."""
    for stage in reversed(facts.stages):
        score, bicubic = stage.score(facts.metric), stage.bicubic(facts.metric)
        if score is not None:
            compared = "" if bicubic is None else f" (bicubic {bicubic:.3f})"
            return f"Outcome: {facts.outcome}. **{facts.metric} {score:.3f}**{compared}."
    return f"Outcome: {facts.outcome}."


def _stages(facts: Description) -> str:
    with_bicubic = any(stage.bicubic(facts.metric) is not None for stage in facts.stages)
    names = ["stage", "resolution", facts.metric, *(["bicubic"] if with_bicubic else [])]
    rows = []
    for number, stage in enumerate(facts.stages):
        cells = [str(number), f"{stage.resolution} px", _shown(stage.score(facts.metric))]
        rows.append([*cells, *([_shown(stage.bicubic(facts.metric))] if with_bicubic else [])])
    return markdown_table(names, rows)


def markdown_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; a bar in a cell is not one of the table's."""
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def data_name(settings: Any) -> str:
    """What the images are called: their folder, or the built-in ones."""
    root = getattr(settings.data, "root", None)
    return "built-in photographs" if root is None else os.path.basename(os.path.normpath(root))


def data_words(settings: Any, fingerprint: str) -> str:
    """The data set by name and by the fingerprint of its pixels."""
    return f"{data_name(settings)}, fingerprint `{fingerprint[:12]}`"


def commit() -> str:
    """The git commit of the code; empty outside of a work tree."""
    found = source()
    if not found:
        return ""
    changed = ", with changes that are not committed" if found["git.dirty"] == "true" else ""
    return f"`{found['mlflow.source.git.commit'][:12]}`{changed}"


def reproduce_command(uri: str, run_id: str) -> str:
    """The words that train a run again and compare."""
    return f"ganforge reproduce --run {run_id} --tracking-uri {uri}"
