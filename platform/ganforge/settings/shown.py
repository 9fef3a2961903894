"""Keys, values and paths as messages show them, and the name that was probably meant."""

import difflib
from collections.abc import Iterable
from typing import Any

#: values and keys are cut in messages, names that are compared with others before that
_SHOWN, _COMPARED = 80, 100
_PATH = 600


def shown(value: Any) -> str:
    """A value in a message: on one line, without characters that steer a terminal, not long."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deep, an integer of too many digits
        return f"a {type(value).__name__} that is too large to be shown"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def shown_key(key: Any) -> str:
    """A key in a message, as `shown` but without quotes."""
    text = shown(key)
    return text[1:-1] if isinstance(key, str) and text[-1] in "'\"" else text.lstrip("'\"")


def shown_path(path: object) -> str:
    """A path in a message: whole, because its end says most; one that is too long to be a path
    loses its middle."""
    text = str(path)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= _PATH else f"{text[: _PATH // 3]}…{text[-_PATH // 3 :]}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like this one, if one is."""
    if len(name) > _COMPARED:  # comparing takes its square
        return None
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)), None)
