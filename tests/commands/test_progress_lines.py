"""What is printed while one configuration trains."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from ganforge.commands import progress_lines
from ganforge.commands.progress_lines import ProgressLines
from ganforge.commands.start import Start
from ganforge.console import duration
from ganforge.systems.base import Metric
from ganforge.systems.settings import StageSettings
from ganforge.testing import small


def test_the_rest_is_estimated_at_the_speed_of_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stages of one length; a batch of the second takes three times as long."""
    stages = tuple(
        StageSettings(resolution=64, iterations=40, task=task) for task in ("pixel", "adversarial")
    )
    prepared = small("srgan", {"stages": stages, "perceptual.network": "none"})
    now = 0.0
    monkeypatch.setattr(progress_lines.time, "monotonic", lambda: now)
    text = io.StringIO()
    lines = ProgressLines(Console(file=text), Start(prepared, Metric("validation/psnr", "max")))

    def report(index: int, step: int) -> str:
        size = prepared.settings.batch_size
        summary: dict[str, Any] = {"index": index, "step": step, "alpha": 1.0, "score": None}
        lines(summary | {"images": (40 * index + step) * size})
        found = re.findall(r"ETA (\S+)", text.getvalue().splitlines()[-1])
        return found[0] if found else ""

    lines({"pace": {"index": 0, "seconds": 10.0}})
    assert report(0, 0) == duration(800)  # by its first batches
    for step in (10, 20, 40):
        now = 10.0 * step
        assert report(0, step) == duration(10 * (40 - step) + 400)
    # the next stage: by what is known of it, and nothing of the first one
    lines({"pace": {"index": 1, "seconds": 30.0}})
    for step in (0, 10, 30):
        now = 400 + 30.0 * step
        assert report(1, step) == duration(30 * (40 - step))
    now = 400 + 30 * 40
    assert report(1, 40) == ""
