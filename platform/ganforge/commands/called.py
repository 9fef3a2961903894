"""Commands by name, imported when they are called."""

import importlib
from typing import Any


def module(name: str) -> Any:
    return importlib.import_module(f"ganforge.commands.{name}")


def command(name: str) -> Any:
    """The function of a command's module that has its name."""
    return getattr(module(name), name)
