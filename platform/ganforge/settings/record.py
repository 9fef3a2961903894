"""`settings.json`: settings as a file."""

import json
from typing import Any

from ganforge.migrations import SCHEMA, migrate
from ganforge.settings.parsing import parse_json
from ganforge.settings.shown import nearest, shown_key
from ganforge.settings.strict import SettingsError

_LONGEST_NAME = 255
#: what a settings.json holds
_RECORD = ("schema", "ganforge", "system", "settings")


def to_json(settings: Any) -> str:
    """The text of `settings.json`: schema, version, system and the full nested settings."""
    from ganforge import __version__

    record = {"schema": SCHEMA, "ganforge": __version__, "system": settings.system}
    return json.dumps({**record, "settings": settings.model_dump(mode="json")}, indent=2)


def read_json(text: str) -> dict[str, Any]:
    """The record in a `settings.json`, of any schema, migrated to the present one."""
    try:
        record = parse_json(text)
    except ValueError as error:
        raise SettingsError(f"not a JSON file: {error}") from None
    shaped = isinstance(record, dict) and isinstance(record.get("settings"), dict)
    name = record.get("system") if shaped else None
    if not isinstance(name, str) or len(name) > _LONGEST_NAME:
        raise SettingsError("not a settings file: 'system' must be a name, 'settings' a table")
    for key in record:
        if key not in _RECORD:
            near = nearest(key, _RECORD)
            hint = (
                f"did you mean '{near}'?" if near else f"a settings file has {', '.join(_RECORD)}"
            )
            raise SettingsError(f"unknown key '{shown_key(key)}' next to 'settings'; {hint}")
    try:
        return migrate(record)
    except ValueError as error:
        raise SettingsError(str(error)) from None
