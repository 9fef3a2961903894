"""A strategy in a file of one's own: what is none is named in one line."""

from pathlib import Path

import pytest

from ganforge.search.strategies.catalog import load_strategy
from ganforge.settings import SettingsError

GOOD = """
class Mine:
    pauses = True
    def next(self, seen, candidates): ...
    def continues(self, seen, number, candidates): ...
"""


def test_a_class_with_all_members_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(GOOD)
    assert load_strategy(f"{path}:Mine").pauses


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("def next(self, seen, candidates): ...", "next = 5"), "has no method `next`"),
        (("def continues", "def others"), "has no method `continues`"),
        (("pauses = True", "pauses = 1"), "has no truth value `pauses`"),
        (("class Mine", "raise BaseException('out')\nclass Mine"), "BaseException: out"),
        (("class Mine", "raise SystemExit(0)\nclass Mine"), "SystemExit: 0"),
        (("pauses = True", "@property\n    def pauses(self): return 1 / 0"), "ZeroDivisionError"),
    ],
    ids=lambda value: value[1][:20] if isinstance(value, tuple) else "",
)
def test_what_is_no_strategy_is_named(
    change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(SettingsError, match=message):
        load_strategy(f"{path}:Mine")
