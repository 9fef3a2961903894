"""Which of two runs a person finds better: kept with both runs, and summed up as `preference`.

A choice is one small artifact of each of its two runs, under a name that holds its id and what it
says of the run: recorded twice it is the same file, and two people who choose at a time lose
nothing. Tags and the metric are made anew from the names. `preference` is

    (won + tied / 2 + 1) / (won + lost + tied + 2)

the share of the comparisons that the run won, with one won and one lost added (Laplace's rule of
succession): 0.5 where nobody chose, and a run that won once is not above one that won 19 of 20.
"""

import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mlflow.entities import Metric, RunTag

from ganforge.settings import SettingsError
from ganforge.tracking.client import open_client
from ganforge.tracking.named_store import check_artifact_uri
from ganforge.tracking.queries import list_files

METRIC = "preference"
_NAME = re.compile(r"preference/([0-9a-f]{16})-(won|lost|tied)\.json")
_ID, _RUN = re.compile(r"[0-9a-f]{16}"), re.compile(r"[\w\-]{1,64}")
_OUTCOMES = {"first": ("won", "lost"), "second": ("lost", "won"), "tied": ("tied", "tied")}


@dataclass(frozen=True)
class Choice:
    """One comparison: which of two runs is better, `first`, `second` or `tied`, seen on an image
    (its number on the page, from 0) at a `mark` (100 to a stage). `key` is drawn by the page."""

    key: str
    first: str
    second: str
    better: str
    image: int
    mark: int


@dataclass(frozen=True)
class Preference:
    """How often a run was compared, and how."""

    won: int = 0
    lost: int = 0
    tied: int = 0

    @property
    def count(self) -> int:
        return self.won + self.lost + self.tied

    @property
    def share(self) -> float:
        """Above 0, below 1; 0.5 of a run that was not compared."""
        return (self.won + self.tied / 2 + 1) / (self.count + 2)


def read_choice(record: Any) -> Choice:
    """A choice in JSON form, from a page or a file; SettingsError where it is none."""
    kinds = {"key": str, "first": str, "second": str, "better": str, "image": int, "mark": int}
    if not isinstance(record, dict) or set(record) != set(kinds):
        raise SettingsError(f"a choice must have {', '.join(kinds)}, and nothing else")
    for name, kind in kinds.items():
        if type(record[name]) is not kind:
            raise SettingsError(f"a choice's {name}: must be of type {kind.__name__}")
    choice = Choice(**record)
    if not _ID.fullmatch(choice.key):
        raise SettingsError("a choice's key: must be 16 hexadecimal digits")
    if not all(_RUN.fullmatch(run) for run in (choice.first, choice.second)):
        raise SettingsError("a choice's first and second: must be ids of runs")
    if choice.first == choice.second:
        raise SettingsError("a choice's first and second: must be two runs")
    if choice.better not in _OUTCOMES:
        raise SettingsError(f"a choice's better: must be one of {', '.join(_OUTCOMES)}")
    if not (0 <= choice.image < 10**6 and 0 <= choice.mark < 10**9):
        raise SettingsError("a choice's image and mark: must be at least 0, and not that large")
    return choice


def record_choices(uri: str, choices: Iterable[Choice]) -> dict[str, Preference]:
    """Keep choices with their runs; what each of these runs has now, by its id."""
    client = open_client(uri)
    touched: dict[str, None] = {}
    for choice in choices:
        pairs = zip((choice.first, choice.second), _OUTCOMES[choice.better], strict=True)
        content = json.dumps(asdict(choice), indent=1)
        for run, outcome in pairs:
            if run not in touched:
                list_files(uri, run, METRIC)  # is there such a run, and may it be written to?
            client.log_text(run, content, f"{METRIC}/{choice.key}-{outcome}.json")
            touched[run] = None
    return {run: summed_up(uri, run) for run in touched}


def summed_up(uri: str, run: str) -> Preference:
    """Make a run's tags and its metric anew from the choices that it has."""
    client = open_client(uri)
    check_artifact_uri(uri, client.get_run(run).info.artifact_uri or "")
    found = [m[2] for path in list_files(uri, run, METRIC) if (m := _NAME.fullmatch(path))]
    preference = Preference(found.count("won"), found.count("lost"), found.count("tied"))
    values = {
        METRIC: f"{preference.share:.4f}",
        f"{METRIC}.won": str(preference.won),
        f"{METRIC}.lost": str(preference.lost),
        f"{METRIC}.tied": str(preference.tied),
    }
    point = Metric(METRIC, preference.share, int(time.time() * 1000), preference.count)
    client.log_batch(
        run, metrics=[point], tags=[RunTag(key, value) for key, value in values.items()]
    )
    return preference


def recorded_preference(tags: Mapping[str, str]) -> Preference:
    """What the tags of a run say; nothing where they are not as written here."""
    counts = [tags.get(f"{METRIC}.{name}", "0") for name in ("won", "lost", "tied")]
    if not all(count.isdecimal() and len(count) < 8 for count in counts):
        return Preference()
    won, lost, tied = map(int, counts)
    return Preference(won, lost, tied)
