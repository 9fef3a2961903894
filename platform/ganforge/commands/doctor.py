"""`ganforge doctor`: checks a machine, a cluster or its file before a search needs it."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ganforge.console import Console, Table
from ganforge.settings import SettingsError

if TYPE_CHECKING:
    from ganforge.doctor.findings import Finding

_LOG_WIDTH = 160
_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}


def doctor(file: str | None, running: bool) -> None:
    """Check a cluster file; with `running`, also the cluster it started; without a file, this
    machine and the cluster it belongs to. Exit code 1 after an error."""
    # Ray takes seconds to import
    if file is None:
        if running:
            raise SettingsError("--running: give the cluster file that `ray up` was started with")
        from ganforge.doctor.cluster import check_cluster
        from ganforge.doctor.machine import check_machine

        _finish([*check_machine(), *check_cluster()], "this machine")
        return
    from ganforge.doctor.cluster_file import check_file

    found = check_file(Path(file))
    if running and not any(finding.verdict == "error" for finding in found):
        show(found, file)
        # the head knows the other machines; this one may not reach them
        asked = subprocess.run(["ray", "exec", file, "ganforge doctor"])
        sys.exit(1 if asked.returncode else 0)
    _finish(found, file)


def _finish(found: "list[Finding]", title: str) -> None:
    show(found, title)
    sys.exit(1 if any(finding.verdict == "error" for finding in found) else 0)


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
