"""Listeners by name: those that come with the package, and those of the user."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ganforge.events import Listener, Listeners
from ganforge.listeners.tensorboard import TensorBoard
from ganforge.listeners.weights_and_biases import WeightsAndBiases
from ganforge.settings import SettingsError, shown
from ganforge.user_file import run_file

_OWN: dict[str, Callable[[str], Listener]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}
_RULE = "give tensorboard:FOLDER, wandb:PROJECT, or FILE.py:NAME"


def load_listeners(given: Sequence[str | Listener]) -> Listeners:
    """The listeners that are named, or are callables already; SettingsError for the first that is
    not one."""
    return Listeners([each if callable(each) else load_listener(each) for each in given])


def load_listener(name: str) -> Listener:
    """`tensorboard:FOLDER`, `wandb:PROJECT`, or `FILE.py:NAME`: a function of one Event, or a class
    whose instances are called with each and need no arguments."""
    kind, separator, argument = name.partition(":")
    if kind in _OWN and separator and argument:
        return _OWN[kind](argument)
    path, separator, member = name.rpartition(":")
    if not separator or not path.endswith(".py") or not member:
        raise SettingsError(f"listener = {shown(name)}: there is no such listener; {_RULE}")
    found = getattr(run_file(Path(path), "listener"), member, None)
    if isinstance(found, type):
        try:
            found = found()
        except TypeError as error:
            raise SettingsError(
                f"listener = {shown(name)}: cannot be made without arguments ({error})"
            ) from None
    if not callable(found):
        raise SettingsError(
            f"listener = {shown(name)}: the file has no function or class of that name whose "
            "instances are called with an event"
        )
    return found
