"""`ganforge compare`: the images of many runs on one page, and which of them people prefer."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganforge.console import complain, show
from ganforge.settings import SettingsError, shown_path

if TYPE_CHECKING:
    from ganforge.comparison.collect import Collector

#: as many reasons are printed, the others counted
_MOST_LINES = 5


@dataclass(frozen=True)
class CompareOptions:
    """The options of `ganforge compare`."""

    sources: tuple[str, ...] = ()
    output: str = "compare"
    serve: bool = False
    port: int = 0
    apply: str | None = None
    metric: str | None = None
    ends: bool = False
    overwrite: bool = False
    tracking_uri: str | None = None


def compare(options: CompareOptions) -> None:
    """Write the page, serve it, or record the choices that were saved from one."""
    from ganforge.tracking.client import DEFAULT_EXPERIMENT, existing_uri

    if options.apply is not None and options.serve:
        raise SettingsError(
            "--apply and --serve: a served page records choices by itself; leave one of the two out"
        )
    uri = existing_uri(options.tracking_uri)
    if options.apply is not None:
        _apply(uri, Path(options.apply).expanduser())
        return
    sources = options.sources or (DEFAULT_EXPERIMENT,)
    if options.serve:
        _serve(uri, sources, options)
        return
    page = write(
        uri,
        sources,
        Path(options.output).expanduser(),
        metric=options.metric or "",
        ends_only=options.ends,
        overwrite=options.overwrite,
    )
    show(f"open          {page.absolute().as_uri()}")


def write(
    uri: str,
    sources: Sequence[str],
    folder: Path,
    *,
    metric: str = "",
    ends_only: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write the page of these experiments, searches and runs into a folder; the file to open."""
    from ganforge.comparison.collect import Collector, check_shown
    from ganforge.comparison.page import check_page, write_page

    check_page(folder, overwrite=overwrite)
    collector = Collector(uri, sources, folder, metric, ends_only, overwrite)
    data = collector.collect()
    check_shown(data, sources)
    data["recorded"] = collector.recorded_choices(data)
    page = write_page(folder, data, overwrite=overwrite)
    _report(collector, data)
    return page


def _report(collector: "Collector", data: dict[str, Any]) -> None:
    for line in collector.trouble[:_MOST_LINES]:
        complain(line, "warning")
    if len(collector.trouble) > _MOST_LINES:
        complain(f"{len(collector.trouble) - _MOST_LINES} further grids are not shown", "warning")
    runs, total = len(data["runs"]), data["total"]
    without = f"; {total - runs} without a sample grid" if total > runs else ""
    show(f"compared      {runs} runs, {data['rows']} images{without}")


def _serve(uri: str, sources: Sequence[str], options: CompareOptions) -> None:
    from ganforge.comparison.collect import Collector, check_shown
    from ganforge.comparison.server import HOST, CompareServer

    with tempfile.TemporaryDirectory(prefix="ganforge-compare-") as folder:
        collector = Collector(
            uri, sources, Path(folder), options.metric or "", options.ends, overwrite=True
        )
        data = collector.collect()
        check_shown(data, sources)
        try:
            server = CompareServer(collector, data, options.port)
        except OSError as error:
            raise SettingsError(
                f"port = {options.port}: cannot be listened at on {HOST} ({error.strerror}); give "
                "another --port, or none for one that is free"
            ) from None
        with server:
            _report(collector, data)
            show(f"open          {server.address}", "              Ctrl-C ends it")
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                show("ended")


def _apply(uri: str, path: Path) -> None:
    from ganforge.tracking.compared import absent_runs, recorded_keys
    from ganforge.tracking.preference import record_choices

    choices = read_choices(path)
    absent = absent_runs(uri, (run for one in choices for run in (one.first, one.second)))
    kept = [one for one in choices if not absent.keys() & {one.first, one.second}]
    if absent and not kept:
        run, reason = next(iter(absent.items()))
        raise SettingsError(f"run = {run}: unavailable from {uri} ({reason})")
    runs = dict.fromkeys(run for one in kept for run in (one.first, one.second))
    held = {run: recorded_keys(uri, run) for run in runs}
    before = {one.key for one in kept if one.key in held[one.first] & held[one.second]}
    new = {one.key for one in kept} - before
    found = record_choices(uri, kept)
    for run, preference in found.items():
        counts = f"won {preference.won}, lost {preference.lost}, tied {preference.tied}"
        show(f"run {run}  preference {preference.share:.4f} ({counts})")
    if absent:
        named = ", ".join(list(absent)[:_MOST_LINES])
        more = f" and {len(absent) - _MOST_LINES} more" if len(absent) > _MOST_LINES else ""
        complain(
            f"{len(choices) - len(kept)} choices are left out, whose runs are not in {uri}: "
            f"{named}{more}",
            "warning",
        )
    again = f"; {len(before)} were recorded before" if before else ""
    show(f"recorded      {len(new)} choices{again}")


def read_choices(path: Path) -> list[Any]:
    """The choices in a file that a page saved; SettingsError, before any is recorded, where one is
    not as it should be."""
    from ganforge.local_files import MOST_RECORD, read_file
    from ganforge.tracking.preference import read_choice

    try:
        record = json.loads(read_file(path, MOST_RECORD))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "not JSON"
        raise SettingsError(
            f"--apply {shown_path(path)}: cannot be read ({reason}); give the choices.json that "
            "was saved from a page"
        ) from None
    given = record.get("choices") if isinstance(record, dict) else None
    if not isinstance(given, list) or record.get("format") != 1:
        raise SettingsError(
            f"--apply {shown_path(path)}: is not a file of choices; give the choices.json that was "
            'saved from a page, which begins with {"format": 1, "choices": […'
        )
    found = []
    for number, each in enumerate(given, 1):
        try:
            found.append(read_choice(each))
        except SettingsError as error:
            raise SettingsError(f"--apply {shown_path(path)}: choice {number}: {error}") from None
    return found
