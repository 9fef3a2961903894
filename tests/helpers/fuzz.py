"""Rubbish as people and machines write it, for the fuzzers of settings, files, spaces and options.

Each `check_…` takes one example and fails with an AssertionError where bad input ends in anything
but a SettingsError, where a line of it names no key that was given, or where what was given is
accepted and has no effect.
"""

import contextlib
import functools
import io
import json
import os
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ganforge.commands.configure import CliOptions, configure
from ganforge.settings import (
    SettingsError,
    flatten,
    override,
    per_stage_keys,
    shown,
    shown_key,
    to_json,
)
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


@functools.cache
@st.composite
def _wrong_keys(draw: Any, system: str) -> str:
    key = draw(st.sampled_from(known_keys(system)))
    odd = draw(st.sampled_from([*ODD, "0", "-1", "99", "x", "", "overrides"]))
    return draw(st.sampled_from(_typo(key, draw(st.integers(0, 40)), odd)))


@functools.cache
@st.composite
def keys(draw: Any, system: str) -> str:
    """Keys, most of them right."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.text(max_size=8))
    return draw(_wrong_keys(system) if kind < 3 else _right_keys(system))


@functools.cache
def _right_keys(system: str) -> SearchStrategy[str]:
    return st.sampled_from(known_keys(system))


@functools.cache  # building a strategy takes longer than drawing from it
def texts() -> SearchStrategy[str]:
    """Values as text."""
    return st.one_of(
        st.sampled_from(NUMBERS),
        st.sampled_from(WORDS),
        st.integers(-(10**6), 10**6).map(str),
        st.floats().map(str),
        st.text(max_size=12),
    )


@functools.cache
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


@functools.cache
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
    # a folder is kept as an absolute path
    return str(found) == os.path.expanduser(text) or str(found).endswith(text.rstrip("/."))


# ---- settings files ----


@functools.cache
def _record(system: str) -> str:
    return to_json(base(system))


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner: Any = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    for key, item in inner:
        yield (*path, key)
        yield from _places(item, (*path, key))


@st.composite
def files(draw: Any) -> tuple[str, str]:
    """A system, and the text of a settings file for it: a right one with some rubbish in it."""
    system = draw(st.sampled_from(sorted(SYSTEMS)))
    text = _record(system)
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return system, draw(st.one_of(texts(), values().map(_dumps)))
    if kind == 1:
        at = draw(st.integers(0, len(text)))
        return system, text[:at] + draw(texts()) + text[at + draw(st.integers(0, 9)) :]
    record = json.loads(text)
    for _ in range(draw(st.sampled_from([1, 1, 2, 3]))):
        places = list(_places(record))
        *path, last = places[draw(st.integers(0, 999)) % len(places)]
        node = functools.reduce(lambda inner, key: inner[key], path, record)
        match draw(st.integers(0, 5)):
            case 0:
                del node[last]
            case 1 if isinstance(node, dict):
                node[draw(st.sampled_from([str(last) + "x", "²", "", "overrides", 'a"b']))] = 1
            case 2 if isinstance(node, list):
                node.append(draw(values()))
            case 3 if isinstance(node[last], int):
                node[last] = draw(st.sampled_from([0, 1, 2, 3, 4, 8, 16, -1, 2**63, 10**400]))
            case _:
                node[last] = draw(values())
    return system, _dumps(record)


def _dumps(value: Any) -> str:
    with contextlib.suppress(ValueError):  # an integer of more digits than Python writes
        return json.dumps(value)
    return "{"


def check_file(example: tuple[str, str]) -> str:
    """One settings file, read as `--settings` reads it. Returns "accepted" or "refused"."""
    system, text = example
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "s.json")
        path.write_bytes(text.encode(errors="surrogatepass"))
        try:
            _, settings = configure(CliOptions(system=system, settings_file=str(path)))
        except SettingsError as error:
            for line in str(error).split("\n"):
                named = re.match(r"settings = |schema = |unknown |[a-z_0-9.]+( = |:| is )", line)
                assert named, f"names no key: {line[:200]}"
                assert len(line) < 1000, f"a line of {len(line)} characters"
            return "refused"
    record = json.loads(text)
    kept = json.loads(to_json(settings))["settings"]
    for path in _places(record["settings"]):
        given = functools.reduce(lambda inner, key: inner[key], path, record["settings"])
        if isinstance(given, dict | list) or "overrides" in path:
            continue
        found = functools.reduce(lambda inner, key: inner[key], path, kept)
        if isinstance(found, list):  # of several values as text
            parts = re.split("[,;]", str(given).strip("()[] "))
            assert len(parts) == len(found), (path, given, found)
            assert all(map(_same, found, (part.strip() for part in parts))), (path, given, found)
            continue
        assert _same(found, str(given)) or found == given, (path, given, found)
    return "accepted"


# ---- search spaces ----


@st.composite
def _domains(draw: Any, now: Any) -> Any:
    """A domain of Tune's or of Optuna's, or something else; None where the library refuses."""
    import optuna
    from ray import tune

    if now is not None and draw(st.booleans()):
        return tune.choice([now, now])

    number = st.sampled_from([0, 1, -1, 2, 3, 4, 8, 64, 0.5, 0.9, 1e-4, 1e-3, 1e-300, 1e308, 2**70,
                              float("nan"), float("inf"), 0.0, True, "2", None])  # fmt: skip
    plain = [tune.uniform, tune.loguniform, tune.randint, tune.lograndint, tune.randn]
    stepped = [tune.quniform, tune.qloguniform, tune.qrandint, tune.qlograndint, tune.qrandn]
    optunas = [optuna.distributions.FloatDistribution, optuna.distributions.IntDistribution]
    numbers = [draw(number) for _ in range(3)]
    choices = [draw(st.one_of(number, values(1))) for _ in range(draw(st.integers(0, 3)))]
    makers: list[Callable[[], Any]] = [
        *(functools.partial(make, *numbers[:2]) for make in plain),
        *(functools.partial(make, *numbers) for make in stepped),
        *(functools.partial(make, *numbers[:2]) for make in optunas),
        functools.partial(tune.choice, choices),
        functools.partial(tune.choice, choices),
        functools.partial(tune.choice, [0.5, 0.9]),
        functools.partial(tune.uniform, 0.1, 0.9),
        functools.partial(tune.randint, 1, 5),
        functools.partial(tune.loguniform, 1e-4, 1e-2),
        functools.partial(optuna.distributions.CategoricalDistribution, choices),
        functools.partial(tune.grid_search, choices),
        functools.partial(tune.sample_from, lambda spec: 1 / 0),
        functools.partial(tune.sample_from, lambda spec: 1),
        lambda: numbers[0],
        lambda: choices,
        object,
    ]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return draw(st.sampled_from(makers))()
    except Exception:
        return None


@st.composite
def spaces(draw: Any) -> tuple[str, dict[Any, Any]]:
    """A system and a SPACE for it."""
    system = draw(st.sampled_from(sorted(SYSTEMS)))
    odd_keys = st.sampled_from([1, None, (), 2.5, b"width", True, "²", "", "stages.²", "stages.0"])
    space = {}
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        odd = draw(st.integers(0, 14)) == 0
        key = draw(odd_keys if odd else keys(system))
        now = flatten(base(system)).get(str(key).removeprefix("stages.0."))
        space[key] = draw(_domains(now))
    return system, space


def check_space_example(example: tuple[str, dict[Any, Any]]) -> str:
    """One search space. Returns "accepted" or "refused"."""
    from ganforge.search.candidates import SpaceCandidates
    from ganforge.search.space import axes, check_space, described, start_values

    system, space = example
    settings = base(system)
    try:
        check_space(space, settings)
    except SettingsError as error:
        message = str(error)
        assert not space or all(_names(key, message) for key in _wrong(space, settings)), message
        for line in message.split("\n"):
            assert len(line) < 1000, f"a line of {len(line)} characters"
        return "refused"
    assert described(space).keys() == space.keys()
    start_values(space, settings)
    for point in SpaceCandidates(axes(space), set()).draw(np.random.default_rng(0), 3):
        for key, value in point.items():
            override(settings, {key: value})
    return "accepted"


def _wrong(space: Mapping[Any, Any], settings: SystemSettings) -> Iterator[Any]:
    """The keys that are wrong alone."""
    from ganforge.search.space import check_space

    if len(space) == 1:
        yield from space
        return
    for key, domain in space.items():
        try:
            check_space({key: domain}, settings)
        except SettingsError:
            yield key


def _names(key: Any, message: str) -> bool:
    return not key or shown_key(key) in message or shown(key) in message


# ---- the command line ----


@functools.cache
def _commands() -> dict[str, list[Any]]:
    """The options and arguments of each command, from the command line itself."""
    import typer

    from ganforge.commands.cli import app

    commands: dict[str, Any] = typer.main.get_command(app).commands  # pyright: ignore
    return {
        name: [p for p in command.params if p.name != "help"] for name, command in commands.items()
    }


#: what these options name is not there, so that nothing is begun
_ABSENT = {
    "tracking_uri": ["sqlite:///absent.db", "sqlite:///[/b].db", "x", "ftp://x", "sqlite://",
                     "file:///nowhere/x"],
    "model": ["absent", "models:/", "models:/a/b/c", "runs:/", "runs:/x", "file://", "s4://x/y",
              "[/b]"],
    "toward": ["absent", "runs:/x"],
    "run": ["absent", "[bold]", "0" * 31],
    "file": ["absent.yaml", ".", "[/b].yaml"],
    "path": ["absent", "s4://x"],
    "images": ["absent", ".", "absent/[/b]"],
    "benchmark": ["absent", ".", "[/b]"],
    "data": ["absent", "[/b]", "~nobody-of-that-name", "photographs", "."],
    "space": ["absent", "absent.py", "wgan", "[/b]"],
    "settings": ["absent.json", ".", "[/b]"],
    "system": ["wgan", "srgan", "absent", "absent.py:X", "[/b]"],
    "preset": ["quick", "paper", "qick", "[/b]"],
    "metric": ["validation/psnr", "validation/psnrr", "[/b]"],
    "upscale": ["absent", "models:/", "[/b]"],
    "device": ["cpu", "cuda:999", "tpu", "[/b]"],
    "filter_name": ["box", "bicubic", "boxes", "[/b]"],
    "jpeg_subsampling": ["4:2:0", "4:1:1", "[/b]"],
}  # fmt: skip
_NEEDED = {"doctor": ["absent.yaml"], "sync": ["absent"], "reproduce": ["--run", "absent"]}


@functools.cache
def _spoken() -> SearchStrategy[str]:
    """Texts that an operating system hands to a process."""
    return texts().filter(_can_be_given)


def _can_be_given(text: str) -> bool:
    return "\x00" not in text and "\ud800" not in text and len(text) < 1000


def command_lines() -> SearchStrategy[list[str]]:
    """A command with options, most of them right, none of which begins anything."""
    _commands()  # what it imports draws random numbers, which is no business of an example
    return _lines()


@st.composite
def _lines(draw: Any) -> list[str]:
    name = draw(st.sampled_from(sorted(_commands())))
    words = [name]
    for param in _commands()[name]:
        wanted = param.required or (name in _NEEDED and param.name in ("run", "file", "path"))
        if not wanted and draw(st.integers(0, 3)):
            continue
        for _ in range(2 if draw(st.integers(0, 11)) == 0 else 1):
            words += draw(_given(param))
    if name in ("train", "tune"):
        words += ["--dry-run"] if "--dry-run" not in words else []
    if draw(st.integers(0, 15)) == 0:
        words.insert(draw(st.integers(0, len(words))), draw(_spoken()))
    return words


@st.composite
def _given(draw: Any, param: Any) -> list[str]:
    option = [name for name in getattr(param, "opts", ()) if name.startswith("--")]
    if getattr(param, "is_flag", False):
        return option[:1]
    absent = _ABSENT.get(param.name)
    if param.name == "changes":
        value = draw(
            _pairs("progressive_gan_sr").filter(
                lambda t: "\x00" not in t and "\ud800" not in t and len(t) < 1000
            )
        )
    elif absent and draw(st.integers(0, 9)):
        value = draw(st.sampled_from(absent))
    else:
        value = draw(_spoken())
    if not option:
        return [value]
    return [f"{option[0]}={value}"] if draw(st.booleans()) else [option[0], value]


def _briefly(words: list[str]) -> list[str]:
    """The words, but that `plan` measures for the least time: a minute, or as long as is asked for,
    would say no more here."""
    if words[:1] != ["plan"] or "--help" in words:
        return words
    found: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if found and found[-1] == "--seconds" and _above(word, 10):
            word = "10"
        elif name == "--seconds" and equals and _above(value, 10):
            word = "--seconds=10"
        found.append(word)
    return found if any(w.startswith("--seconds") for w in words) else [*found, "--seconds", "10"]


def _above(text: str, limit: float) -> bool:
    try:
        return float(text) > limit
    except ValueError:
        return False


def check_options(words: list[str]) -> str:
    """One command line, in this process. Returns how it ended."""
    from ganforge.commands.cli import main

    out, err = io.StringIO(), io.StringIO()
    code: Any = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(_briefly(words))
        except SystemExit as left:
            code = left.code or 0
    assert code in (0, 1, 2), f"exit code {code}"
    for line in (out.getvalue() + err.getvalue()).split("\n"):
        assert line.isprintable(), f"steers a terminal: {line!r}"
    if code == 2 and len(words) > 0:
        assert err.getvalue().startswith("error: "), err.getvalue()[:300]
        assert len(err.getvalue().split("\n")[0]) < 3000, "a long line"
    if code == 0 and "--help" not in words:
        known = {name for param in _commands().get(words[0], ()) if not param.multiple
                 for name in param.opts}  # fmt: skip
        given = [word.partition("=")[0] for word in words[1:]]
        twice = [name for name in known if name.startswith("--") and given.count(name) > 1]
        assert not twice, f"{twice} given twice, and accepted"
    return f"exit code {code}"


# ---- running them ----

#: what is drawn, and what is asked of it
FUZZERS: dict[str, tuple[Callable[[], SearchStrategy[Any]], Callable[[Any], str]]] = {
    "set": (set_lists, check_set),
    "file": (files, check_file),
    "space": (spaces, check_space_example),
    "options": (command_lines, check_options),
}


def fuzz(name: str, count: int, *, shrink: bool = True) -> Counter[str]:
    """Draw `count` examples, the same ones each time; how many ended in which way. AssertionError,
    or whatever was raised, with the smallest example of the first fault."""
    draw, check = FUZZERS[name]
    ended: Counter[str] = Counter()

    @examples(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(draw())
    def run(example: Any) -> None:
        ended[check(example)] += 1

    run()
    return ended
