"""Arguments of Python calls: of the type that a command line makes of its words, or refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganforge.settings import SettingsError, shown


def check_whole(name: str, value: Any, least: int) -> None:
    """SettingsError for what is not a whole number of at least `least`; None is not given."""
    right = isinstance(value, int) and not isinstance(value, bool)
    if value is not None and not (right and value >= least):
        raise SettingsError(f"{name} = {shown(value)}: must be a whole number from {least} on")


def check_texts(**values: Any) -> None:
    """SettingsError for the first that is not a text; None is not given."""
    for name, value in values.items():
        if value is not None and not isinstance(value, str):
            raise SettingsError(f"{name} = {shown(value)}: must be a text")


def check_switches(**values: Any) -> None:
    """SettingsError for the first that is neither True nor False."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise SettingsError(f"{name} = {shown(value)}: must be True or False")


def given_path(name: str, value: Any) -> str:
    """A text or a path as text; SettingsError for anything else, and for None."""
    if value is None:
        raise SettingsError(f"{name} = None: must be a path or a text")
    return as_text(name, value) or ""


def as_text(name: str, value: Any) -> str | None:
    """A text or a path as text; SettingsError for anything else."""
    if value is None or isinstance(value, str | Path):
        return None if value is None else str(value)
    raise SettingsError(f"{name} = {shown(value)}: must be a path or a text")


def check_table(name: str, value: Any) -> None:
    """SettingsError for what is not a dictionary; None is not given."""
    if value is not None and not isinstance(value, Mapping):
        raise SettingsError(f"{name} = {shown(value)}: must be a dictionary by dotted key")
