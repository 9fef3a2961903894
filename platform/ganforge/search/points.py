"""Points to try first: from a file, or from the recorded settings of runs."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganforge.local_files import MOST_RECORD, read_file
from ganforge.search.by_stage import for_stages
from ganforge.search.domains import Axis, plain
from ganforge.search.space import Point, Space, axes, canonical, is_active, own_value
from ganforge.settings import SettingsError, override, parse_json, shown, shown_key
from ganforge.systems.settings import SystemSettings


def read_points(path: str, space: Space, settings: SystemSettings) -> list[Point]:
    """The points of a file: .json (a list of {dotted key: value}), .jsonl (one on each line) or
    .csv (keys in the first line; an empty cell leaves a setting open).

    A point may be a part of one. SettingsError has a line for each mistake.
    """
    points: list[Point] = []
    problems: list[str] = []
    for number, row in enumerate(_rows(Path(path)), 1):
        point, found = check_point(row, space, settings)
        points.append(point)
        problems += [f"{path}: point {number}: {line}" for line in found]
    if problems:
        raise SettingsError("\n".join(problems))
    if not points:
        raise SettingsError(f"points = {path}: holds no point; give at least one")
    return points


def check_point(
    values: Mapping[str, Any], space: Space, settings: SystemSettings
) -> tuple[Point, list[str]]:
    """These settings as a point of the space, and a line for each that cannot be one.

    Values may be texts. A setting that is not searched must be what `settings` have, and is left
    out.
    """
    found = axes(space)
    kept: dict[str, Any] = {}
    problems: list[str] = []
    for key, given in for_stages(values, space, settings).items():
        try:
            value = plain(own_value(key, override(settings, {key: given})))
        except SettingsError as error:
            problems += str(error).split("\n")
            continue
        except (AttributeError, LookupError, TypeError, ValueError):
            problems.append(f"{shown_key(key)} = {shown(given)}: is not the name of one setting")
            continue
        if key in found:
            if not found[key].contains(value):
                problems.append(
                    f"{shown_key(key)} = {shown(given)}: does not lie in its domain, "
                    f"{found[key].text}; widen that, or leave the setting out"
                )
            kept[key] = value
        elif value != plain(own_value(key, settings)):
            problems.append(
                f"{shown_key(key)} = {shown(given)}: is not searched, and is "
                f"{shown(plain(own_value(key, settings)))} in this search; give it a domain, or "
                "leave it out"
            )
    return (canonical(found, kept) if not problems else {}), problems


def recorded_point(
    recorded: Mapping[str, str], space: Space, settings: SystemSettings, partial: bool = False
) -> Point | None:
    """The point of a run by its recorded settings, as texts by dotted key; None where it is not of
    this space. What is not searched, and may differ between the runs, is not looked at. With
    `partial` the point lacks what is not recorded."""
    found = axes(space)
    point: Point = {}
    for key, axis in found.items():
        if not is_active(axis, point):
            continue
        text = _recorded(key, recorded, axis)
        if text is None and partial:
            continue
        if text is None:
            return None
        try:
            value = plain(own_value(key, override(settings, {key: text})))
        except SettingsError:
            return None
        if not axis.contains(value):
            return None
        point[key] = axis.snap(value)
    return point


def _recorded(key: str, recorded: Mapping[str, str], axis: Axis) -> str | None:
    """A setting among recorded ones: itself, its parts as a list, or of a stage the global one."""
    if key in recorded:
        return recorded[key]
    parts = sorted(
        (int(name[len(key) + 1 :]), text)
        for name, text in recorded.items()
        if name.startswith(f"{key}.") and name[len(key) + 1 :].isdecimal()
    )
    if parts:
        return ",".join(text for _, text in parts)
    first, _, rest = key.partition(".")
    whole = rest.partition(".")[2]
    return _recorded(whole, recorded, axis) if first == "stages" and whole else None


def _rows(path: Path) -> Sequence[Mapping[str, Any]]:
    kinds = {".json": _json_rows, ".jsonl": _json_lines, ".csv": _csv_rows}
    read = kinds.get(path.suffix.lower())
    if read is None:
        raise SettingsError(f"points = {path}: must end in .json, .jsonl or .csv")
    try:
        rows = read(read_file(path, MOST_RECORD).decode())
    except OSError as error:
        raise SettingsError(f"points = {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SettingsError(f"points = {path}: must be a text in UTF-8") from None
    except (ValueError, csv.Error) as error:
        reason = str(error).split("\n")[0]
        raise SettingsError(f"points = {path}: cannot be read ({reason})") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SettingsError(f"points = {path}: must be a list of {{setting: value}}")
    return rows


def _json_rows(text: str) -> Any:
    found = parse_json(text)
    return [found] if isinstance(found, dict) else found


def _json_lines(text: str) -> Any:
    return [parse_json(line) for line in text.splitlines() if line.strip()]


def _csv_rows(text: str) -> Any:
    reader = csv.DictReader(io.StringIO(text), restkey="", strict=True)
    rows = []
    for row in reader:
        if "" in row:
            raise ValueError(f"line {reader.line_num} has more cells than the first line")
        rows.append({key: value for key, value in row.items() if value})
    return rows
