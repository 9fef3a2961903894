"""A real browser opens the address that a search prints, and sees everything without a click."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from chromium import CHROMIUM
from small import METRIC, tiny

from ganforge.commands.cli import main
from ganforge.settings import to_json
from ganforge.tracking.client import open_client

pytestmark = [
    pytest.mark.browser,
    pytest.mark.ray,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium found: apt-get install chromium"),
    # one search, one server and one browser, on two slow cores
    pytest.mark.timeout(420),
]
TRIALS = 3
# the second rate reaches over two decades: its axis shows a logarithm
SPACE = """
from ray import tune
SPACE = {
    "generator.learning_rate": tune.loguniform(1e-3, 1e-2),
    "critic.learning_rate": tune.loguniform(1e-4, 1e-2),
    "critic_steps": tune.randint(1, 3),
    "stages.0.epochs": tune.choice([1, 2]),
}
"""
AXES = 5  # four settings and the score
CARD = "[data-testid=experiment-view-compare-runs-card]"
_ASSISTANT = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"


@dataclass
class Seen:
    """What the browser shows, where it asked, and the trials in the store, the best first."""

    page: Any
    hosts: set[str]
    server: str
    experiment: str
    trials: list[Any]
    parent: Any
    images: Path


@pytest.fixture(scope="module")
def printed(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The store of a small search made by the command line, and the address that it printed."""
    place = tmp_path_factory.mktemp("seen")
    (place / "settings.json").write_text(to_json(tiny(reports_per_stage=2)))
    (place / "space.py").write_text(SPACE)
    uri = f"sqlite:///{place}/mlflow.db"
    words = ["tune", "--settings", str(place / "settings.json"), "--space", str(place / "space.py")]
    words += ["--trials", str(TRIALS), "--tracking-uri", uri, "--storage", str(place / "storage")]
    with pytest.MonkeyPatch.context() as patch:
        out = open(place / "out.txt", "w+")  # noqa: SIM115 (closed below)
        patch.setattr(sys, "stdout", out)
        with pytest.raises(SystemExit) as left:
            main(words)
    out.seek(0)
    text = out.read()
    out.close()
    assert not left.value.code, text
    (address,) = set(re.findall(r"then open (http://\S+)", text))
    yield uri, address


@pytest.fixture(scope="module")
def server(printed: tuple[str, str]) -> Iterator[str]:
    """`mlflow server` over the search's store on a free port; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", printed[0]]
    command += ["--port", str(port), "--workers", "1"]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    running = subprocess.Popen(
        command, env=os.environ | quiet, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(180):
            try:
                urllib.request.urlopen(f"{address}/health")
                break
            except OSError:
                assert running.poll() is None, "mlflow server ended"
                time.sleep(0.5)
        yield address
    finally:
        running.terminate()
        running.wait(30)


@pytest.fixture(scope="module")
def seen(
    printed: tuple[str, str], server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Seen]:
    """The printed address in a browser, loaded."""
    from playwright.sync_api import sync_playwright

    uri, address = printed
    client = open_client(uri)
    (experiment,) = [e.experiment_id for e in client.search_experiments() if e.name != "Default"]
    runs = client.search_runs([experiment])
    trials = [run for run in runs if run.data.tags["kind"] == "trial"]
    trials.sort(key=lambda run: -run.data.metrics[f"{METRIC.name}_best"])
    (parent,) = [run for run in runs if run.data.tags["kind"] == "search"]
    hosts: set[str] = set()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        # tall enough for all cards: those out of sight are not drawn
        page = browser.new_page(viewport={"width": 1600, "height": 1500})
        page.set_default_timeout(60_000)
        page.add_init_script(_ASSISTANT)
        page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname or ""))
        page.goto(address.replace("http://127.0.0.1:5000", server))
        page.locator(CARD).first.wait_for()
        images = tmp_path_factory.mktemp("images")
        yield Seen(page, hosts, server, experiment, trials, parent, images)
        browser.close()


def card(seen: Seen, title: str) -> Any:
    found = seen.page.locator(CARD).filter(has=seen.page.locator(f"h4[title='{title}']"))
    found.wait_for()
    return found


def until(question: Any, seconds: float = 30) -> Any:
    """The first answer that is not false, of a page that is still drawing."""
    ends = time.monotonic() + seconds
    while not (answer := question()) and time.monotonic() < ends:
        time.sleep(0.25)
    return answer


def test_all_trials_are_listed_the_best_first(seen: Seen) -> None:
    links = [f".ag-row a[href*='{run.info.run_id}']" for run in seen.trials]
    for link, run in zip(links, seen.trials, strict=True):
        shown = seen.page.locator(link).first
        shown.wait_for()
        assert shown.inner_text() == run.info.run_name
    heights = [seen.page.locator(link).first.bounding_box()["y"] for link in links]
    assert heights == sorted(heights)
    assert seen.page.locator(f".ag-row a[href*='{seen.parent.info.run_id}']").count() == 0
    assert seen.page.locator("div[role=row].ag-row a").count() == TRIALS


def test_the_parallel_coordinates_have_an_axis_for_each_setting_and_the_score(seen: Seen) -> None:
    found = card(seen, "Parallel Coordinates")
    assert until(lambda: found.locator("svg text.label").count() == AXES)
    words = " ".join(found.locator("svg text.label").all_text_contents())
    assert "critic_steps" in words and "log10" in words
    # the lines are painted on a canvas: one that is not blank
    painted = """all => all.some(c => c.width && c.getContext('2d')
        .getImageData(0, 0, c.width, c.height).data.some(v => v))"""
    assert until(lambda: found.locator("canvas").evaluate_all(painted))


def test_the_curve_has_a_line_for_each_trial(seen: Seen) -> None:
    found = card(seen, METRIC.name)
    # a trial may have more than one trace, all in its colour
    colours = "all => new Set(all.map(t => t.querySelector('path').style.stroke)).size"
    assert until(lambda: found.locator(".scatterlayer .trace").evaluate_all(colours) == TRIALS)
    for run in seen.trials:
        assert found.get_by_text(f"{run.info.run_name} ({METRIC.name})").count() == 1


def test_the_sample_grid_of_each_trial_is_shown_over_a_slider(seen: Seen) -> None:
    found = card(seen, "samples/grid")
    loaded = "all => all.filter(i => i.complete && i.naturalWidth > 0).length"
    assert until(lambda: found.locator("img.rc-image-img").evaluate_all(loaded) == TRIALS)
    slider = found.get_by_role("slider")
    assert slider.get_attribute("aria-valuenow") == "100"
    # the end of the first stage is where every trial has been
    best = len([m for m in seen.trials if m.data.metrics["stages_done"] == 3])
    assert best and slider.get_attribute("aria-valuemax") == "300"


def test_the_settings_that_differ_are_beside_each_other(seen: Seen) -> None:
    found = seen.page.locator(CARD).filter(has_text="Compare by")
    found.wait_for()
    assert until(lambda: found.get_by_text("generator.learning_rate", exact=True).count() == 1)
    for run in seen.trials:
        assert found.get_by_text(run.info.run_name, exact=True).count() == 1


def test_a_image_of_the_view(seen: Seen) -> None:
    seen.page.wait_for_timeout(1000)
    place = Path(os.environ.get("GANFORGE_PICTURES", seen.images)) / "comparison.png"
    seen.page.screenshot(path=str(place))
    assert place.stat().st_size > 50_000


def test_a_run_opens_with_its_description_and_its_report(seen: Seen) -> None:
    def open_run(run: Any, below: str) -> None:
        runs = f"experiments/{seen.experiment}/runs/{run.info.run_id}{below}"
        seen.page.goto(f"{seen.server}/#/{runs}?workflowType=machine_learning")

    open_run(seen.trials[0], "")
    outcome = seen.trials[0].data.tags["outcome"]
    seen.page.get_by_text(f"Outcome: {outcome}.").first.wait_for()
    command = f"ganforge reproduce --run {seen.trials[0].info.run_id}"
    assert until(lambda: command in seen.page.content())
    open_run(seen.parent, "/artifacts/report/report.html")
    frame = seen.page.frame_locator("iframe").first
    frame.get_by_text("Optimization history").first.wait_for()
    sizes = "all => all.map(i => i.naturalWidth)"
    assert until(lambda: min(frame.locator("img").evaluate_all(sizes), default=0) > 0)


def test_nothing_was_asked_of_another_machine(seen: Seen) -> None:
    assert seen.hosts <= {"127.0.0.1", ""}
