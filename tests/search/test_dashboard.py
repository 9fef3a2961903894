"""optuna-dashboard opens the mirror of a search, in a real browser."""

import io
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import CHROMIUM
from optuna.distributions import CategoricalDistribution, FloatDistribution
from PIL import Image

from ganforge.schedule import Plan, Stage
from ganforge.search.mirror import ARTIFACTS, Mirror
from ganforge.search.trial import Trial
from ganforge.systems.base import Metric

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium found: apt-get install chromium"),
    pytest.mark.timeout(300),
]
TRIALS = 8


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """optuna-dashboard over the mirror of a search whose best trial is number 5."""
    file = tmp_path_factory.mktemp("mirror") / "optuna.log"
    space = {
        "critic.learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
        "critic_steps": CategoricalDistribution([1, 2]),
    }
    mirror = Mirror(file, "20261126T091727Z-dc81", Metric("validation/psnr", "max"), space)
    plan = Plan((Stage(16, 80, 0, 8, 4), Stage(32, 80, 0, 8, 4)), (), 0)
    for number in range(TRIALS):
        point = {"critic.learning_rate": 1e-4 * 1.7**number, "critic_steps": 1 + number % 2}
        # nothing looks at its settings
        trial = Trial(number, point, None, plan, state="finished")  # pyright: ignore
        trial.scores = {1: 25.0 + number % 3, 2: 30.0 - abs(number - 5)}
        mirror.follow([trial])
        pixels = io.BytesIO()
        Image.new("RGB", (30 + number, 20), (200, 40, 40)).save(pixels, "png")
        mirror.add_grid(trial, pixels.getvalue())
    assert not mirror.trouble
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).with_name("optuna-dashboard"), file, "--port", str(port)]
    command += ["--artifact-dir", str(file.with_name(ARTIFACTS))]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/dashboard")
                break
            except OSError:
                assert running.poll() is None, "optuna-dashboard ended"
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/dashboard"
    finally:
        running.terminate()
        running.wait(30)


def test_the_study_its_best_trial_and_its_plots_are_shown(address: str, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    errors: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1600, "height": 1800})
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.get_by_text("20261126T091727Z-dc81").first.click()
        page.get_by_text("Best Trial (number=5)").wait_for()
        # a plot is painted once its axes have labels
        page.locator(".plotly .xtick").first.wait_for()
        page.goto(f"{page.url.rstrip('/')}/trials")
        page.get_by_text("critic_steps").first.wait_for()
        text = page.locator("body").inner_text()
        assert text.count("Complete") >= TRIALS
        # the grid of the first trial is shown, and is its own
        shown = page.locator("img[src*='/artifacts/']").first
        shown.wait_for()
        shown.evaluate("image => image.decode()")
        assert shown.evaluate("image => image.naturalWidth") == 30
        page.screenshot(path=tmp_path / "dashboard.png")
        browser.close()
    assert not errors
