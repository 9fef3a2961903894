"""A command whose options are given once, with a value.

Without this the last of two values counts and the first is lost without a word, and an empty value,
such as an unset variable of a shell leaves behind, means the folder that one stands in.
"""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand

from ganforge.settings import SettingsError


class GivenOnce(TyperCommand):
    """Refuses options given twice that are not lists, empty values, and numbers that are none."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        values, _, order = self.make_parser(ctx).parse_args(args=list(args))
        problems = []
        names = {id(param): _name(param) for param in order}
        for number, count in Counter(map(id, order)).items():
            param = next(found for found in order if id(found) == number)
            repeatable = getattr(param, "multiple", False) or param.is_eager  # --help
            if count > 1 and not repeatable:
                problems.append(f"{names[number]} is given {count} times: must be given once")
            given = values.get(param.name)
            if "" in (given if isinstance(given, list | tuple) else [given]):
                problems.append(f"{names[number]}: must not be empty; give a value or leave it out")
        if problems:
            raise SettingsError("\n".join(problems))
        rest = super().parse_args(ctx, args)
        for name, value in ctx.params.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise SettingsError(f"--{name.replace('_', '-')} = {value}: must be a number")
        return rest


def _name(param: Any) -> str:
    """--data, or what --help calls an argument."""
    long = [name for name in getattr(param, "opts", ()) if name.startswith("--")]
    return long[0] if long else str(getattr(param, "metavar", None) or param.name)


class App(typer.Typer):
    """A command line all of whose commands are `GivenOnce`."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        chosen: dict[str, Any] = {"cls": GivenOnce} | options
        return super().command(name, **chosen)
