"""`ganforge.train` and `ganforge.tune`: the arguments of the two commands, and objects back."""

import contextlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ganforge.api.checks import as_text, check_switches, check_table, check_texts, check_whole
from ganforge.api.run import Run
from ganforge.api.study import Study
from ganforge.commands.configure import CliOptions
from ganforge.commands.resumed_search import LimitOptions
from ganforge.events import Listener
from ganforge.settings import SettingsError, shown, shown_key

Folders = str | Path | Sequence[str | Path]
OnEvent = str | Listener | Sequence[str | Listener]


def train(
    data: Folders | None = None,
    system: str | None = None,
    *,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    workers: int | None = None,
    gpu: bool = False,
    seed: int | None = None,
    target: int | None = None,
    scale: int | None = None,
    begin_with: str | Path | None = None,
    metric: str | None = None,
    experiment: str = "ganforge",
    tracking_uri: str | None = None,
    storage: str | Path = "ganforge-runs",
    resume: bool = False,
    on_event: OnEvent = (),
    quiet: bool = False,
) -> Run:
    """Train one configuration, as `ganforge train` does; the run that it became.

    `data` is a folder of images or several; `settings` are changes by dotted key, such as
    {"critic.learning_rate": 1e-3}; `target` and `scale` make a ladder of stages, and `begin_with`
    is what `--from` takes. SettingsError for bad input
    before anything starts, TrainingFailed where the training fails; a run that is interrupted is
    continued with `resume=True`. `on_event` is called with each Event of the run, or names
    listeners as `--listener` does. With `quiet` nothing is printed.
    """
    from ganforge.commands.train import TrainOptions
    from ganforge.commands.train import train as command

    check_texts(experiment=experiment, metric=metric)
    check_whole("seed", seed, 0)
    check_switches(gpu=gpu, resume=resume, quiet=quiet)
    with _printing(quiet):
        found = command(
            replace(
                _options(
                    data, system, preset, settings, workers, target, scale, begin_with, tracking_uri
                ),
                gpu=gpu,
                seed=seed,
            ),
            TrainOptions(
                metric=metric,
                experiment=experiment,
                tracking_uri=tracking_uri,
                storage=str(storage),
                resume=resume,
                listeners=_several(on_event),
            ),
        )
    assert found is not None  # it was no dry run
    return Run(found.run_id, found.uri, found.metric.name, found.store)


def tune(
    data: Folders | None = None,
    system: str | None = None,
    *,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    space: str | Path | Mapping[str, Any] | None = None,
    trials: int | None = None,
    budget: str | None = None,
    patience: int | None = None,
    strategy: str | None = None,
    sampler: str = "tpe",
    points: str | Path | None = None,
    points_by: str | None = None,
    warm_start: str | Sequence[str] = (),
    rungs: int | None = None,
    seeds: int | None = None,
    confirm: int | None = None,
    trial_limit: str | None = None,
    concurrent: int | None = None,
    workers: int | None = None,
    gpu: bool = False,
    seed: int = 0,
    target: int | None = None,
    scale: int | None = None,
    begin_with: str | Path | None = None,
    metric: str | Sequence[str] | None = None,
    experiment: str = "ganforge",
    tracking_uri: str | None = None,
    storage: str | Path = "ganforge-runs",
    register: str | None = None,
    resume: bool | str = False,
    on_event: OnEvent = (),
    quiet: bool = False,
) -> Study:
    """Search a system's settings, as `ganforge tune` does; the study that it became.

    `space` is a dictionary from dotted keys to Ray Tune's domains, a file that has such a SPACE, or
    the name of one of `search_spaces`. `metric` may be several: the study then has a `front`.
    `resume` continues the newest search of the experiment, or the one it names; an interrupted
    search returns what it has, and can be resumed. `points`, `warm_start`, `rungs`, `seeds`,
    `confirm` and `trial_limit` are the options of that name. Other arguments as for `train`.
    """
    from ganforge.commands.tune import TuneOptions
    from ganforge.commands.tune import tune as command

    metrics = [metric] if isinstance(metric, str) else metric or []
    if not isinstance(metrics, Sequence):
        raise SettingsError(f"metric = {shown(metric)}: must be a text, or several")
    metrics = list(metrics)
    for each in metrics:
        check_texts(metric=each)
    check_texts(
        experiment=experiment, budget=budget, strategy=strategy, sampler=sampler,
        trial_limit=trial_limit, points_by=points_by, register=register,
    )  # fmt: skip
    check_switches(gpu=gpu, quiet=quiet, resume=isinstance(resume, str) or resume)
    for name, value, least in (
        ("trials", trials, 1), ("concurrent", concurrent, 1), ("patience", patience, 0),
        ("seed", seed, 0), ("rungs", rungs, 1), ("seeds", seeds, 1), ("confirm", confirm, 0),
    ):  # fmt: skip
        check_whole(name, value, least)
    if not isinstance(space, Mapping):
        space = as_text("space", space)
    with _printing(quiet):
        found = command(
            replace(
                _options(
                    data, system, preset, settings, workers, target, scale, begin_with, tracking_uri
                ),
                gpu=gpu,
                rungs=rungs,
            ),
            TuneOptions(
                space=space,
                strategy=strategy,
                sampler=sampler,
                points=as_text("points", points),
                points_by=points_by,
                warm_start=(warm_start,) if isinstance(warm_start, str) else tuple(warm_start),
                limits=LimitOptions(
                    trials=trials,
                    budget=budget,
                    patience=patience,
                    trial_limit=trial_limit,
                    confirm=confirm,
                ),
                seeds=seeds,
                concurrent=concurrent,
                seed=seed,
                metrics=metrics,
                experiment=experiment,
                tracking_uri=tracking_uri,
                storage=str(storage),
                register=register,
                resume=bool(resume),
                search_id=resume if isinstance(resume, str) else "",
                listeners=_several(on_event),
            ),
        )
    assert found is not None
    return Study(found.result, found.metric, found.uri)


def _options(
    data: Any,
    system: Any,
    preset: Any,
    settings: Any,
    workers: Any,
    target: Any,
    scale: Any,
    begin_with: Any,
    tracking_uri: Any,
) -> CliOptions:
    """What decides the settings of a run, checked."""
    from ganforge.commands.initial_weights import initial_weights

    check_texts(system=system, preset=preset, tracking_uri=tracking_uri)
    for name, value in (("workers", workers), ("target", target), ("scale", scale)):
        check_whole(name, value, 1)
    given = as_text("begin_with", begin_with)
    return CliOptions(
        system=system,
        preset=preset,
        data=_folders(data),
        workers=workers,
        target=target,
        scale=scale,
        changes=changes(settings),
        initial_weights=given and initial_weights(given, "all", tracking_uri),
    )


def changes(settings: Mapping[str, Any] | None, before: str = "") -> list[str]:
    """Settings as `--set` has them; a dictionary in place of a value is a group."""
    check_table("settings", settings)
    found: list[str] = []
    for key, value in (settings or {}).items():
        name = f"{before}{key}"
        if not isinstance(key, str) or "=" in key:
            raise SettingsError(f"{shown_key(name)}: a key must be the name of a setting, as text")
        if isinstance(value, Mapping) and value:
            found += changes(value, f"{name}.")
        else:
            found.append(f"{name}={_word(value)}")
    return found


def _word(value: Any) -> str:
    """A value as a word of the command line; lists and tables as JSON."""
    if value is None:
        return "none"
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, default=_plain)
    return str(_plain(value))


def _plain(value: Any) -> Any:
    """A number of NumPy's or torch's as Python's; a path as text."""
    item = getattr(value, "item", None)
    if callable(item):
        return item()
    return str(value) if isinstance(value, Path) else value


def _several(on_event: OnEvent) -> list[str | Listener]:
    """Listeners; SettingsError for what is neither a name nor can be called."""
    given = [on_event] if isinstance(on_event, str) or callable(on_event) else on_event
    if not isinstance(given, Sequence) or not all(isinstance(e, str) or callable(e) for e in given):
        raise SettingsError(
            f"on_event = {shown(on_event)}: must be a function of one event, a text such as "
            "'tensorboard:logs', or several"
        )
    return list(given)


def _folders(data: Folders | None) -> tuple[str, ...]:
    if data is None:
        return ()
    given = [data] if isinstance(data, str | Path) else data
    if not isinstance(given, Sequence) or isinstance(given, bytes) or not given:
        raise SettingsError(
            f"data = {shown(data)}: must be a folder, or several; leave it out for the photographs "
            "that come with scikit-image"
        )
    return tuple(as_text("data", one) or "" for one in given)


@contextlib.contextmanager
def _printing(quiet: bool) -> Iterator[None]:
    """With `quiet` nothing is printed. (It holds for the process: other threads are quiet too.)"""
    if not quiet:
        yield
        return
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
