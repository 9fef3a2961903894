"""How settings files of older schemas become settings files of the present one."""

from collections.abc import Callable
from typing import Any


def validation_images(record: dict[str, Any]) -> dict[str, Any]:
    """1 → 2: validation.pictures is called validation.images."""
    settings = dict(record["settings"])
    if isinstance(settings.get("validation"), dict):
        given = dict(settings["validation"])
        if "pictures" in given:
            given["images"] = given.pop("pictures")
        settings["validation"] = given
    return {**record, "settings": settings}


#: One pure function per step, schema n → n + 1, in order. Schema 1 is the first.
MIGRATIONS: list[Callable[[dict[str, Any]], dict[str, Any]]] = [validation_images]
SCHEMA = len(MIGRATIONS) + 1


def migrate(record: dict[str, Any]) -> dict[str, Any]:
    """The record of a settings file, brought to `SCHEMA`.

    A file of a newer schema is refused: what its keys mean cannot be known here.
    """
    schema = record.get("schema", 1)
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        given = repr(schema)[:80]
        raise ValueError(
            f"schema = {given}: this ganforge reads schemas 1 to {SCHEMA}; "
            "install a newer ganforge to read this file"
        )
    for step in MIGRATIONS[schema - 1 :]:
        record = step(record)
    return {**record, "schema": SCHEMA}
