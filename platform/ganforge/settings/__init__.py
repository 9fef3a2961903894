"""Strict settings: one dotted name for one setting everywhere.

`flatten` and `override` are inverse: `override(settings, flatten(settings)) == settings`, also when
every value has been turned into a string on the way (a command line, a search space, MLflow).
"""

from ganforge.settings.change import named_groups, override, validated
from ganforge.settings.dotted import field_flags, flatten, per_stage_keys
from ganforge.settings.mistakes import unknown
from ganforge.settings.parsing import parse_json
from ganforge.settings.record import read_json, to_json
from ganforge.settings.shown import nearest, shown, shown_key, shown_path
from ganforge.settings.strict import SettingsError, Strict, setting

__all__ = [
    "SettingsError", "Strict", "field_flags", "flatten", "named_groups", "nearest", "override",
    "parse_json", "per_stage_keys", "read_json", "setting", "shown", "shown_key", "shown_path",
    "to_json", "unknown", "validated",
]  # fmt: skip
