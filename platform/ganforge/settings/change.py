"""Settings with some of them replaced, by dotted key."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from ganforge.settings.dotted import ITEM, NUMBER, flatten, per_stage_keys, plain
from ganforge.settings.mistakes import build, unknown
from ganforge.settings.shown import shown, shown_key
from ganforge.settings.strict import SettingsError, Strict

S = TypeVar("S", bound=Strict)


def override(settings: S, changes: Mapping[str, Any]) -> S:
    """`settings` with dotted keys replaced; every mistake in `changes` in one SettingsError.

    A group that is given by name comes first, so that single keys stand above it in any order.
    """
    tree = plain(settings)
    groups = named_groups(settings)
    named = {
        key: groups[key].model_validate(value)
        for key, value in changes.items()
        if key in groups and isinstance(value, str) and value in groups[key].by_name
    }
    # groups first, and as what they stand for
    ordered = {**named, **changes, **named}
    unknown_keys = [
        line for key, value in ordered.items() if (line := _set(settings, tree, key, value))
    ]
    made, problems = build(type(settings), tree, settings)
    if unknown_keys or made is None:
        raise _error([*unknown_keys, *problems])
    return made


def named_groups(settings: BaseModel) -> dict[str, type[Strict]]:
    """The groups that may be given by a name, by dotted key."""
    found: dict[str, type[Strict]] = {}
    for name, value in settings:
        if isinstance(value, Strict):
            found |= {name: type(value)} if value.by_name else {}
            found |= {f"{name}.{key}": kind for key, kind in named_groups(value).items()}
    return found


def validated(kind: type[S], tree: Any) -> S:
    """Build settings of `kind` from nested plain data; SettingsError with one line per mistake."""
    made, problems = build(kind, tree)
    if made is None:
        raise _error(problems)
    return made


def _error(problems: Iterable[str]) -> SettingsError:
    return SettingsError("\n".join(dict.fromkeys(problems)))


def _set(settings: BaseModel, tree: dict[str, Any], key: Any, value: Any) -> str | None:
    """Put a value into nested plain data; the error line where the key leads nowhere."""
    if not isinstance(key, str):
        return f"{shown_key(key)} = {shown(value)}: a key must be the name of a setting, as text"
    first, _, rest = key.removeprefix("stages.").partition(".")
    if key.startswith("stages.") and rest.partition(".")[0] == "overrides":
        # as a whole it would undo stages.K.<key> given next to it
        instead = f"stages.{shown_key(first)}.batch_size"
        return f"{shown_key(key)}: give the settings themselves, such as {instead}"
    stages = tree.get("stages", ())
    here = (
        key.startswith("stages.") and isinstance(stages, list) and _slot(stages, first) is not None
    )
    if here and rest in per_stage_keys(settings):
        overrides = (
            stages[int(first)].get("overrides") if isinstance(stages[int(first)], dict) else 0
        )
        if not isinstance(overrides, dict):
            return _inside(key, f"stages.{first}")
        overrides[rest] = plain(value)
        return None
    node: Any = tree
    *path, last = key.split(".")
    for depth, part in enumerate([*path, last]):
        slot = _slot(node, part)
        where = ".".join(path[:depth])
        if slot is None:
            if isinstance(node, list) and NUMBER.fullmatch(part):
                end = len(node) - 1
                return (
                    f"unknown setting '{shown_key(key)}': {where} has {end + 1} entries, 0 to {end}"
                )
            if not isinstance(node, dict | list) and key in flatten(settings):
                return _inside(key, where)
            return unknown(key, settings)
        if depth == len(path):
            node[slot] = plain(value)
        else:
            node = node[slot]
    return None


def _inside(key: str, group: str) -> str:
    return f"{shown_key(key)}: {group} is given as a whole too; give one of the two"


def _slot(node: Any, part: str) -> int | str | None:
    """Where `part` lies in a node of plain data, if it is there."""
    if isinstance(node, list):
        return int(part) if ITEM.fullmatch(part) and int(part) < len(node) else None
    return part if isinstance(node, dict) and part in node else None
