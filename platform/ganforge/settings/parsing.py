"""Text to data: JSON whose keys are given once, not deeper than any setting."""

import json
from typing import Any

from ganforge.settings.shown import shown_key

#: settings are nested a few levels; a text of a hundred thousand brackets overflows the stack
_DEPTH = 12


def parse_json(text: str) -> Any:
    """What a text of JSON says; ValueError where it is none, says a key twice, or is nested deeper
    than any setting."""
    try:
        found = json.loads(text, object_pairs_hook=_once)
        _check_depth(found)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    return found


_TOO_DEEP = f"lists and tables lie more than {_DEPTH} deep in each other, which no setting does"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{shown_key(twice)} is given twice; keep one")
    return found


def _check_depth(value: Any, depth: int = 0) -> None:
    if depth > _DEPTH:
        raise ValueError(_TOO_DEEP)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        _check_depth(item, depth + 1)
