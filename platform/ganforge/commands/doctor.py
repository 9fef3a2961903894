"""`ganforge doctor`: checks a machine, a cluster or its file before a search needs it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ganforge.commands.results import DoctorResult
from ganforge.console import Console, Table
from ganforge.settings import SettingsError

if TYPE_CHECKING:
    from ganforge.doctor.findings import Finding

_LOG_WIDTH = 160
_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}


def doctor(file: str | None, running: bool) -> DoctorResult:
    """Check a cluster file; with `running`, also the cluster it started; without a file, this
    machine and the cluster it belongs to."""
    # Ray takes seconds to import
    if file is None:
        if running:
            raise SettingsError("--running: give the cluster file that `ray up` was started with")
        from ganforge.doctor.cluster import check_cluster
        from ganforge.doctor.machine import check_machine

        return _result([*check_machine(), *check_cluster()], "this machine")
    from ganforge.doctor.cluster_file import check_file

    result = _result(check_file(Path(file)), file)
    if not running or result.errors:
        return result
    # the head knows the other machines; this one may not reach them
    sys.stdout.flush()
    asked = subprocess.run(["ray", "exec", file, "ganforge doctor"], stdout=_stdout())
    return replace(result, running=not asked.returncode)


def passed(result: DoctorResult) -> bool:
    """Whether no check found an error, here and on the running cluster."""
    return not result.errors and result.running is not False


def _stdout() -> int | None:
    """Where another process prints what this one would: elsewhere while a document is made."""
    try:
        return sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):  # not a stream of this process
        return None


def _result(found: "list[Finding]", title: str) -> DoctorResult:
    """The findings, printed."""
    show(found, title)
    errors, warnings = (sum(one.verdict == kind for one in found) for kind in ("error", "warning"))
    return DoctorResult(title, errors, warnings, tuple(found))


def show(found: "list[Finding]", title: str) -> None:
    """A table with a row for each finding, with the fixes."""
    table = Table(title=title, title_justify="left", show_lines=False)
    table.add_column("")
    for name in ("what", "found", "fix"):
        table.add_column(name, overflow="fold")
    for finding in found:
        mark, colour = _MARKS[finding.verdict]
        table.add_row(mark, finding.subject, finding.message, finding.fix, style=colour)
    console = Console()
    if not console.is_terminal:  # a log has no width of its own
        console = Console(width=_LOG_WIDTH)
    console.print(table)
    errors = sum(finding.verdict == "error" for finding in found)
    warnings = sum(finding.verdict == "warning" for finding in found)
    console.print(f"{len(found)} checks: {errors} errors (✗), {warnings} warnings (!)")
