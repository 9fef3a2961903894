"""Settings from plain data, or a line for every mistake in it at once."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ganforge.settings.dotted import flatten, per_stage_keys, plain
from ganforge.settings.shown import nearest, shown, shown_key
from ganforge.settings.strict import Strict

S = TypeVar("S", bound=Strict)
#: how long a line of a rule may be
_LINE = 600


def build(kind: type[S], tree: Any, before: BaseModel | None = None) -> tuple[S | None, list[str]]:
    """The settings, or a line for each mistake.

    Rules that span several settings are asked once each setting by itself is right. So that one
    message names those that are broken too, wrong settings are replaced by what was there `before`,
    or by their defaults, and the rules are asked about the rest.
    """
    tree, broken = _split(tree)
    if broken:
        bare = kind.model_construct(**_defaults(kind))
        return None, [*(unknown(key, bare) for key in broken), *build(kind, tree, before)[1]]
    try:
        return kind.model_validate(tree), []
    except ValidationError as error:
        found = error.errors()
    lines = [line for problem in found for line in _lines(kind, tree, problem)]
    if not isinstance(tree, dict):
        return None, lines
    right, corrected = plain(before or _defaults(kind)), plain(tree)
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
    if prefix and (own := _of_a_stage(key_tail, settings)):
        return (
            f"unknown setting '{shown_key(key)}': a stage that is given as a whole has it in "
            f'"overrides": {{"{own}": …}}'
        )
    near = nearest(key_tail, [name for name in known if name != key_tail])
    hint = (
        f"; did you mean '{shown_key(prefix)}{near}'?"
        if near
        else "; `ganforge settings` lists them"
    )
    return f"unknown setting '{shown_key(key)}'{hint}"


def _of_a_stage(key: str, settings: BaseModel) -> str | None:
    """The key that a stage may have a value of its own of: this one, or the first of this group."""
    keys = per_stage_keys(settings)
    return next((k for k in flatten(settings) if k in keys and f"{k}.".startswith(f"{key}.")), None)
