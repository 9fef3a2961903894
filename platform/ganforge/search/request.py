"""What is to be searched, and the first line of its journal."""

from dataclasses import dataclass, field
from typing import Any

from ganforge.search.earlier import EarlierStudy
from ganforge.search.editing import EDITABLE
from ganforge.search.journal import Journal
from ganforge.search.limits import Limits
from ganforge.search.recorded_space import to_record
from ganforge.search.space import Space, described, start_values
from ganforge.search.strategies.pbt import members
from ganforge.settings import SettingsError, field_flags, flatten, shown
from ganforge.systems.base import Metric
from ganforge.training.compare import images_since
from ganforge.training.prepare import Prepared


@dataclass(frozen=True)
class SearchRequest:
    """What is to be searched, and how; built once, by the command.

    `storage` holds `<search id>/trial-<k>` of every trial. With `resume` the search `search_id`
    continues, or the newest of `experiment`; where space, points or limits are others than those
    recorded it is edited, for the `reason` given. `joined` says that the session is on a cluster
    which was there before; `points` are tried first; `nodes` machines of it are waited for. With
    `ledger` no stage is trained that lies in the storage already; it keeps at most `keep_bytes`,
    besides what the search needs. Each configuration is trained with `seeds` seeds. `population` is
    that of strategy pbt, None for one that its trials allow. `earlier` are the studies of the
    experiments `warm_start`; a resumed search has those of its journal. With metrics that are
    `further` to the first one trials are compared by all of them, and the result is their Pareto
    front (search/objectives.py). With `grids` the driver gets the sample grids of all trials.
    """

    prepared: Prepared
    space: Space
    metric: Metric
    storage: str
    tracking_uri: str
    experiment: str
    limits: Limits = field(default_factory=lambda: Limits(4))
    strategy: str = "halving"
    sampler: str = "tpe"
    points: tuple[dict[str, Any], ...] = ()
    concurrent: int | None = None
    seed: int = 0
    seeds: int = 1
    reduction_factor: float = 2.0
    resume: bool = False
    search_id: str = ""
    reason: str = ""
    joined: bool = False
    nodes: int | None = None
    ledger: bool = True
    keep_bytes: int | None = None
    population: int | None = None
    warm_start: tuple[str, ...] = ()
    earlier: tuple[EarlierStudy, ...] = ()
    further: tuple[Metric, ...] = ()
    grids: bool = False


#: what searches of earlier versions had no choice of
_EARLIER = {
    "strategy": "halving",
    "sampler": "tpe",
    "points": [],
    "seeds": 1,
    "rungs": 1,
    "population": None,
    "warm_start": [],
    "earlier": [],
    "further": [],
}


def first_points(opened: dict[str, Any]) -> list[dict[str, Any]]:
    """The points that a search tries first: those that were given, then the settings' own."""
    own = [opened["start"]] if opened["start"] else []
    return [*opened["points"], *own]


def header(request: SearchRequest) -> dict[str, Any]:
    """The journal's first event: everything that a resumed search must have in common with it."""
    settings = request.prepared.settings
    weights = {key for key, mark in field_flags(settings).items() if mark["weights"]}
    return {
        "experiment": request.experiment,
        "system": request.prepared.system,
        "settings": {k: str(v) for k, v in flatten(settings).items() if k in weights},
        "data": request.prepared.facts.fingerprint,
        "space": described(request.space),
        "domains": to_record(request.space),
        "limits": request.limits.to_record(),
        "metric": list(request.metric),
        "further": [list(metric) for metric in request.further],
        "seed": request.seed,
        "seeds": request.seeds,
        "rungs": settings.rungs,
        "strategy": request.strategy,
        "sampler": request.sampler,
        "points": list(request.points),
        "reduction_factor": request.reduction_factor,
        "population": request.population,
        "members": _members(request),
        "startup_trials": min(10, max(4, request.limits.num_trials // 3)),
        "warm_start": list(request.warm_start),
        "earlier": [study.plain() for study in request.earlier],
        "start": start_values(request.space, settings),
    }


def _members(request: SearchRequest) -> int | None:
    """Of how many trials a population is; None for a strategy without one."""
    if request.strategy != "pbt":
        return None
    stages = len(request.prepared.settings.stages)
    return members(request.population, request.limits.num_trials, stages)


def recorded_members(opened: dict[str, Any]) -> int | None:
    """The size of the population in a journal's first event; SettingsError where it is none."""
    found = opened.get("members")
    if found is not None and (type(found) is not int or found < 2):
        raise SettingsError(
            f"cannot resume: the journal of the search is damaged (members = {shown(found)}); "
            "repair it from a copy, or start a new search"
        )
    return found


def check_header(journal: Journal, present: dict[str, Any], prepared: Prepared) -> dict[str, Any]:
    """The recorded header, where it agrees with the present call in all that no edit changes; else
    SettingsError, which names the images that differ from those of `prepared`."""
    recorded: dict[str, Any] = dict(_EARLIER) | journal.events[0]
    problems = []
    marks = field_flags(prepared.settings)
    # settings of later versions, which were at what is their default now
    added = {key for key, mark in marks.items() if mark["added"]}
    for key, value in present.items():
        # startup_trials and members follow from the number of trials, which may grow
        if key in ("startup_trials", "members", "earlier", *EDITABLE) or recorded.get(key) == value:
            continue
        if isinstance(value, dict) and isinstance(recorded.get(key), dict):
            names = [n for n in {**value, **recorded[key]} if value.get(n) != recorded[key].get(n)]
            names = [n for n in names if n in recorded[key] or n not in added]
            problems += [f"{n} = {value.get(n)}, was {recorded[key].get(n)}" for n in names]
        else:
            problems.append(f"{key} = {value}, was {recorded.get(key)}")
    if problems:
        problems += images_since(recorded.get("data"), prepared)
    if problems:
        raise SettingsError(
            f"cannot resume search {journal.search_id} with these options; repeat those it was "
            "started with:\n  " + "\n  ".join(problems)
        )
    return recorded
