"""What a run's page opens with, in markdown: what it is, its score, how to train it again."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ganforge.console import plain
from ganforge.tracking.versions import source
from ganforge.training.report import StageResult

_MARKUP = str.maketrans({"<": "&lt;", ">": "&gt;", "[": "\\[", "]": "\\]", "`": "'"})


@dataclass(frozen=True)
class Description:
    """The facts of one run. Empty ones are left out.

    `outcome` is a phrase, `commands` are by what they do, `searched` the settings that a search
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
    """The description in markdown; of a run that has begun or ended."""
    # the page shows four lines or so and folds the rest
    head = [f"**{escaped(facts.title)}**. {_result(facts)}"]
    head += [f"{what}: {_code(command)}" for what, command in facts.commands.items()]
    about = [("Data set", facts.data), ("commit", commit())]
    head.append("; ".join(f"{name}: {value}" for name, value in about if value))
    parts = ["  \n".join(line for line in head if line)]
    parts += [f"> {escaped(remark)}" for remark in facts.remarks]
    if facts.table:
        parts.append(facts.table)
    if facts.stages:
        parts.append(_stages(facts))
    if facts.searched:
        rows = [(_code(key), _shown(value)) for key, value in facts.searched.items()]
        parts.append(markdown_table(("searched setting", "value"), rows))
    return "\n\n".join(parts)


def _result(facts: Description) -> str:
    """One line: the outcome and the best score, next to bicubic."""
    for stage in reversed(facts.stages):
        score, bicubic = stage.score(facts.metric), stage.bicubic(facts.metric)
        if score is not None:
            compared = "" if bicubic is None else f" (bicubic {bicubic:.3f})"
            return f"Outcome: {escaped(facts.outcome)}. **{facts.metric} {score:.3f}**{compared}."
    return f"Outcome: {escaped(facts.outcome)}."


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
    return f"{value:.5g}" if isinstance(value, float) else escaped(str(value))


def escaped(text: str) -> str:
    """A text that others chose, for a page in markdown: no markup, no link, on one line."""
    return plain(text).translate(_MARKUP)


def _code(text: str) -> str:
    return "`" + plain(text).replace("`", "'") + "`"


def data_name(settings: Any) -> str:
    """What the images are called: their folders, or the set that is used without one."""
    source, roots = settings.data.source, settings.data.folders
    if roots:
        return " + ".join(os.path.basename(os.path.normpath(root)) for root in roots)
    return source.removeprefix("torchvision:") if ":" in source else f"built-in {source}"


def describe_data(settings: Any, fingerprint: str) -> str:
    """The data set by name and by the fingerprint of its pixels."""
    return f"{escaped(data_name(settings))}, fingerprint `{fingerprint[:12]}`"


def commit() -> str:
    """The git commit of the code; empty outside of a work tree."""
    found = source()
    if not found:
        return ""
    changed = ", with changes that are not committed" if found["git.dirty"] == "true" else ""
    return f"`{found['mlflow.source.git.commit'][:12]}`{changed}"


def compare_command(uri: str, name: str) -> str:
    """The command that shows the images of all runs of a search, or of an experiment."""
    return f"ganforge compare {shlex.quote(name)} --serve --tracking-uri {shlex.quote(uri)}"


def reproduce_command(uri: str, run_id: str) -> str:
    """The command that trains a run again and compares."""
    return f"ganforge reproduce --run {run_id} --tracking-uri {shlex.quote(uri)}"
