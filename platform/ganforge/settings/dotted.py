"""Settings by dotted key: what there is, and what is said of each."""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

#: what digits of a number are: str.isdigit() also takes "²", which is not a number
NUMBER = re.compile(r"[0-9]{1,6}")
#: an item has one name: stages.0, not stages.00 too
ITEM = re.compile(r"0|[1-9][0-9]{0,5}")


def flatten(settings: BaseModel) -> dict[str, Any]:
    """All settings by dotted key, in declaration order; list items by their number."""
    return dict(_leaves("", settings))


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            child = getattr(value, name)
            # A stage's overrides carry dotted keys of their own: stages.1.generator.learning_rate
            if name == "overrides" and isinstance(child, dict):
                yield from ((prefix + key, item) for key, item in child.items())
            else:
                yield from _leaves(f"{prefix}{name}.", child)
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            yield from _leaves(f"{prefix}{number}.", item)
    else:
        yield prefix[:-1], value


def plain(value: Any) -> Any:
    """Settings inside a change become plain data, so that later keys can reach into them."""
    if isinstance(value, BaseModel):
        return {name: plain(item) for name, item in value}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple | list) else value


def field_flags(settings: BaseModel) -> dict[str, dict[str, bool]]:
    """The `per_stage`, `weights` and `added` flags of every key of `flatten(settings)`.

    A flag of a group of settings holds for everything in it; `added` holds at the default only.
    """
    return {key: _flags_of(type(settings), settings, key.split(".")) for key in flatten(settings)}


def _flags_of(kind: type[BaseModel], value: Any, parts: list[str]) -> dict[str, bool]:
    flags = {"per_stage": False, "weights": True, "added": False}
    for part in parts:
        if isinstance(value, tuple) and ITEM.fullmatch(part):
            value = value[int(part)]
            continue
        field = type(value).model_fields.get(part) if isinstance(value, BaseModel) else None
        if field is None:
            return flags
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        flags["per_stage"] |= bool(extra.get("per_stage"))
        flags["weights"] &= bool(extra.get("weights", True))
        flags["added"] |= bool(extra.get("added")) and getattr(value, part) == field.default
        value = getattr(value, part)
    return flags


def per_stage_keys(settings: BaseModel) -> set[str]:
    """The keys that may be overridden as `stages.K.<key>`."""
    return {
        key
        for key, flags in field_flags(settings).items()
        if flags["per_stage"] and not key.startswith("stages.")
    }
