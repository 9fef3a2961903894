"""Search spaces: data about settings. A space is a file with SPACE = {dotted key: domain}.

A domain is one of Ray Tune or Optuna; `likely` adds what is probably the best value, and `when` the
value of another setting without which this one does not matter.
"""

import importlib
from pathlib import Path
from typing import Any

from ganforge.search.knowledge import likely, when
from ganforge.settings import SettingsError
from ganforge.user_file import run_file

__all__ = ["likely", "load", "names", "when"]


def names() -> list[str]:
    """The spaces in this package."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem != "__init__")


def load(name: str, num_stages: int | None = None) -> dict[str, Any]:
    """The SPACE of a space in this package, or of a file: {dotted key: domain}.

    A space of this package serves ladders of any length: with `num_stages` it speaks only of stages
    that there are. In a file of the user's such a key is a mistake, and stays. A system
    FILE.py:Class has its space in the same file.
    """
    name = name.rpartition(":")[0] if ".py:" in name else name
    if name.endswith(".py"):
        module = run_file(Path(name), "space")
    elif name in names():
        module = importlib.import_module(f"search_spaces.{name}")
    else:
        raise SettingsError(
            f"space = {name}: there is no such search space; give one of {', '.join(names())}, "
            "or a file with SPACE = {key: domain}"
        )
    space = getattr(module, "SPACE", None)
    if not isinstance(space, dict) or not space:
        raise SettingsError(f"space = {name}: has no SPACE = {{key: domain}}")
    if num_stages is None or name.endswith(".py"):
        return space
    return {key: domain for key, domain in space.items() if _stage(key) < num_stages}


def _stage(key: str) -> int:
    first, number, *_ = [*key.split("."), ""]
    return int(number) if first == "stages" and number.isdecimal() else -1
