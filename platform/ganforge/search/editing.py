"""What a resumed search is asked to change: its domains, the points tried first, its limits.

A change is an event of the journal, `edited`. Replayed in its place it changes the sampler as it
did then, so that a search that is resumed once more decides as it would have.
"""

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from ganforge.search.journal import Event
from ganforge.search.limits import UNLIMITED_TRIALS, Limits
from ganforge.search.recorded_space import from_record, to_record
from ganforge.search.sampler import Sampler
from ganforge.search.space import Space, described, distributions
from ganforge.settings import SettingsError, shown, shown_key

#: what of a journal's first event an edit may change
EDITABLE = ("space", "domains", "start", "points", "limits")
_FORMS: dict[str, type] = {"space": dict, "domains": dict, "points": list, "limits": dict}
_LIMITS: dict[str, tuple[type, ...]] = {
    "trials": (int,),
    "budget": (str, NoneType),
    "price": (int, float, NoneType),
    "patience": (int, NoneType),
    "trial_limit": (str, NoneType),
    "confirm": (int,),
    "confirm_seeds": (int,),
}


def opened_space(opened: Mapping[str, Any], present: Space) -> Space:
    """The space that a search was begun with; `present` where an earlier version recorded none."""
    try:
        return from_record(opened["domains"]) if "domains" in opened else present
    except ValueError as error:
        raise _damaged(f"domains: {error}") from None


def all_distributions(events: Sequence[Event], present: Space) -> dict[str, BaseDistribution]:
    """What holds every value that a search has drawn, by key: its domains joined over all edits.
    Optuna's storages want one distribution for each setting."""
    spaces = [from_record(e["domains"]) for e in events if "domains" in e]
    found = distributions(present)
    for space in spaces:
        found |= {k: _joined(d, found[k]) for k, d in distributions(space).items() if k in found}
    return found


def _joined(one: BaseDistribution, other: BaseDistribution) -> BaseDistribution:
    if one == other:
        return one
    ints, floats = IntDistribution, FloatDistribution
    if isinstance(one, ints | floats) and isinstance(other, ints | floats):
        low, high = min(one.low, other.low), max(one.high, other.high)
        log = one.log and other.log
        whole = isinstance(one, ints) and isinstance(other, ints)
        return ints(int(low), int(high), log=log) if whole else floats(low, high, log=log)
    if isinstance(one, CategoricalDistribution) and isinstance(other, CategoricalDistribution):
        return CategoricalDistribution(list(dict.fromkeys([*other.choices, *one.choices])))
    # a range and a choice: the record keeps the present one
    return other


def in_force(events: Sequence[Event]) -> dict[str, Any]:
    """The first event of a journal, as the edits after it have left it. SettingsError where the
    parts that an edit may change are not what was written."""
    found: dict[str, Any] = {"points": []} | events[0]
    for event in events:
        for key in ("space", "domains", "points", "limits"):
            if key in event and not isinstance(event[key], _FORMS[key]):
                raise _damaged(f"{key} = {shown(event[key])}")
        if event["event"] != "edited":
            continue
        found |= {key: event[key] for key in ("space", "domains", "limits") if key in event}
        found["points"] = [*found["points"], *event.get("points", ())]
    for key, value in found.get("limits", {}).items():
        if not isinstance(value, _LIMITS.get(key, object)):
            raise _damaged(f"limits.{key} = {shown(value)}")
    for key in ("seeds", "rungs"):
        if not isinstance(found.get(key, 1), int):
            raise _damaged(f"{key} = {shown(found[key])}")
    if "space" not in found:
        raise _damaged("it has no space")
    return found


def _damaged(what: str) -> SettingsError:
    return SettingsError(
        f"cannot resume: the journal of the search is damaged ({what}); repair it from a copy, or "
        "start a new search"
    )


def edit_event(
    events: Sequence[Event],
    space: Space,
    points: Sequence[Mapping[str, Any]],
    limits: Limits,
    reason: str = "",
) -> dict[str, Any]:
    """The facts of the event that changes a recorded search into the present request; empty where
    they agree. `changes` are lists [what, old, new] for people.

    SettingsError for a setting that is new in the space, or gone from it: the trials so far have no
    place in such a space.
    """
    known = in_force(events)
    facts: dict[str, Any] = {}
    changes: list[list[Any]] = []
    old, new = known["space"], described(space)
    if old != new:
        _check_keys(events[0], old, new)
        if "domains" not in known:
            raise SettingsError(
                "search space: the search was begun with an earlier version of ganforge, which did "
                "not record its domains: repeat the space that it was started with"
            )
        changes += [[key, old[key], new[key]] for key in new if old[key] != new[key]]
        facts |= {"space": new, "domains": to_record(space)}
    tried = known["points"]
    added = [dict(point) for point in points if dict(point) not in tried]
    if added:
        changes.append(["points", len(tried), len(tried) + len(added)])
        facts["points"] = added
    before, now = known.get("limits"), limits.to_record()
    if before is not None and before != now:
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        changes += [[name, before.get(name), now.get(name)] for name in names]
        facts["limits"] = now
    if not facts:
        return {}
    return {"changes": changes, **facts, **({"reason": reason} if reason else {})}


def lines(facts: Mapping[str, Any]) -> list[str]:
    """An edit in words, a line for each change."""
    found = [f"{key}: {_text(old)} -> {_text(new)}" for key, old, new in facts["changes"]]
    return [*found, *([f"reason: {facts['reason']}"] if facts.get("reason") else [])]


def apply(event: Mapping[str, Any], sampler: Sampler) -> None:
    """Carry an edit out, at its place among the events."""
    if "domains" in event:
        sampler.edit(from_record(event["domains"]))
    sampler.append(event.get("points", ()))


def _text(value: Any) -> str:
    return "none" if value is None or value == UNLIMITED_TRIALS else str(value)


def _check_keys(opened: Mapping[str, Any], old: Mapping[str, str], new: Mapping[str, str]) -> None:
    problems = [
        f"{shown_key(key)}: was not searched when the search was begun, and its trials have no "
        "value of it; leave it out, or start a new search with "
        f"--points {shown(opened.get('experiment', 'EXPERIMENT'))}"
        for key in new
        if key not in old
    ]
    problems += [
        f"{shown_key(key)}: is searched, and has no domain any more; fix it with one value, "
        "tune.choice([VALUE])"
        for key in old
        if key not in new
    ]
    if problems:
        raise SettingsError("\n".join(f"search space: {line}" for line in problems))
