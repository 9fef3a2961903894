"""A system by name: built in, from an installed package, or from a file."""

import difflib
import importlib
import importlib.util
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from ganforge.settings import SettingsError
from ganforge.systems import SYSTEMS

if TYPE_CHECKING:
    from ganforge.systems.base import System


def known_systems() -> dict[str, str]:
    """All names, with where they come from: "module:Class"."""
    found = {point.name: point.value for point in entry_points(group="ganforge.systems")}
    return found | SYSTEMS


def check_name(name: str) -> None:
    """Raise SettingsError for a name that no system has; imports nothing heavy."""
    if ".py:" in name:
        path = Path(name.rpartition(":")[0])
        if not path.is_file():
            raise SettingsError(f"system = {name}: there is no file {path}")
        return
    known = known_systems()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(sorted(known))}"
        raise SettingsError(f"unknown system '{name}'; {hint}")


def load_system(name: str) -> "type[System]":
    """The class of a system; its module is imported here."""
    check_name(name)
    if ".py:" in name:
        file, _, attribute = name.rpartition(":")
        module = _from_file(Path(file))
    else:
        where, _, attribute = known_systems()[name].partition(":")
        module = importlib.import_module(where)
    found = getattr(module, attribute, None)
    if found is None:
        raise SettingsError(f"system = {name}: there is no class {attribute} in it")
    return found


def system_file(name: str) -> Path:
    """The file that holds a system's class."""
    file = sys.modules[load_system(name).__module__].__file__
    assert file is not None
    return Path(file)


def _from_file(path: Path) -> object:
    label = f"ganforge_user_{path.stem}"
    if label in sys.modules and sys.modules[label].__file__ == str(path.absolute()):
        return sys.modules[label]
    spec = importlib.util.spec_from_file_location(label, path.absolute())
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[label] = module
    spec.loader.exec_module(module)
    return module
