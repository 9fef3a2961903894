"""`ganforge.train` and `ganforge.tune`: the arguments of the two commands, and objects back."""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ganforge.api.run import Run
from ganforge.api.study import Study
from ganforge.commands.configure import CliOptions
from ganforge.commands.resumed_search import LimitOptions

Folders = str | Path | Sequence[str | Path]


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
    begin_with: str | None = None,
    metric: str | None = None,
    experiment: str = "ganforge",
    tracking_uri: str | None = None,
    storage: str | Path = "ganforge-runs",
    resume: bool = False,
    quiet: bool = False,
) -> Run:
    """Train one configuration, as `ganforge train` does; the run that it became.

    `data` is a folder of images or several; `settings` are changes by dotted key, such as
    {"critic.learning_rate": 1e-3}; `target` and `scale` make a ladder of stages, and `begin_with`
    is what `--from` takes. SettingsError for bad input
    before anything starts, TrainingFailed where the training fails; a run that is interrupted is
    continued with `resume=True`. With `quiet` nothing is printed.
    """
    from ganforge.commands.initial_weights import initial_weights
    from ganforge.commands.train import TrainOptions
    from ganforge.commands.train import train as command

    with _printing(quiet):
        found = command(
            CliOptions(
                system=system,
                preset=preset,
                data=_folders(data),
                workers=workers,
                gpu=gpu,
                seed=seed,
                target=target,
                scale=scale,
                changes=changes(settings),
                initial_weights=begin_with and initial_weights(begin_with, "all", tracking_uri),
            ),
            TrainOptions(
                metric=metric,
                experiment=experiment,
                tracking_uri=tracking_uri,
                storage=str(storage),
                resume=resume,
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
    strategy: str = "halving",
    sampler: str = "tpe",
    concurrent: int | None = None,
    workers: int | None = None,
    gpu: bool = False,
    seed: int = 0,
    target: int | None = None,
    scale: int | None = None,
    begin_with: str | None = None,
    metric: str | Sequence[str] | None = None,
    experiment: str = "ganforge",
    tracking_uri: str | None = None,
    storage: str | Path = "ganforge-runs",
    register: str | None = None,
    resume: bool | str = False,
    quiet: bool = False,
) -> Study:
    """Search a system's settings, as `ganforge tune` does; the study that it became.

    `space` is a dictionary from dotted keys to Ray Tune's domains, a file that has such a SPACE, or
    the name of one of `search_spaces`. `metric` may be several: the study then has a `front`.
    `resume` continues the newest search of the experiment, or the one it names; an interrupted
    search returns what it has, and can be resumed. Other arguments as for `train`.
    """
    from ganforge.commands.initial_weights import initial_weights
    from ganforge.commands.tune import TuneOptions
    from ganforge.commands.tune import tune as command

    metrics = [metric] if isinstance(metric, str) else list(metric or ())
    with _printing(quiet):
        found = command(
            CliOptions(
                system=system,
                preset=preset,
                data=_folders(data),
                workers=workers,
                gpu=gpu,
                target=target,
                scale=scale,
                changes=changes(settings),
                initial_weights=begin_with and initial_weights(begin_with, "all", tracking_uri),
            ),
            TuneOptions(
                space=str(space) if isinstance(space, Path) else space,
                strategy=strategy,
                sampler=sampler,
                limits=LimitOptions(trials=trials, budget=budget, patience=patience),
                concurrent=concurrent,
                seed=seed,
                metrics=metrics,
                experiment=experiment,
                tracking_uri=tracking_uri,
                storage=str(storage),
                register=register,
                resume=bool(resume),
                search_id=resume if isinstance(resume, str) else "",
            ),
        )
    assert found is not None
    return Study(found.result, found.metric, found.uri)


def changes(settings: Mapping[str, Any] | None, before: str = "") -> list[str]:
    """Settings as `--set` has them; a dictionary in place of a value is a group."""
    found: list[str] = []
    for key, value in (settings or {}).items():
        name = f"{before}{key}"
        group = isinstance(value, Mapping)
        found += changes(value, f"{name}.") if group else [f"{name}={value}"]
    return found


def _folders(data: Folders | None) -> tuple[str, ...]:
    if data is None:
        return ()
    return (str(data),) if isinstance(data, str | Path) else tuple(map(str, data))


@contextlib.contextmanager
def _printing(quiet: bool) -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()) if quiet else contextlib.nullcontext():
        yield
