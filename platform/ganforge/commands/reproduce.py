"""`ganforge reproduce`: train a recorded run again, and prove that it comes out the same."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganforge.assets import keep_bytes, present
from ganforge.commands.configure import (
    check_images,
    choose_metric,
    folder_changes,
    print_images,
)
from ganforge.commands.results import ReproduceResult, StageVerdict
from ganforge.commands.start import check_accept, images_bar
from ganforge.console import Bars, Console, Table
from ganforge.settings import SettingsError, override, validated
from ganforge.systems.catalog import in_file, load_system, recorded_name

if TYPE_CHECKING:
    from ganforge.schedule import Position, Stage
    from ganforge.training.checkpoint import Snapshot
    from ganforge.training.compare import Verdict
    from ganforge.training.prepare import Prepared
    from ganforge.training.report import StageResult


def reproduce(
    run_id: str | None,
    experiment: str,
    tracking_uri: str | None,
    data: Sequence[str],
    others: Mapping[str, str | None],
    metric: str | None,
    from_stage: int | None,
    storage: str | None,
    accept: list[str],
    strict: bool = False,
    trust_code: bool = False,
) -> ReproduceResult:
    """Train it again and compare every state; refused where it cannot be tried.

    `others` are folders besides that of the training images, by their setting, such as
    validation.root, where they are elsewhere than recorded. Other code and another environment are
    listed and tried, but for `strict`.
    """
    from ganforge.systems.base import Metric
    from ganforge.tracking.artifacts import fetch_images, system_of
    from ganforge.tracking.client import existing_uri
    from ganforge.tracking.preference import METRIC as PREFERENCE
    from ganforge.tracking.queries import (
        best_run,
        fetch_settings,
        fetch_stages,
        fetch_states,
        fetch_tags,
    )

    check_accept(accept)
    folders = folder_changes(data) | {key: where for key, where in others.items() if where}
    uri = existing_uri(tracking_uri)
    if run_id is None:
        kind = load_system(system_of(uri, experiment, trust_code=trust_code))
        # what people chose is a metric of every system (`ganforge compare`)
        chosen = Metric(PREFERENCE, "max") if metric == PREFERENCE else choose_metric(kind, metric)
        run_id = best_run(uri, experiment, *chosen)
    results = fetch_stages(uri, run_id)
    if not results:
        kind = fetch_tags(uri, run_id).get("kind", "")
        if kind not in ("trial", "train"):
            raise SettingsError(
                f"run {run_id}: is not a training ({kind or 'of another program'}); give the run "
                "of a trial, or --experiment for its best one"
            )
        raise SettingsError(f"run {run_id}: no stage is finished, so nothing can be compared")
    prepared = _prepared(uri, run_id, fetch_settings(uri, run_id), folders, trust_code)
    console = Console()
    name = recorded_name(prepared.system)  # and not where its file was put on this machine
    many = "1 stage of {} is" if len(results) == 1 else f"{len(results)} stages of {{}} are"
    _line(console, f"run {run_id}: {many.format(name)} recorded")
    for note in _unused_file(prepared):
        _line(console, note)
    found = _differences(prepared, results, fetch_images(uri, run_id))
    if _refused(console, found, accept, strict):
        return ReproduceResult(run_id, "refused", found)
    start = None
    if from_stage:
        start = _snapshot(storage, fetch_tags(uri, run_id).get("storage"), from_stage, len(results))
    states = fetch_states(uri, run_id)
    verdicts = _again(console, prepared, results, states, start, found["code"])
    return _finish(console, uri, run_id, prepared, results, verdicts, found)


def _prepared(
    uri: str, run_id: str, record: dict[str, Any], folders: dict[str, Any], trust_code: bool
) -> "Prepared":
    """The recorded settings, with the images and frozen networks of this machine."""
    from ganforge.tracking.artifacts import fetch_asset, fetch_system
    from ganforge.training.prepare import prepare

    system = fetch_system(uri, run_id, record["system"], trust_code=trust_code)
    settings = validated(load_system(system).Settings, record["settings"])
    # one process computes all shards: the bits do not depend on the number of workers
    # nor is anything written into a folder because a record names it
    settings = override(settings, {"workers": 1, "data.cache_directory": None} | folders)
    network = getattr(getattr(settings, "perceptual", None), "network", "none")
    for asset in (network, settings.initial_weights):
        if asset.startswith("sha256:") and not present(asset):
            content = fetch_asset(uri, run_id, asset)
            if content is not None:
                keep_bytes(asset, content)
    print_images(check_images(system, settings))
    with images_bar():
        return prepare(system, settings)


def _unused_file(prepared: "Prepared") -> list[str]:
    """A file of one's own that was edited since is not what is trained again: said, not guessed."""
    if not in_file(prepared.system):
        return []
    name = recorded_name(prepared.system).rpartition(":")[0]
    here = Path(name)
    if not here.is_file() or here.read_bytes() == prepared.sources.get(name, "").encode():
        return []
    return [
        f"code: the run's own copy of {name} is trained; the {name} in this directory differs from "
        "it and is not used"
    ]


def _differences(
    prepared: "Prepared", results: "list[StageResult]", images: dict[str, str]
) -> dict[str, list[str]]:
    """What differs between the record and this machine: code, data, settings, environment."""
    from ganforge.training.compare import obstacles
    from ganforge.training.lineage import differences, environment
    from ganforge.training.run import be_deterministic, choose_device

    found = obstacles(prepared, results, images)
    device = choose_device(prepared.settings)
    be_deterministic(prepared.settings, device)
    here = environment(device, prepared.settings.threads, prepared.settings.packages)
    return found | {"environment": differences(results[0].environment, here)}


def _refused(
    console: Console, found: dict[str, list[str]], accept: list[str], strict: bool
) -> bool:
    """Name every difference; whether one is in the way. Other images and settings are another run,
    which cannot be tried; other code and another environment are judged by what comes out, unless
    `strict`."""
    refusing = set(found) - set(accept) if strict else {"data", "settings"}
    refused = []
    for kind, lines in found.items():
        for line in lines:
            _line(console, f"{kind} differs: {line}")
        if lines and kind in refusing:
            refused.append(kind)
        elif lines:
            why = f"{kind} is accepted" if kind in accept else "the results are compared"
            _line(console, f"continuing: {why}")
    if refused:
        _line(console, f"refused: not the run that was recorded ({', '.join(refused)} differ)")
    return bool(refused)


def _snapshot(uri: str | None, said: str | None, from_stage: int, recorded: int) -> "Snapshot":
    """The state at the end of the stage before `from_stage`, in the storage `uri` that the user
    names; `said` is what the record says of it, which is shown and not opened."""
    from ganforge.tracking.named_store import shown
    from ganforge.training.checkpoint import Store

    if not 0 < from_stage < recorded:
        raise SettingsError(f"--from-stage {from_stage}: the record has stages 0 to {recorded - 1}")
    if uri is None:
        where = "does not say where states are" if said is None else f"names {shown(said)}"
        raise SettingsError(f"--from-stage: the record {where}; give --storage")
    found = Store(uri).at(from_stage - 1)
    if found is None:
        raise SettingsError(
            f"--from-stage {from_stage}: the state at the end of stage {from_stage - 1} was not "
            f"kept in {uri}; train with --set keep=all to keep it, or reproduce from the start"
        )
    return found


def _again(
    console: Console,
    prepared: "Prepared",
    results: "list[StageResult]",
    states: "dict[Position, dict[str, str]]",
    start: "Snapshot | None",
    code: list[str],
) -> "list[Verdict]":
    """Train the recorded stages again; compare every stored state, and judge each stage as it ends.

    Ends at the first state that differs, with the verdict of its stage. `code` are the definitions
    that differ.
    """
    from contextlib import closing

    from ganforge.training.compare import Verdict, differing, judge
    from ganforge.training.lineage import environment
    from ganforge.training.run import choose_device, run

    recorded, verdicts = {result.index: result for result in results}, list[Verdict]()
    here = environment(
        choose_device(prepared.settings), prepared.settings.threads, prepared.settings.packages
    )
    stages = prepared.plan().stages[: results[-1].index + 1]
    with Bars() as bars, closing(run(prepared, start=start)) as reports:
        bar = bars.add_task("", total=sum(stage.steps for stage in stages))
        for report in reports:
            position, again = report.position, report.stage
            _advance(bars, bar, stages, position)
            expected = recorded.get(position.index)
            if expected is None:
                continue
            exact = expected.environment == here
            if exact and report.state and position in states:
                lines = differing(states[position], report.state)
                if lines and again is None:
                    lines.insert(0, f"the state at step {position.step} is the first that differs")
                    verdicts.append(Verdict(position.index, False, True, tuple(lines)))
                    bars.stop()
                    _show(console, expected, verdicts[-1], code)
                    break
            if again is None:
                continue
            verdicts.append(judge(expected, again, other_code=bool(code)))
            bars.stop()
            _show(console, expected, verdicts[-1], code)
            bars.start()
            different = exact and not verdicts[-1].equal
            if different or position.index == results[-1].index:
                break
    return verdicts


def _advance(bars: Bars, bar: int, stages: "Sequence[Stage]", position: "Position") -> None:
    """Move the bar to a position, of all steps of the stages that are trained again."""
    index, step = position.index, position.step
    if index < len(stages):
        done = sum(stage.steps for stage in stages[:index]) + step
        text = f"stage {index + 1}/{len(stages)}, step {step}/{stages[index].steps}"
        bars.update(bar, completed=done, description=text)


def _show(console: Console, result: "StageResult", verdict: "Verdict", code: list[str]) -> None:
    """One stage's verdict; where it differs with the code that differs."""
    word = "identical" if verdict.exact else "within tolerance"
    state = word if verdict.equal else "DIFFERENT"
    _line(console, f"stage {result.index} ({result.resolution} px): {state}")
    for line in (*verdict.lines, *verdict.notes):
        _line(console, f"    {line}")
    for line in () if verdict.equal else code:
        _line(console, f"    changed code: {line}")


def _finish(
    console: Console,
    uri: str,
    run_id: str,
    prepared: "Prepared",
    results: "list[StageResult]",
    verdicts: "list[Verdict]",
    differences: dict[str, list[str]],
) -> ReproduceResult:
    """Print the table, log the verdict as a run of its own."""
    from ganforge.tracking.verdict import record_verdict
    from ganforge.training.compare import TOLERANCES

    table = Table(title="recorded, and done again here")
    for column in ("stage", "resolution", "environment", "verdict"):
        table.add_column(column)
    by_index = {result.index: result for result in results}
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
        limits = ", ".join(f"{name} ± {value}" for name, value in TOLERANCES.items())
        _line(console, f"bits are only promised in one environment; compared: {limits}")
    ok = bool(verdicts) and equal == len(verdicts)
    tags = {"reproduces": run_id, "verdict": text}
    made = record_verdict(
        uri, run_id, f"reproduction of {run_id[:8]}", prepared.settings, tags, text, ok
    )
    _line(console, f"{text}; the verdict is run {made}")
    stages = [
        StageVerdict(v.index, by_index[v.index].resolution, v.equal, v.exact, v.lines)
        for v in verdicts
    ]
    return ReproduceResult(run_id, word if ok else "different", differences, tuple(stages), made)


def _line(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)
