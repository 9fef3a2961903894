"""`ganforge reproduce`: train a recorded run again, and prove that it comes out the same."""

import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from safetensors.torch import load as load_tensors

from ganforge.assets import keep, present
from ganforge.cluster.variables import BUILT_IN
from ganforge.commands.configure import check_images, choose_metric
from ganforge.settings import SettingsError, override, validated
from ganforge.systems.catalog import load_system

if TYPE_CHECKING:
    from ganforge.training.report import StageResult


def reproduce(
    run_id: str | None,
    experiment: str,
    tracking_uri: str | None,
    data: str | None,
    metric: str | None,
    from_stage: int | None,
    storage: str | None,
    accept: list[str],
) -> None:
    """Exit code 0 only when every stage came out equal."""
    from ganforge.tracking.client import existing_uri
    from ganforge.tracking.models import fetch_images, system_of
    from ganforge.tracking.queries import best_run, fetch_settings, fetch_stages, fetch_tags

    if bad := set(accept) - {"code"}:
        raise SettingsError(f"--accept {bad.pop()}: only `code` can be accepted")
    uri = existing_uri(tracking_uri)
    if run_id is None:
        chosen = choose_metric(load_system(system_of(uri, experiment)), metric)
        run_id = best_run(uri, experiment, *chosen)
    rows = fetch_stages(uri, run_id)
    if not rows:
        raise SettingsError(f"run {run_id}: no stage is finished, so nothing can be compared")
    prepared = _prepared(uri, run_id, fetch_settings(uri, run_id), data)
    console = Console()
    _line(console, f"run {run_id}: {len(rows)} stages of {prepared.system} are recorded")
    _refuse(console, prepared, rows, fetch_images(uri, run_id), accept)
    start = None
    if from_stage:
        place = storage or fetch_tags(uri, run_id).get("storage")
        start = _snapshot(place, from_stage, len(rows))
    verdicts = _again(console, prepared, rows, start, any_code="code" in accept)
    _finish(console, uri, run_id, prepared, rows, verdicts)


def _prepared(uri: str, run_id: str, record: dict[str, Any], data: str | None) -> Any:
    """The recorded settings, with the images and frozen networks of this machine."""
    from ganforge.tracking.models import fetch_asset, fetch_system
    from ganforge.training.prepare import prepare

    system = fetch_system(uri, run_id, record["system"])
    settings = validated(load_system(system).Settings, record["settings"])
    # one process computes all shards: the bits do not depend on the number of workers
    root = {"data.root": None if data == BUILT_IN else data} if data else {}
    settings = override(settings, {"workers": 1} | root)
    network = getattr(getattr(settings, "perceptual", None), "network", "none")
    if network.startswith("sha256:") and not present(network):
        content = fetch_asset(uri, run_id, network)
        if content is not None:
            keep(network, load_tensors(content))
    check_images(system, settings)
    return prepare(system, settings)


def _refuse(
    console: Console,
    prepared: Any,
    rows: list["StageResult"],
    images: dict[str, str],
    accept: list[str],
) -> None:
    """Name every difference; go on only with those that are accepted."""
    from ganforge.training.compare import obstacles

    found = obstacles(prepared, rows, images)
    refused = False
    for kind, lines in found.items():
        for line in lines:
            _line(console, f"{kind} differs: {line}")
        if lines and kind in accept:
            _line(console, f"going on all the same: {kind} is accepted")
        refused |= bool(lines) and kind not in accept
    if refused:
        kinds = [kind for kind, lines in found.items() if lines]
        hint = "; --accept code goes on in spite of it" if kinds == ["code"] else ""
        _line(console, f"refused: not the run that was recorded ({', '.join(kinds)} differ{hint})")
        sys.exit(1)


def _snapshot(place: str | None, from_stage: int, recorded: int) -> Any:
    """The state at the end of the stage before `from_stage`."""
    from ganforge.training.checkpoint import Store

    if not 0 < from_stage < recorded:
        raise SettingsError(f"--from-stage {from_stage}: the record has stages 0 to {recorded - 1}")
    if place is None:
        raise SettingsError(
            "--from-stage: the record does not say where states are; give --storage"
        )
    found = Store(place).at(from_stage - 1)
    if found is None:
        raise SettingsError(
            f"--from-stage {from_stage}: the state at the end of stage {from_stage - 1} was not "
            f"kept in {place}; train with --set keep=all to keep it, or reproduce from the start"
        )
    return found


def _again(
    console: Console, prepared: Any, rows: list["StageResult"], start: Any, *, any_code: bool
) -> list[Any]:
    """Train the recorded stages again and judge each as it ends."""
    from ganforge.training.compare import judge
    from ganforge.training.run import run

    recorded, verdicts = {row.index: row for row in rows}, []
    for report in run(prepared, start=start):
        row = report.stage
        if row is None or row.index not in recorded:
            continue
        verdict = judge(recorded[row.index], row, any_code=any_code)
        verdicts.append(verdict)
        word = "identical" if verdict.equal and verdict.exact else "within tolerance"
        state = word if verdict.equal else "DIFFERENT"
        _line(console, f"stage {row.index} ({row.resolution} px): {state}")
        for line in verdict.lines:
            _line(console, f"    {line}")
        if row.index == rows[-1].index:
            break
    return verdicts


def _finish(
    console: Console,
    uri: str,
    run_id: str,
    prepared: Any,
    rows: list["StageResult"],
    verdicts: list[Any],
) -> None:
    """Print the table, log the verdict as a run of its own, exit."""
    from ganforge.tracking.models import record_verdict
    from ganforge.training.compare import TOLERANCES
    from ganforge.training.lineage import differences

    table = Table(title="recorded, and done again here")
    for column in ("stage", "resolution", "environment", "verdict"):
        table.add_column(column)
    by_index = {row.index: row for row in rows}
    for verdict in verdicts:
        environment = "the same" if verdict.exact else "another"
        state = "equal" if verdict.equal else "different"
        table.add_row(
            str(verdict.index), str(by_index[verdict.index].resolution), environment, state
        )
    console.print(table)
    equal = sum(verdict.equal for verdict in verdicts)
    exact = all(verdict.exact for verdict in verdicts)
    word = "identical" if exact else "within tolerance"
    text = f"{equal}/{len(verdicts)} stages {word}"
    if not exact:
        from ganforge.training.lineage import environment as environment_of
        from ganforge.training.run import choose_device

        here = environment_of(choose_device(prepared.settings), prepared.settings.threads)
        for line in differences(rows[0].environment, here):
            _line(console, f"environment differs: {line}")
        limits = ", ".join(f"{name} ± {value}" for name, value in TOLERANCES.items())
        _line(console, f"bits are only promised in one environment; compared: {limits}")
    ok = bool(verdicts) and equal == len(verdicts)
    tags = {"reproduces": run_id, "verdict": text}
    made = record_verdict(
        uri, run_id, f"reproduction of {run_id[:8]}", prepared.settings, tags, text, ok
    )
    _line(console, f"{text}; the verdict is run {made}")
    if not ok:
        sys.exit(1)


def _line(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)
