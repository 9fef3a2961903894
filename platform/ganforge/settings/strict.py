"""What a setting is, and the base of all groups of them."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ganforge.errors import GanforgeError
from ganforge.settings.dotted import NUMBER
from ganforge.settings.parsing import parse_json
from ganforge.settings.shown import nearest, shown

_NONE = {"none", "null"}
#: an integer that no tensor's shape and no file of settings elsewhere can hold
_LARGEST = 2**63


class SettingsError(GanforgeError, ValueError):
    """Bad input: one line per mistake, naming the key, the value, the rule and the fix."""


def setting(
    default: Any,
    meaning: str,
    *,
    per_stage: bool = False,
    weights: bool = True,
    added: bool = False,
    **rules: Any,
) -> Any:
    """Declare a setting.

    `per_stage` allows `stages.K.<key>`; `weights=False` says that no value of it can change a
    weight (logging, cadence, paths), so that it stays out of a stage's identity. `added` settings
    came after the first ids were recorded: their default is how it was, and stays out, too.
    """
    extra: Any = {"per_stage": per_stage, "weights": weights, "added": added}
    options: dict[str, Any] = {"description": meaning, "json_schema_extra": extra, **rules}
    return Field(default, **options)


class Strict(BaseModel):
    """Base of all settings: frozen, finite, without unknown keys; strings are parsed by type."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True
    )
    #: names that may be given in place of a whole group, and the values that each stands for
    by_name: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @model_validator(mode="wrap")
    @classmethod
    def _built(
        cls, given: Any, build: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        """Integers have an end. A list as context gets the settings before the rules that span
        several of them are asked: `_problems` asks each of these."""
        made = build(given)
        if isinstance(info.context, list):
            info.context.append(made)
        large = [
            f"{name} = {shown(value)}: must be below 2**63"
            for name, value in made
            if isinstance(value, int) and not -_LARGEST <= value < _LARGEST
        ]
        if large:
            raise ValueError("\n".join(large))
        return made

    @model_validator(mode="before")
    @classmethod
    def _parse_strings(cls, given: Any) -> Any:
        if isinstance(given, str) and cls.by_name:
            given = cls._named(given)
        if not isinstance(given, Mapping):
            return given
        return {key: cls._parsed(key, value) for key, value in given.items()}

    @classmethod
    def _named(cls, name: str) -> Mapping[str, Any]:
        if name in cls.by_name:
            return cls.by_name[name]
        near = nearest(name, cls.by_name)
        hint = f"; did you mean '{near}'?" if near else "; single settings are given by their keys"
        rule = f"must be {' or '.join(cls.by_name)}{hint}"
        raise PydanticCustomError("unknown_name", "{rule}", {"rule": rule})

    @classmethod
    def _parsed(cls, key: str, value: Any) -> Any:
        field = cls.model_fields.get(key)
        if field is None or not isinstance(value, str):
            return value
        kinds = get_args(field.annotation) or (field.annotation,)
        if type(None) in kinds and value.lower() in _NONE:
            return None
        if NUMBER.fullmatch(value) and int(value) in kinds:  # a choice of numbers
            return int(value)
        if getattr(field.annotation, "__origin__", None) in (tuple, dict):
            text = value.strip()
            try:
                return parse_json(text) if text[:1] in ("[", "{") else text.strip("()").split(",")
            except ValueError:
                return value
        return value
