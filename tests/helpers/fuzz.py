"""Rubbish as people and machines write it, for the fuzzers of settings, files, spaces and options.

Each `check_…` takes one example and fails with an AssertionError where bad input ends in anything
but a SettingsError, where a line of it names no key that was given, or where what was given is
accepted and has no effect.
"""

import contextlib
import functools
import re
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ganforge.commands.configure import CliOptions, configure
from ganforge.settings import SettingsError, flatten, override, per_stage_keys, shown_key
from ganforge.systems import SYSTEMS
from ganforge.systems.catalog import load_system
from ganforge.systems.settings import SystemSettings

#: characters that are digits to Python and numbers to nobody, or that steer a terminal
ODD = ["²", "٣", "½", "\x00", "\x1b[31m", "\u202e", "\ud800", "\n", "[/b]", "ä", "🙂"]
NUMBERS = ["0", "1", "-1", "2", "3", "4", "8", "16", "64", "0.5", "1e-3", "-0.0", "1e400",
           "nan", "inf", "9" * 30, "9" * 5000, "1_0", " 1 ", "+1", "0x10", "1e3", "²", "٣",
           "True"]  # fmt: skip
WORDS = ["", " ", "none", "null", "None", "true", "no", "auto", "cpu", "cuda", "all", "best:2",
         "best:²", "best:", "x", "[", "]", "{", "[1", "{}", "[]", "[[]]", "()", "(0.5,0.9)",
         "0.5,0.9", "0.5,0.9,0.1", ",", "a,b", "[0.5, 0.9]", '{"a": 1}', '["a"]', "[" * 100_000,
         '{"a":' * 50_000, "~nobody-of-that-name/x", "~", ".", "..", "/",
         "//", "a\x00b",
         "\ud800", "x" * 300, "x" * 5000, "=", "a=b", "sha256:" + "0" * 64,
         "sha256:../../x", "my.py:A"]  # fmt: skip


@functools.cache
def base(system: str) -> SystemSettings:
    """A system's quick settings."""
    kind = load_system(system)
    return override(kind.Settings(), kind.PRESETS["quick"])


@functools.cache
def known_keys(system: str) -> list[str]:
    """Every key that a person may give, groups and stages included."""
    settings = base(system)
    leaves = list(flatten(settings))
    groups = {".".join(key.split(".")[:n]) for key in leaves for n in range(1, key.count(".") + 1)}
    staged = [f"stages.0.{key}" for key in per_stage_keys(settings)]
    return sorted({*leaves, *groups, *staged, *(f"stages.0.{k}" for k in ("images", "overrides"))})


def _typo(key: str, where: int, odd: str) -> list[str]:
    at = where % (len(key) + 1)
    return [key[:at] + odd + key[at:], key[:at] + key[at + 1 :], key + "." + odd, key.upper(),
            re.sub(r"\d", odd, key), key.replace(".", "..", 1), f"stages.{odd}.{key}"]  # fmt: skip


@st.composite
def _wrong_keys(draw: Any, system: str) -> str:
    key = draw(st.sampled_from(known_keys(system)))
    odd = draw(st.sampled_from([*ODD, "0", "-1", "99", "x", "", "overrides"]))
    return draw(st.sampled_from(_typo(key, draw(st.integers(0, 40)), odd)))


@st.composite
def keys(draw: Any, system: str) -> str:
    """Keys, most of them right."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.text(max_size=8))
    return draw(_wrong_keys(system) if kind < 3 else st.sampled_from(known_keys(system)))


def texts() -> SearchStrategy[str]:
    """Values as text."""
    return st.one_of(
        st.sampled_from(NUMBERS),
        st.sampled_from(WORDS),
        st.integers(-(10**6), 10**6).map(str),
        st.floats().map(str),
        st.text(max_size=12),
    )


def values(depth: int = 2) -> SearchStrategy[Any]:
    """What JSON can hold."""
    leaves = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), texts(), st.sampled_from([0, 1, 8])
    )
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(), inner, max_size=3),
        max_leaves=depth * 3,
    )


@st.composite
def _pairs(draw: Any, system: str) -> str:
    """KEY=VALUE; half of the values are like the one that the key has."""
    key = draw(keys(system))
    now = flatten(base(system)).get(key.removeprefix("stages.0."))
    if now is None or draw(st.integers(0, 2)) == 0:
        return f"{key}={draw(texts())}"
    if isinstance(now, int | float) and not isinstance(now, bool):
        return f"{key}={draw(st.sampled_from([now, 2 * now, now + 1, now / 2, 2, 4]))}"
    return f"{key}={draw(st.sampled_from([str(now), 'yes', 'no', 'none', 'x']))}"


@st.composite
def set_lists(draw: Any) -> tuple[str, list[str]]:
    """A system, and what stands after its --set."""
    system = draw(st.sampled_from(sorted(SYSTEMS)))
    count = draw(st.sampled_from([1, 1, 2, 3]))
    bare = [draw(st.integers(0, 19)) == 0 for _ in range(count)]
    return system, [draw(texts() if word else _pairs(system)) for word in bare]


#: how a line says what would be right
_ADVICE = re.compile(
    r"did you mean|`ganforge settings`|entries, 0 to|must|should|has |give|set|needs"
)


def check_set(example: tuple[str, list[str]]) -> str:
    """One list of --set. Returns "accepted" or "refused"."""
    system, changes = example
    options = CliOptions(system=system, preset="quick", changes=changes)
    try:
        _, settings = configure(options)
    except SettingsError as error:
        _check_message(str(error), changes)
        _check_all_named(str(error), system, changes)
        return "refused"
    for change in changes:
        key, _, value = change.partition("=")
        _check_effect(settings, base(system), key, value)
    return "accepted"


def _check_message(message: str, changes: list[str]) -> None:
    heads = {part for change in changes for part in _parents(change.partition("=")[0])} - {""}
    for line in message.split("\n"):
        assert any(head in line for head in heads) or "--set" in line, (line, changes)
        assert _ADVICE.search(line), f"no rule: {line}"
        assert len(line) < 1000, f"a line of {len(line)} characters"


def _parents(key: str) -> Iterator[str]:
    yield shown_key(key)
    parts = key.split(".")
    for number in range(len(parts)):
        yield ".".join(parts[:number])
    if parts[0] == "stages":
        yield ".".join(parts[2:])


def _check_all_named(message: str, system: str, changes: list[str]) -> None:
    """What is wrong by itself is named, however much else is wrong."""
    pairs = [change.partition("=") for change in changes]
    if any(not mark or not key for key, mark, _ in pairs) or "--set" in message:
        return
    for key, _, value in pairs:
        alone = _alone(system, key, value)
        for line in alone:
            name = line.partition(" = ")[0].partition(":")[0]
            assert name[:60] in message, (f"{name} is wrong too", message, changes)


@functools.lru_cache(1 << 16)
def _alone(system: str, key: str, value: str) -> tuple[str, ...]:
    try:
        override(base(system), {key: value})
    except SettingsError as error:
        lines = str(error).split("\n")
        return tuple(line for line in lines if "Input should" in line or "unknown" in line)
    return ()


def _check_effect(found: SystemSettings, before: SystemSettings, key: str, value: str) -> None:
    after, was = flatten(found), flatten(before)
    mine = {k: v for k, v in after.items() if k == key or k.startswith(key + ".")}
    theirs = {k: v for k, v in was.items() if k == key or k.startswith(key + ".")}
    if mine != theirs:
        return
    parts = re.split(r"[\[\](),]", value)
    for part in (p.strip().strip('"') for p in parts):
        assert not part or any(_same(v, part) for v in mine.values()), (key, value, mine)


def _same(found: Any, text: str) -> bool:
    if found is None:
        return text.lower() in ("none", "null")
    if isinstance(found, bool):
        return text.lower() in {True: ("1", "t", "true", "y", "yes", "on"),
                                False: ("0", "f", "false", "n", "no", "off")}[found]  # fmt: skip
    if isinstance(found, int | float):
        with contextlib.suppress(ValueError):
            return float(text) == found
    return str(found) == text or str(found).endswith(text.rstrip("/."))
