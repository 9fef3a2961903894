"""What `tune` and `plan` have in common: the space that is searched, and the points tried first."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganforge.commands.configure import CliOptions, known_metrics
from ganforge.settings import SettingsError, shown

if TYPE_CHECKING:
    from ganforge.search.earlier import EarlierStudy
    from ganforge.search.strategies.base import Strategy
    from ganforge.systems.base import Metric, System
    from ganforge.systems.settings import SystemSettings
    from ganforge.training.prepare import Prepared

#: how many of an experiment's best trials are tried first
_BEST = 10
_FILES = (".json", ".jsonl", ".csv")


def load_space(
    given: str | Mapping[str, Any] | None,
    system: str,
    settings: "SystemSettings",
    options: CliOptions,
    strategy: "Strategy | None" = None,
) -> tuple[dict[str, Any], list[str]]:
    """The search space, checked, without the settings that --set fixes; a line for each of those.
    For a strategy that branches it is opened by stage.

    The domains are Ray's, which takes seconds to import: settings are to be checked before.
    """
    # Ray reads the variables that cluster/session.py sets when it is imported
    importlib.import_module("ganforge.cluster.session")
    import search_spaces
    from ganforge.search.by_stage import space_for
    from ganforge.search.space import check_space, without

    if isinstance(given, Mapping):
        space = dict(given)
    else:
        space = search_spaces.load(given or system, len(settings.stages))
    check_space(space, settings)
    fixed = [change.partition("=")[0] for change in options.changes]
    left, removed = without(space, fixed, settings)
    if strategy is not None:
        left = dict(space_for(strategy, left, settings))
        check_space(left, settings)
    return left, [f"{key} is not searched: {reason}" for key, reason in removed.items()]


def choose_metrics(
    kind: "type[System]", names: list[str], settings: "SystemSettings"
) -> "tuple[Metric, ...]":
    """The metrics of a search that is to have several; none where it has one or its system's."""
    if len(names) < 2:
        return ()
    from ganforge.search.objectives import choose_objectives

    return choose_objectives(known_metrics(kind, settings), names)


def check_computed(prepared: "Prepared", objectives: "Sequence[Metric]") -> None:
    """Refuse an objective that these settings do not give, before anything starts."""
    from ganforge.search.model_size import parameters
    from ganforge.search.objectives import PARAMETERS

    if PARAMETERS in objectives:
        parameters(prepared, prepared.plan(), 1)


def points_of_file(
    given: str | None, space: dict[str, Any], settings: "SystemSettings"
) -> tuple[dict[str, Any], ...] | None:
    """The points to try first, where a file has them; None where runs are named."""
    if given is None:
        return ()
    from ganforge.search.points import read_points

    if given.lower().endswith(_FILES) or Path(given).is_file():
        return tuple(read_points(given, space, settings))
    return None


def points_of_runs(
    given: str, space: dict[str, Any], settings: "SystemSettings", metric: "Metric", uri: str
) -> tuple[dict[str, Any], ...]:
    """The points to try first: of a run, or of an experiment's ten best runs."""
    from ganforge.search.points import recorded_point
    from ganforge.tracking.queries import ranked_params

    recorded = ranked_params(uri, given, metric.name, metric.mode, _BEST)
    points = [recorded_point(params, space, settings) for params in recorded]
    found = [point for point in points if point]
    if not recorded:
        raise SettingsError(
            f"points = {shown(given)}: no run there has the metric {metric.name}; name a file, or "
            "an experiment whose runs have it"
        )
    if not found:
        raise SettingsError(
            f"points = {shown(given)}: none of its {len(recorded)} runs is a point of this search "
            "space; name a file, a run or an experiment of this system"
        )
    distinct = {tuple(point.items()): point for point in found}
    return tuple(distinct.values())


def check_points_by(given: str | None, by: str | None) -> None:
    """SettingsError where runs are to be ranked by something else than what people prefer, or where
    no runs are given."""
    if by not in (None, "preference"):
        raise SettingsError(
            f"points-by = {shown(by)}: must be preference, what people chose on the page of "
            "`ganforge compare`; leave it out to rank by the metric of the search"
        )
    if by is not None and given is None:
        raise SettingsError(
            "points-by = 'preference': ranks the runs of --points EXPERIMENT; give one"
        )


def points_metric(given: str | None, by: str | None, metric: "Metric") -> "Metric":
    """What the runs of an experiment are ranked by, as points to try first."""
    check_points_by(given, by)
    from ganforge.systems.base import Metric

    return metric if by is None else Metric(by, "max")


def check_warm_start(
    experiments: Sequence[str], strategy: str, sampler: str, metrics: Sequence[str] = ()
) -> None:
    """SettingsError where earlier studies are given to a search that asks nobody."""
    if experiments and len(metrics) > 1:
        raise SettingsError(
            f"warm-start = {shown(experiments[0])}: earlier studies guide a search by one metric, "
            f"and this one has {len(metrics)}; leave it out, or give one --metric"
        )
    for option, value in (("strategy", strategy), ("sampler", sampler)):
        if experiments and value in ("random", "grid"):
            raise SettingsError(
                f"warm-start = {shown(experiments[0])}: {option} {value} chooses its points "
                f"whatever earlier studies found; leave it out, or take another {option}"
            )


def load_earlier(
    experiments: Sequence[str],
    space: dict[str, Any],
    settings: "SystemSettings",
    metric: "Metric",
    uri: str,
) -> "tuple[EarlierStudy, ...]":
    """The studies of earlier experiments; SettingsError for one that tells this search nothing."""
    from ganforge.search.earlier import earlier_studies
    from ganforge.tracking.queries import recorded_trials

    found: list[EarlierStudy] = []
    for number, name in enumerate(experiments):
        if name in experiments[:number]:
            raise SettingsError(f"warm-start = {shown(name)}: is given twice; leave one out")
        recorded = recorded_trials(uri, name, metric.name)
        found += earlier_studies(name, recorded, space, settings, metric)
    return tuple(found)
