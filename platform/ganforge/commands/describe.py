"""The rows that `ganforge settings` lists."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ganforge.settings import Strict, flatten


def describe(settings: BaseModel) -> list[dict[str, str]]:
    """One row per key of `flatten`, per empty list and per group that can be given by a name: key,
    type, range, default, meaning."""
    rows = []
    for key, value in _listed(settings, flatten(settings), ""):
        field = _field(settings, key.split("."))
        rows.append(
            {
                "key": key,
                "type": _type_name(field, value),
                "range": _range(field),
                "default": _default(value),
                "meaning": (field.description or "") if field else "",
            }
        )
    return rows


def _listed(group: BaseModel, leaves: dict[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    """`leaves` in order, and what has no leaf: lists without an item, groups by their name."""
    for name in type(group).model_fields:
        key, value = above + name, getattr(group, name)
        if value == ():
            yield key, value
        elif isinstance(value, BaseModel):
            if isinstance(value, Strict) and value.by_name:
                yield key, value
            yield from _listed(value, leaves, f"{key}.")
        else:
            yield from ((k, v) for k, v in leaves.items() if f"{k}.".startswith(f"{key}."))


def _field(value: Any, parts: list[str]) -> FieldInfo | None:
    field = None
    for part in parts:
        if isinstance(value, tuple):
            value = value[int(part)]
            continue
        found = type(value).model_fields.get(part) if isinstance(value, BaseModel) else None
        if found is None:
            return field
        field, value = found, getattr(value, part)
    return field


def _default(value: Any) -> str:
    if isinstance(value, Strict):
        names = (n for n in value.by_name if type(value).model_validate(n) == value)
        return next(names, "of its own")
    return "none" if value in (None, ()) else str(value)


def _type_name(field: FieldInfo | None, value: Any) -> str:
    if isinstance(value, Strict):
        return " | ".join(value.by_name)
    kinds = get_args(field.annotation) if field else ()
    if kinds and all(isinstance(kind, str | int) for kind in kinds):
        return " | ".join(map(str, kinds))
    names = [k.__name__ for k in kinds if isinstance(k, type) and k is not type(None)]
    name = type(value).__name__ if value is not None else (names[0] if names else "str")
    return name + (" or none" if type(None) in kinds else "")


def _range(field: FieldInfo | None) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    rules = field.metadata if field else []
    found = [f"{s} {getattr(r, n)}" for r in rules for n, s in signs.items() if hasattr(r, n)]
    return ", ".join(found)
