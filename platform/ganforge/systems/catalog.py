"""A system by name: built in, from an installed package, or from a file."""

import difflib
import hashlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ganforge.local_files import cache_directory, replacing
from ganforge.settings import SettingsError
from ganforge.systems import SYSTEMS

if TYPE_CHECKING:
    from ganforge.systems.base import System


_NEEDED = ("Settings", "Data", "metric", "PRESETS", "losses")


@cache
def _installed() -> dict[str, str]:
    """The systems of installed packages; looking through all of them takes a while."""
    return {point.name: point.value for point in entry_points(group="ganforge.systems")}


def known_systems() -> dict[str, str]:
    """All names, with where they come from: "module:Class"."""
    return _installed() | SYSTEMS


def in_file(name: str) -> bool:
    """Whether a system is named by its file, FILE.py:Class."""
    return ".py:" in name


def recorded_name(name: str) -> str:
    """A system's name in records: that of a file without the folder it happens to lie in."""
    return Path(name).name if in_file(name) else name


def check_name(name: str) -> None:
    """Raise SettingsError for a name that no system has; imports nothing heavy."""
    if in_file(name):
        path = Path(name.rpartition(":")[0])
        if not path.is_file():
            raise SettingsError(f"system = {name}: there is no file {path}")
        return
    known = known_systems()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(sorted(known))}"
        if name.endswith(".py"):
            hint = f"a system of your own is named with its class, {name}:Class"
        raise SettingsError(f"unknown system '{name}'; {hint}")


def load_system(name: str) -> "type[System]":
    """The class of a system; its module is imported here."""
    check_name(name)
    if in_file(name):
        file, _, attribute = name.rpartition(":")
        module = _from_file(Path(file))
    else:
        where, _, attribute = known_systems()[name].partition(":")
        module = importlib.import_module(where)
    found = getattr(module, attribute, None)
    if found is None:
        classes = [key for key, value in vars(module).items() if isinstance(value, type)]
        near = difflib.get_close_matches(attribute, classes, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise SettingsError(f"system = {name}: there is no class {attribute} in it{hint}")
    missing = [part for part in _NEEDED if not hasattr(found, part)]
    if missing:
        raise SettingsError(
            f"system = {name}: has no {', '.join(missing)}; a system is a subclass of "
            "ganforge.systems.base.System with Settings, Data and metric"
        )
    return found


def system_file(name: str) -> Path:
    """The file that holds a system's class."""
    file = sys.modules[load_system(name).__module__].__file__
    assert file is not None
    return Path(file)


def materialise(name: str, sources: Mapping[str, str]) -> str:
    """The name of the same system on this machine, its files written into the cache.

    `sources` are texts by path below one folder; without any the name stays what it is.
    """
    if not sources:
        return name
    file, _, attribute = recorded_name(name).rpartition(":")
    digest = hashlib.sha256(json.dumps(dict(sources), sort_keys=True).encode()).hexdigest()
    folder = cache_directory() / "sources" / digest[:16]
    for path, text in sources.items():
        target = folder / path
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as written:
            written.write(text.encode())
    main = min((p for p in sources if PurePosixPath(p).name == file), key=len)
    return f"{folder / main}:{attribute}"


def _from_file(path: Path) -> object:
    """The module in a user's file, which can import the files next to it."""
    path = path.expanduser().absolute()
    label = f"ganforge_user_{path.stem}"
    if label in sys.modules and sys.modules[label].__file__ == str(path):
        return sys.modules[label]
    spec = importlib.util.spec_from_file_location(label, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.modules[label] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[label]
        raise SettingsError(f"system = {path}: {type(error).__name__}: {error}") from error
    return module
