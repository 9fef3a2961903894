"""A system by name: built in, from an installed package, or from a file."""

import difflib
import importlib
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import TYPE_CHECKING

from ganforge.local_files import cache_directory, replacing
from ganforge.settings import SettingsError, shown_path
from ganforge.systems import SYSTEMS
from ganforge.systems.trust import (
    RecordedCode,
    UntrustedCode,
    is_trusted,
    require_trust,
    sources_sha256,
    trust,
)
from ganforge.user_file import module_name, run_file

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
            raise SettingsError(f"system = {shown_path(name)}: there is no file {shown_path(path)}")
        return
    known = known_systems()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(sorted(known))}"
        if name.endswith(".py"):
            hint = f"a system of your own is named with its class, {shown_path(name)}:Class"
        raise SettingsError(f"unknown system '{shown_path(name)}'; {hint}")


def load_own_system(name: str) -> "type[System]":
    """The class of a system that the user named: a file is imported where it lies.

    For no name out of a record: see `admit`.
    """
    check_name(name)
    if in_file(name):
        _from_file(_path(name))
    return load_system(name)


def load_system(name: str) -> "type[System]":
    """The class of a system; its module is imported here.

    One in a file must have been named by the user (`load_own_system`) or be trusted (`admit`), else
    UntrustedCode is raised.
    """
    check_name(name)
    attribute = name.rpartition(":")[2]
    if in_file(name):
        path = _path(name)
        found = sys.modules.get(module_name(path, "system"))
        if found is None:
            _check_written(name, path)
        module = found or _from_file(path)
    else:
        where, _, attribute = known_systems()[name].partition(":")
        module = importlib.import_module(where)
    found = getattr(module, attribute, None)
    if found is None:
        classes = [key for key, value in vars(module).items() if isinstance(value, type)]
        near = difflib.get_close_matches(attribute, classes, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise SettingsError(
            f"system = {shown_path(name)}: there is no class {attribute} in it{hint}"
        )
    missing = [part for part in _NEEDED if not hasattr(found, part)]
    if missing:
        raise SettingsError(
            f"system = {shown_path(name)}: has no {', '.join(missing)}; a system is a subclass of "
            "ganforge.systems.base.System with Settings, Data and metric"
        )
    return found


def system_file(name: str) -> Path:
    """The file that holds a system's class."""
    file = sys.modules[load_system(name).__module__].__file__
    assert file is not None
    return Path(file)


def admit(code: RecordedCode, trust_code: bool) -> str:
    """The name under which the code of a record is loaded here: as a copy of exactly the texts
    whose sha256 is trusted, with nothing else next to it. UntrustedCode where it is not."""
    if not code.sources:  # the hash of nothing would be trusted, for whatever file the name says
        raise SettingsError(
            f"system = {code.name}: {code.origin} names this file and holds no text of it; take "
            "another run"
        )
    name = materialise(code.name, code.sources)
    require_trust(code, trust_code, _sources_folder(code.sha256))
    return name


def accept_sent(name: str, sources: Mapping[str, str], origin: str) -> str:
    """`admit` for the files of a run that the user's own driver sent to this process."""
    if sources:
        trust(sources_sha256(sources), origin)
    return materialise(name, sources)


def materialise(name: str, sources: Mapping[str, str]) -> str:
    """The name of the same system on this machine, its files written into the cache.

    `sources` are texts by path below one folder; without any the name stays what it is. Nothing is
    executed.
    """
    if not sources:
        return name
    file, _, attribute = recorded_name(name).rpartition(":")
    main = min((p for p in sources if PurePosixPath(p).name == file), key=len, default=None)
    if main is None:
        raise SettingsError(f"system = {shown_path(name)}: {file} is not among its recorded files")
    folder = _sources_folder(sources_sha256(sources))
    for path, text in sources.items():
        parts = path.split("/")
        if not path.endswith(".py") or "\0" in path or {"", ".", ".."} & set(parts):
            raise SettingsError(
                f"system = {shown_path(name)}: {path!r} is recorded among its files, and is not "
                "the path of a Python file below them; take another run"
            )
        target = folder / path
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as written:
            written.write(text.encode())
    return f"{folder / main}:{attribute}"


def written_sources(name: str) -> dict[str, str]:
    """The texts of a system's files that `materialise` wrote; nothing for any other system."""
    folder = _written_folder(_path(name)) if in_file(name) else None
    if folder is None:
        return {}
    files = sorted(folder.rglob("*.py"))
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in files}


def _sources_folder(sha256: str) -> Path:
    return cache_directory() / "sources" / sha256


def _written_folder(path: Path) -> Path | None:
    """The folder of `materialise` that a file lies in."""
    root = _sources_folder("").absolute()
    if not path.is_relative_to(root) or ".." in path.parts:
        return None
    return root / path.relative_to(root).parts[0]


def _check_written(name: str, path: Path) -> None:
    """Refuse a file that is not one of trusted texts, as `materialise` wrote them."""
    folder = _written_folder(path)
    if folder is not None:
        sha256 = sources_sha256(written_sources(name))
        if sha256 == folder.name and is_trusted(sha256):
            return
    raise UntrustedCode(
        f"system = {shown_path(name)}: is code that a record names and this machine has not "
        "trusted; name the file on the command line of `ganforge train` yourself, or add "
        "--trust-code where a record is used"
    )


def _path(name: str) -> Path:
    return Path(name.rpartition(":")[0]).expanduser().absolute()


def _from_file(path: Path) -> ModuleType:
    """The module in a user's file, run once in a process."""
    return sys.modules.get(module_name(path, "system")) or run_file(path, "system")
