"""Strict settings: one dotted name for one setting everywhere.

`flatten` and `override` are inverse: `override(settings, flatten(settings)) == settings`, also when
every value has been turned into a string on the way (a command line, a search space, MLflow).
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ganforge.migrations import SCHEMA, migrate

S = TypeVar("S", bound="Strict")
_NONE = {"none", "null"}


class SettingsError(ValueError):
    """Bad input: one line per mistake, naming the key, the value, the rule and the fix."""


def setting(
    default: Any,
    meaning: str,
    *,
    per_stage: bool = False,
    weights: bool = True,
    added: bool = False,
    **rules: Any,
) -> Any:
    """Declare a setting.

    `per_stage` allows `stages.K.<key>`; `weights=False` says that no value of it can change a
    weight (logging, cadence, paths), so that it stays out of a stage's identity. `added` settings
    came after the first ids were recorded: their default is how it was, and stays out, too.
    """
    extra: Any = {"per_stage": per_stage, "weights": weights, "added": added}
    options: dict[str, Any] = {"description": meaning, "json_schema_extra": extra, **rules}
    return Field(default, **options)


class Strict(BaseModel):
    """Base of all settings: frozen, finite, without unknown keys; strings are parsed by type."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True
    )

    @model_validator(mode="before")
    @classmethod
    def _parse_strings(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {key: cls._parsed(key, value) for key, value in given.items()}

    @classmethod
    def _parsed(cls, key: str, value: Any) -> Any:
        field = cls.model_fields.get(key)
        if field is None or not isinstance(value, str):
            return value
        kinds = get_args(field.annotation) or (field.annotation,)
        if type(None) in kinds and value.lower() in _NONE:
            return None
        if value.isdigit() and int(value) in kinds:  # a choice of numbers
            return int(value)
        if getattr(field.annotation, "__origin__", None) in (tuple, dict):
            text = value.strip()
            try:
                return json.loads(text) if text[:1] in "[{" else text.strip("()").split(",")
            except json.JSONDecodeError:
                return value
        return value


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


def override(settings: S, changes: Mapping[str, Any]) -> S:
    """`settings` with dotted keys replaced; every mistake in `changes` in one SettingsError."""
    tree = _plain(settings)
    problems: list[str] = []
    for key, value in changes.items():
        problem = _set(settings, tree, key, value)
        if problem:
            problems.append(problem)
    if problems:
        raise SettingsError("\n".join(problems))
    return validated(type(settings), tree)


def _set(settings: BaseModel, tree: dict[str, Any], key: str, value: Any) -> str | None:
    """Put a value into nested plain data; the error line where the key leads nowhere."""
    first, _, rest = key.removeprefix("stages.").partition(".")
    stages = tree.get("stages", ())
    here = key.startswith("stages.") and first.isdigit() and int(first) < len(stages)
    if here and rest in per_stage_keys(settings):
        stages[int(first)]["overrides"][rest] = _plain(value)
        return None
    node: Any = tree
    *path, last = key.split(".")
    for depth, part in enumerate([*path, last]):
        slot = _slot(node, part)
        if slot is None:
            if isinstance(node, list) and part.isdigit():
                where, end = ".".join(path[:depth]), len(node) - 1
                return f"unknown setting '{key}': {where} has {end + 1} entries, 0 to {end}"
            return unknown(key, settings)
        if depth == len(path):
            node[slot] = _plain(value)
        else:
            node = node[slot]
    return None


def _slot(node: Any, part: str) -> int | str | None:
    """Where `part` lies in a node of plain data, if it is there."""
    if isinstance(node, list):
        return int(part) if part.isdigit() and int(part) < len(node) else None
    return part if isinstance(node, dict) and part in node else None


def _plain(value: Any) -> Any:
    """Settings inside a change become plain data, so that later keys can reach into them."""
    if isinstance(value, BaseModel):
        return {name: _plain(item) for name, item in value}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def validated(kind: type[S], tree: Any) -> S:
    """Build settings of `kind` from nested plain data; SettingsError with one line per mistake."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        lines = [_line(kind, tree, problem) for problem in error.errors()]
        raise SettingsError("\n".join(dict.fromkeys(lines))) from None


def _line(kind: type[BaseModel], tree: Any, problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return unknown(key, kind.model_construct(**_defaults(kind)))
    if problem["type"] == "value_error":
        message = str(problem["ctx"]["error"])
        return f"{key}.{message}" if key else message  # a group names its own keys
    if problem["type"] == "missing" and isinstance(problem["loc"][-1], int):
        above = key.rpartition(".")[0]
        return f"{above} = {problem['input']!r}: has too few values, such as 0.5,0.999 for a pair"
    if problem["type"] == "missing":
        return f"{key} is missing: this setting has no default, give it a value"
    return f"{key} = {problem['input']!r}: {problem['msg']}"


def _defaults(kind: type[BaseModel]) -> dict[str, Any]:
    return {n: f.get_default(call_default_factory=True) for n, f in kind.model_fields.items()}


def unknown(key: str, settings: BaseModel) -> str:
    """The error line for a key that is not a setting, with the nearest name."""
    known = [*flatten(settings), *per_stage_keys(settings), *type(settings).model_fields]
    parts = key.split(".")
    prefix = ""
    if parts[0] == "stages" and len(parts) > 2:
        prefix, key_tail = ".".join(parts[:2]) + ".", ".".join(parts[2:])
        known = [
            *per_stage_keys(settings),
            *(k.split(".", 2)[2] for k in known if k.startswith(prefix)),
        ]
    else:
        key_tail = key
    near = difflib.get_close_matches(key_tail, known, n=1, cutoff=0.6)
    hint = f"; did you mean '{prefix}{near[0]}'?" if near else "; `ganforge settings` lists them"
    return f"unknown setting '{key}'{hint}"


def field_flags(settings: BaseModel) -> dict[str, dict[str, bool]]:
    """The `per_stage`, `weights` and `added` flags of every key of `flatten(settings)`.

    A flag of a group of settings holds for everything in it; `added` holds at the default only.
    """
    return {key: _flags_of(type(settings), settings, key.split(".")) for key in flatten(settings)}


def _flags_of(kind: type[BaseModel], value: Any, parts: list[str]) -> dict[str, bool]:
    flags = {"per_stage": False, "weights": True, "added": False}
    for part in parts:
        if isinstance(value, tuple) and part.isdigit():
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


def to_json(settings: Any) -> str:
    """The text of `settings.json`: schema, version, system and the full nested settings."""
    from ganforge import __version__

    record = {"schema": SCHEMA, "ganforge": __version__, "system": settings.system}
    return json.dumps({**record, "settings": settings.model_dump(mode="json")}, indent=2)


def read_json(text: str) -> dict[str, Any]:
    """The record in a `settings.json`, of any schema, migrated to the present one."""
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"not a JSON file: {error}") from None
    shaped = isinstance(record, dict) and isinstance(record.get("settings"), dict)
    if not shaped or not isinstance(record.get("system"), str):
        raise SettingsError("not a settings file: 'system' must be a name, 'settings' a table")
    try:
        return migrate(record)
    except ValueError as error:
        raise SettingsError(str(error)) from None
