"""Hooks of pytest for `--no-skips`: a run in which a test was skipped is red."""

import os
from pathlib import Path

import pytest

#: images and weights that are too large for the repository; tests that skip without them name it
VARIABLE = "GANFORGE_SHARED"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-skips",
        action="store_true",
        help=f"fail when a test is skipped, except for want of ../shared ({VARIABLE})",
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skipped test proved nothing, so a run with one must not be green."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not session.config.getoption("--no-skips"):
        return  # without a reporter this is a worker, whose skips the first process counts
    shared = Path(os.environ.get(VARIABLE, Path(__file__).parents[3] / "shared"))
    reasons = [str(report.longrepr[2]) for report in reporter.stats.get("skipped", [])]
    refused = [text for text in reasons if VARIABLE not in text or shared.exists()]
    for text in refused:
        reporter.write_line(f"--no-skips: {text}", red=True)
    if refused and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
