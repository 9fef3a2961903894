"""Strict settings: one dotted name for one setting everywhere.

`flatten` and `override` are inverse: `override(settings, flatten(settings)) == settings`, also when
every value has been turned into a string on the way (a command line, a search space, MLflow).
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Self, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ganforge.errors import GanforgeError
from ganforge.migrations import SCHEMA, migrate

S = TypeVar("S", bound="Strict")
_NONE = {"none", "null"}
#: what the digits of a list item's number are: str.isdigit() also takes "²", which is no number
_NUMBER = re.compile(r"[0-9]{1,6}")
#: an item has one name: stages.0, not stages.00 too
_ITEM = re.compile(r"0|[1-9][0-9]{0,5}")
#: values and keys are cut in messages, names that are compared with others before that
_SHOWN, _COMPARED, _LINE = 80, 100, 600
#: settings are nested a few levels; a text of a hundred thousand brackets overflows the stack
_DEPTH = 12
#: an integer that no tensor's shape and no file of settings elsewhere can hold
_LARGEST = 2**63


class SettingsError(GanforgeError, ValueError):
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
    #: names that may be given in place of a whole group, and the values that each stands for
    by_name: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @model_validator(mode="wrap")
    @classmethod
    def _built(
        cls, given: Any, build: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        """Integers have an end. A list as context gets the settings before the rules that span
        several of them are asked: `_problems` asks each of these."""
        made = build(given)
        if isinstance(info.context, list):
            info.context.append(made)
        large = [
            f"{name} = {shown(value)}: must be below 2**63"
            for name, value in made
            if isinstance(value, int) and not -_LARGEST <= value < _LARGEST
        ]
        if large:
            raise ValueError("\n".join(large))
        return made

    @model_validator(mode="before")
    @classmethod
    def _parse_strings(cls, given: Any) -> Any:
        if isinstance(given, str) and cls.by_name:
            given = cls._named(given)
        if not isinstance(given, Mapping):
            return given
        return {key: cls._parsed(key, value) for key, value in given.items()}

    @classmethod
    def _named(cls, name: str) -> Mapping[str, Any]:
        if name in cls.by_name:
            return cls.by_name[name]
        near = nearest(name, cls.by_name)
        hint = f"; did you mean '{near}'?" if near else "; single settings are given by their keys"
        rule = f"must be {' or '.join(cls.by_name)}{hint}"
        raise PydanticCustomError("unknown_name", "{rule}", {"rule": rule})

    @classmethod
    def _parsed(cls, key: str, value: Any) -> Any:
        field = cls.model_fields.get(key)
        if field is None or not isinstance(value, str):
            return value
        kinds = get_args(field.annotation) or (field.annotation,)
        if type(None) in kinds and value.lower() in _NONE:
            return None
        if _NUMBER.fullmatch(value) and int(value) in kinds:  # a choice of numbers
            return int(value)
        if getattr(field.annotation, "__origin__", None) in (tuple, dict):
            text = value.strip()
            try:
                return parse_json(text) if text[:1] in ("[", "{") else text.strip("()").split(",")
            except ValueError:
                return value
        return value


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


def shown(value: Any) -> str:
    """A value in a message: on one line, without characters that steer a terminal, not long."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deep, an integer of too many digits
        return f"a {type(value).__name__} that is too large to be shown"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def shown_key(key: Any) -> str:
    """A key in a message, as `shown` but without quotes."""
    text = shown(key)
    return text[1:-1] if isinstance(key, str) and text[-1] in "'\"" else text.lstrip("'\"")


def shown_path(path: object) -> str:
    """A path in a message: whole, because its end says most."""
    text = str(path)
    return text if text.isprintable() else ascii(text)[1:-1]


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
    """`settings` with dotted keys replaced; every mistake in `changes` in one SettingsError.

    A group that is given by name comes first, so that single keys stand above it in any order.
    """
    tree = _plain(settings)
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
    made, problems = _build(type(settings), tree, settings)
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
        overrides[rest] = _plain(value)
        return None
    node: Any = tree
    *path, last = key.split(".")
    for depth, part in enumerate([*path, last]):
        slot = _slot(node, part)
        where = ".".join(path[:depth])
        if slot is None:
            if isinstance(node, list) and _NUMBER.fullmatch(part):
                end = len(node) - 1
                return (
                    f"unknown setting '{shown_key(key)}': {where} has {end + 1} entries, 0 to {end}"
                )
            if not isinstance(node, dict | list) and key in flatten(settings):
                return _inside(key, where)
            return unknown(key, settings)
        if depth == len(path):
            node[slot] = _plain(value)
        else:
            node = node[slot]
    return None


def _inside(key: str, group: str) -> str:
    return f"{shown_key(key)}: {group} is given as a whole too; give one of the two"


def _slot(node: Any, part: str) -> int | str | None:
    """Where `part` lies in a node of plain data, if it is there."""
    if isinstance(node, list):
        return int(part) if _ITEM.fullmatch(part) and int(part) < len(node) else None
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
    made, problems = _build(kind, tree)
    if made is None:
        raise _error(problems)
    return made


def _error(problems: Iterable[str]) -> SettingsError:
    return SettingsError("\n".join(dict.fromkeys(problems)))


def _build(kind: type[S], tree: Any, before: BaseModel | None = None) -> tuple[S | None, list[str]]:
    """The settings, or a line for each mistake.

    Rules that span several settings are asked once each setting by itself is right. So that one
    message names those that are broken too, wrong settings are replaced by what was there `before`,
    or by their defaults, and the rules are asked about the rest.
    """
    tree, broken = _split(tree)
    if broken:
        plain = kind.model_construct(**_defaults(kind))
        return None, [*(unknown(key, plain) for key in broken), *_build(kind, tree, before)[1]]
    try:
        return kind.model_validate(tree), []
    except ValidationError as error:
        found = error.errors()
    lines = [line for problem in found for line in _lines(kind, tree, problem)]
    if not isinstance(tree, dict):
        return None, lines
    right, corrected = _plain(before or _defaults(kind)), _plain(tree)
    wrong = [path for problem in found for path in _wrong(problem) if path]
    for path in wrong:
        _correct(corrected, right, path)
    # a rule of a group hides those of the whole: what it names is replaced too, and the rest asked
    for _ in range(_ROUNDS):
        heads = {_head(line) for line in lines}
        names = heads | {re.sub(r"(\.[0-9]+)+$", "", head).rpartition(".")[2] for head in heads}
        words = re.compile(
            "|".join(rf"\b{re.escape(name)}\b" for name in names - {"", "stages"}) or "$^"
        )
        broken, paths = _rules(kind, corrected)
        for line in broken:
            head = _head(line)
            # what only follows from a mistake that is named already is none
            if head not in heads and not words.search(line, len(head)):
                lines.append(line)
        if not paths:
            break
        for path in paths:
            _correct(corrected, right, path)
    return None, lines


#: groups within groups, and the whole
_ROUNDS = 4


def _wrong(problem: Any) -> list[tuple[int | str, ...]]:
    """Where a mistake is. One that a group's own rule has found is at the keys that it names, so
    that what else is wrong in the group is not lost with the whole of it."""
    where = problem["loc"]
    if problem["type"] != "value_error":
        return [where]
    heads = [_head(line) for line in str(problem["ctx"]["error"]).split("\n")]
    if not all(heads):
        return [where]
    return [
        (*where, *(int(part) if part.isdecimal() else part for part in head.split(".")))
        for head in heads
    ]


def _head(line: str) -> str:
    """The key that a line begins with."""
    found = re.match(r"[\w.]+(?= = )", line)
    return found.group() if found else ""


def _correct(node: Any, right: Any, path: tuple[int | str, ...]) -> None:
    """Put what is `right` in place of what is wrong; what should not be there is left out."""
    for depth, part in enumerate(path):
        known = _item(right, part)
        if depth < len(path) - 1 and isinstance(_item(node, part), dict | list) and known:
            node, right = _item(node, part), known
            continue
        if known is not None and (isinstance(node, dict) or _item(node, part) is not None):
            node[part] = known
        elif _item(node, part) is not None:
            del node[part]
        return


def _item(node: Any, part: int | str) -> Any:
    if isinstance(node, list):
        return node[part] if isinstance(part, int) and part < len(node) else None
    return node.get(part) if isinstance(node, dict) else None


def _rules(
    kind: type[BaseModel], tree: Mapping[Any, Any]
) -> tuple[list[str], list[tuple[int | str, ...]]]:
    """A line for each rule of `kind` that the settings in `tree` break together, and where the
    groups are whose own rules are broken."""
    built: list[BaseModel] = []
    try:
        kind.model_validate(tree, context=built)
    except ValidationError as error:
        found = error.errors()
        lines = [line for problem in found for line in _lines(kind, tree, problem)]
        paths = [problem["loc"] for problem in found if problem["loc"]]
    else:
        return [], []
    made = next((found for found in reversed(built) if type(found) is kind), None)
    for name, rule in kind.__pydantic_decorators__.model_validators.items():
        if made is None or rule.info.mode != "after":
            continue
        try:
            getattr(made, name)()
        except ValueError as error:
            lines += map(_shortened, str(error).split("\n"))
        except (LookupError, TypeError, ArithmeticError):
            continue  # it builds on a rule that is broken
    return lines, paths


def _lines(kind: type[BaseModel], tree: Any, problem: Any) -> list[str]:
    """What is wrong with one setting: the key, the value, the rule."""
    key = ".".join(shown_key(part) for part in problem["loc"])
    given = shown(problem["input"])
    match problem["type"]:
        case "extra_forbidden":
            return [unknown(key, kind.model_construct(**_defaults(kind)))]
        case "invalid_key":
            return [f"{key} = {given}: a key must be the name of a setting, as text"]
        case "value_error":  # a group names its own keys
            texts = map(_shortened, str(problem["ctx"]["error"]).split("\n"))
            return [f"{key}.{text}" if key else text for text in texts]
        case "missing" if isinstance(problem["loc"][-1], int):
            above = key.rpartition(".")[0]
            return [f"{above} = {given}: has too few values, such as 0.5,0.999 for a pair"]
        case "missing":
            return [f"{key} is missing: this setting has no default, give it a value"]
        case "int_parsing_size":
            return [f"{key} = {given}: must be below 2**63"]
        case "model_type":
            return [
                f"{key or 'settings'} = {given}: must be a table of settings; "
                f"`ganforge settings` lists them"
            ]
    return [f"{key} = {given}: {problem['msg']}"]


def _split(tree: Any, above: str = "") -> tuple[Any, list[str]]:
    """A tree without the keys that are no Unicode text, a half of a character by itself, and those:
    pydantic looks at nothing else of a table with such a key, and does not name it."""
    if isinstance(tree, list | tuple):
        parts = [_split(item, f"{above}{number}.") for number, item in enumerate(tree)]
        return type(tree)(part for part, _ in parts), [key for _, keys in parts for key in keys]
    if not isinstance(tree, dict):
        return tree, []
    kept: dict[Any, Any] = {}
    broken: list[str] = []
    for key, value in tree.items():
        if isinstance(key, str) and not key.isascii() and not _is_text(key):
            broken.append(f"{above}{key}")
            continue
        kept[key], more = _split(value, f"{above}{key}.")
        broken += more
    return kept, broken


def _is_text(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shortened(line: str) -> str:
    """A line of a rule, which may hold a value as it was given: its middle says the least."""
    return line if len(line) <= _LINE else f"{line[: _LINE // 2]}…{line[-_LINE // 2 :]}"


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
    near = nearest(key_tail, [name for name in known if name != key_tail])
    hint = (
        f"; did you mean '{shown_key(prefix)}{near}'?"
        if near
        else "; `ganforge settings` lists them"
    )
    return f"unknown setting '{shown_key(key)}'{hint}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like this one, if one is."""
    if len(name) > _COMPARED:  # comparing takes its square
        return None
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)), None)


def field_flags(settings: BaseModel) -> dict[str, dict[str, bool]]:
    """The `per_stage`, `weights` and `added` flags of every key of `flatten(settings)`.

    A flag of a group of settings holds for everything in it; `added` holds at the default only.
    """
    return {key: _flags_of(type(settings), settings, key.split(".")) for key in flatten(settings)}


def _flags_of(kind: type[BaseModel], value: Any, parts: list[str]) -> dict[str, bool]:
    flags = {"per_stage": False, "weights": True, "added": False}
    for part in parts:
        if isinstance(value, tuple) and _ITEM.fullmatch(part):
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


_LONGEST_NAME = 255
#: what a settings.json holds
_RECORD = ("schema", "ganforge", "system", "settings")


def read_json(text: str) -> dict[str, Any]:
    """The record in a `settings.json`, of any schema, migrated to the present one."""
    try:
        record = parse_json(text)
    except ValueError as error:
        raise SettingsError(f"not a JSON file: {error}") from None
    shaped = isinstance(record, dict) and isinstance(record.get("settings"), dict)
    name = record.get("system") if shaped else None
    if not isinstance(name, str) or len(name) > _LONGEST_NAME:
        raise SettingsError("not a settings file: 'system' must be a name, 'settings' a table")
    for key in record:
        if key not in _RECORD:
            near = nearest(key, _RECORD)
            hint = (
                f"did you mean '{near}'?" if near else f"a settings file has {', '.join(_RECORD)}"
            )
            raise SettingsError(f"unknown key '{shown_key(key)}' next to 'settings'; {hint}")
    try:
        return migrate(record)
    except ValueError as error:
        raise SettingsError(str(error)) from None
