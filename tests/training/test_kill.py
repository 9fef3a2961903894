"""A run that is killed wherever it may be, and resumed, ends as if nothing had happened."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow  # .ci/run runs it by name
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked children")
@pytest.mark.timeout(280)
def test_kills_of_every_class_leave_no_trace():
    """Two of each class and two from outside, by one worker; tests/stress does a hundred."""
    script = Path(__file__).parents[1] / "stress" / "kill_resume.py"
    given = ["--n", "22", "--outside", "2", "--workers", "1"]
    ended = subprocess.run([sys.executable, script, *given], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "all ends are equal" in ended.stdout
