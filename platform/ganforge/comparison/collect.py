"""The sample grids of runs as images on a page: fetched, cut, matched between runs, measured."""

import hashlib
import importlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganforge.comparison.panes import (
    Panes,
    UnknownGrid,
    read_panes,
    strip,
    tile_difference,
    tile_digests,
    tile_psnr,
)
from ganforge.local_files import MOST_SOURCE, read_file
from ganforge.output_files import make_output_folder, output_file
from ganforge.settings import SettingsError, shown_key
from ganforge.systems.catalog import known_systems
from ganforge.tracking.compared import ComparedRun, compared_runs, recorded_keys
from ganforge.tracking.preference import Preference
from ganforge.tracking.queries import fetch_file, list_files

if TYPE_CHECKING:
    from ganforge.systems.base import System

TILES = "tiles"
_GRID = re.compile(r"grids/stage-(\d{1,6})-(\d{1,12})\.png")
_MARK = re.compile(r"images/samples~grid\+step\+(\d{1,9})\+timestamp\+[^/]*\.png")
#: panes of a system that is not known here
_UNNAMED = 4
#: as many metrics are named where one is asked for that no run has
_MOST_NAMED = 20


@dataclass(frozen=True)
class Frame:
    """One sample grid of a run: its position (`mark`, 100 to a stage), and each pane's file."""

    mark: int
    stage: int
    step: int
    side: int
    shrunk: int | None
    panes: dict[str, str]
    #: what each image is, equal where two runs show the same one
    keys: tuple[str, ...]
    psnr: tuple[float, ...] = ()
    difference: tuple[float, ...] = ()


@dataclass
class Collector:
    """Fetches what a comparison of `sources` shows, and writes the tiles into `folder`, which is
    made for the first one: what is refused leaves no folder. A second call of `collect` fetches
    what is new since the first. `metric` stands in the head of each run, by default that of its
    system; with `ends_only` a run has one frame for each stage."""

    uri: str
    sources: Sequence[str]
    folder: Path
    metric: str = ""
    ends_only: bool = False
    overwrite: bool = False
    trouble: list[str] = field(default_factory=list)
    _frames: dict[str, dict[str, Frame | None]] = field(default_factory=dict)
    _complete: set[str] = field(default_factory=set)
    _written: set[str] = field(default_factory=set)

    def collect(self) -> dict[str, Any]:
        """All runs and images as the page reads them; a run without a grid is left out."""
        runs = compared_runs(self.uri, self.sources)
        _check_metric(self.metric, runs)
        for run in runs:
            if run.run_id in self._complete:
                continue
            self._fetch(run)
            if run.done:
                self._complete.add(run.run_id)
        shown = [(run, frames) for run in runs if (frames := self._of(run))]
        metric = self.metric or next((found for run in runs if (found := own_metric(run))), "")
        return as_data(shown, len(runs)) | {
            "id": self._page_id(),
            "title": ", ".join(self.sources),
            "metric": metric,
        }

    def recorded_choices(self, data: dict[str, Any]) -> list[str]:
        """The keys of the choices that both of their runs hold: a page that keeps choices of its
        own does not count these again."""
        chosen = [run["id"] for run in data["runs"] if _was_compared(run["preference"])]
        held = Counter(key for run in chosen for key in recorded_keys(self.uri, run))
        return sorted(key for key, count in held.items() if count > 1)

    def _page_id(self) -> str:
        """Equal for pages that compare the same, also when a search has more runs by then. A
        browser keeps the choices of all pages that were opened as files in one store."""
        compared = json.dumps([self.uri, sorted(set(self.sources))])
        return hashlib.sha256(compared.encode()).hexdigest()[:16]

    def _of(self, run: ComparedRun) -> list[Frame]:
        found = [frame for frame in self._frames.get(run.run_id, {}).values() if frame is not None]
        return sorted(found, key=lambda frame: (frame.mark, frame.stage, frame.step))

    def _fetch(self, run: ComparedRun) -> None:
        known = self._frames.setdefault(run.run_id, {})
        paths = _grids(list_files(self.uri, run.run_id, "grids"))
        marks = self._marks(run, paths)
        if self.ends_only:
            # the newest of each stage
            paths = list({stage: (stage, step, path) for stage, step, path in paths}.values())
            for path in set(known) - {path for *_, path in paths}:
                del known[path]
        wanted = [grid for grid in paths if grid[2] not in known]
        with tempfile.TemporaryDirectory() as aside:
            # all at once is one request; of a run that is watched, what is new
            whole = len(wanted) > 3 and len(wanted) == len(paths)
            if whole:
                fetch_file(self.uri, run.run_id, "grids", Path(aside))
            for stage, step, path in wanted:
                local = Path(aside, path)
                if not whole:
                    local = fetch_file(self.uri, run.run_id, path, Path(aside))
                try:
                    content = read_file(local, MOST_SOURCE)
                    known[path] = self._frame(run, content, stage, step, marks[path])
                except (OSError, UnknownGrid) as error:
                    known[path] = None
                    self.trouble.append(f"run {run.run_id}: {path} is not shown ({error})")

    def _marks(self, run: ComparedRun, paths: list[tuple[int, int, str]]) -> dict[str, int]:
        """The position of each grid. Copies of the grids, for MLflow's own page, are named by it;
        where these are missing, the largest step of a stage counts as its end."""
        files = list_files(self.uri, run.run_id, "images")
        recorded = sorted({int(found[1]) for path in files if (found := _MARK.fullmatch(path))})
        if len(recorded) == len(paths):
            return {path: mark for (*_, path), mark in zip(paths, recorded, strict=True)}
        last = {stage: max(step, 1) for stage, step, _ in paths}
        return {path: round(100 * (stage + step / last[stage])) for stage, step, path in paths}

    def _frame(self, run: ComparedRun, content: bytes, stage: int, step: int, mark: int) -> Frame:
        titles, from_latent = pane_titles(run.system)
        sides = run.resolutions
        if stage >= len(sides):
            raise UnknownGrid(f"the run has {len(sides)} stages")
        panes = read_panes(content, titles, sides[stage], sides[-1], from_latent=from_latent)
        files = {title: self._write(*strip(images)) for title, images in panes.images.items()}
        psnr, difference = _values(panes)
        return Frame(
            mark,
            stage,
            step,
            panes.side,
            panes.shrunk,
            files,
            tuple(_keys(panes)),
            tuple(psnr),
            tuple(difference),
        )

    def _write(self, name: str, content: bytes) -> str:
        if name not in self._written:
            make_output_folder(self.folder)
            with output_file(self.folder, f"{TILES}/{name}.png", overwrite=self.overwrite) as file:
                file.write(content)
            self._written.add(name)
        return name


def _check_metric(metric: str, runs: Sequence[ComparedRun]) -> None:
    """SettingsError for a metric that no run has, and that none of their systems measures."""
    recorded = {name for run in runs for name in run.metrics}
    measured = {name for run in runs for name in _measured(run)}
    # runs that have just begun have no metric yet
    if not metric or not recorded or metric in recorded | measured:
        return
    named = sorted(recorded)
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    raise SettingsError(
        f"metric = {shown_key(metric)}: none of the {len(runs)} runs has it; their metrics are: "
        f"{', '.join(named[:_MOST_NAMED])}{more}"
    )


def _measured(run: ComparedRun) -> list[str]:
    found = _system(run.system)
    return [] if found is None else [one.name for one in (found.metric, *found.metrics)]


def _was_compared(preference: dict[str, float]) -> bool:
    return any(preference[name] for name in ("won", "lost", "tied"))


def own_metric(run: ComparedRun) -> str:
    """The metric by which a system's runs are compared; empty of one that is not known here."""
    found = _system(run.system)
    return "" if found is None else found.metric.name


@cache
def _system(name: str) -> "type[System] | None":
    """The class of an installed system. The code of a record is not run for a page."""
    target = known_systems().get(name)
    if target is None:
        return None
    module, _, kind = target.partition(":")
    return getattr(importlib.import_module(module), kind)


def pane_titles(system: str) -> tuple[tuple[str, ...], bool]:
    """The titles of the panes of a system's grids, and whether it makes images of noise. A system
    in a file is taken for one of super-resolution, whose grids have four panes."""
    found = _system(system)
    if found is None:
        return tuple(f"pane {number}" for number in range(1, _UNNAMED + 1)), False
    titles = [
        f"{title} ({number})" if title in found.sample_titles[: number - 1] else title
        for number, title in enumerate(found.sample_titles, 1)
    ]
    return tuple(titles), found.takes == "latent"


def _grids(paths: Sequence[str]) -> list[tuple[int, int, str]]:
    """(stage, step, path) in the order of training. The first of a later stage is left out: it has
    the position of the end before it, with a block that was not trained yet."""
    found = [(int(m[1]), int(m[2]), path) for path in paths if (m := _GRID.fullmatch(path))]
    return sorted((s, n, p) for s, n, p in found if n > 0 or s == 0)


def _values(panes: Panes) -> tuple[list[float], list[float]]:
    """PSNR to what a generated image should be, and its difference to bicubic, of each image; none
    where a pane is missing, or was shrunk."""
    made = panes.images.get("generated")
    if made is None or panes.shrunk is not None:
        return [], []
    target = panes.of("high resolution", "target")
    bicubic = panes.of("bicubic")
    return (
        [] if target is None else tile_psnr(made, target),
        [] if bicubic is None else tile_difference(made, bicubic),
    )


def _keys(panes: Panes) -> list[str]:
    """Two runs show the same image where its pixels are equal; of images from noise, where they
    have the same number."""
    given = panes.of("high resolution", "source", "pane 4")
    if given is None:
        return [f"sample.{number}" for number in range(panes.count)]
    return tile_digests(given)


def as_data(shown: Sequence[tuple[ComparedRun, list[Frame]]], total: int) -> dict[str, Any]:
    """The page's data: plain values only."""
    rows = match_rows([frames for _, frames in shown])
    panes: dict[str, None] = {}
    for _, frames in shown:
        panes |= {title: None for frame in frames for title in frame.panes}
    return {
        "format": 1,
        "panes": list(panes),
        "rows": len(set(rows.values())),
        "total": total,
        "runs": [_run_data(run, frames, rows) for run, frames in shown],
    }


def _run_data(run: ComparedRun, frames: Sequence[Frame], rows: dict[str, int]) -> dict[str, Any]:
    return {
        "id": run.run_id,
        "name": run.name,
        "experiment": run.experiment,
        "search": run.search,
        "outcome": run.outcome,
        "done": run.done,
        "page": run.page,
        "settings": run.settings,
        "metrics": run.metrics,
        "preference": preference_data(run.preference),
        "frames": [
            {
                "mark": frame.mark,
                "stage": frame.stage,
                "step": frame.step,
                "side": frame.side,
                "shrunk": frame.shrunk,
                "panes": frame.panes,
                "rows": [rows[key] for key in frame.keys],
                "psnr": frame.psnr,
                "difference": frame.difference,
            }
            for frame in frames
        ],
    }


def preference_data(preference: Preference) -> dict[str, float]:
    """What the page shows of a Preference."""
    return {
        "won": preference.won,
        "lost": preference.lost,
        "tied": preference.tied,
        "share": round(preference.share, 4),
    }


def match_rows(runs: Sequence[Sequence[Frame]]) -> dict[str, int]:
    """A row of the page for each key. The n-th image of a run is one image at all its stages, at
    several sizes; runs that share a key share the row."""
    root: dict[str, str] = {}

    def find(key: str) -> str:
        while root.setdefault(key, key) != key:
            key = root[key]
        return key

    for frames in runs:
        first: dict[int, str] = {}
        for frame in frames:
            for number, key in enumerate(frame.keys):
                root[find(key)] = find(first.setdefault(number, key))
    rows: dict[str, int] = {}
    return {key: rows.setdefault(find(key), len(rows)) for key in list(root)}


def check_shown(data: dict[str, Any], sources: Sequence[str]) -> None:
    """SettingsError where nothing can be compared."""
    if not data["runs"]:
        named = ", ".join(sources)
        raise SettingsError(
            f"compare = {named}: none of its {data['total']} runs has recorded a sample grid yet; "
            "wait for the first one, or name other runs"
        )
