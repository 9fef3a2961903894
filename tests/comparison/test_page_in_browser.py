"""A user compares 200 runs in a real browser: finds the best, looks closely, and picks it."""

import io
import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import CHROMIUM
from PIL import Image
from recorded_grids import Recorded, record

from ganforge.commands.compare import read_choices, write
from ganforge.comparison.collect import Collector
from ganforge.comparison.server import CompareServer
from ganforge.tracking.client import open_client
from ganforge.tracking.preference import record_choices

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium found: apt-get install chromium"),
    pytest.mark.timeout(300),
]
RUNS, BEST, SIDE = 200, 137, 32
READY = "document.body.dataset.ready === 'true'"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("store"), RUNS, sides=(16, SIDE), best=BEST)


@pytest.fixture(scope="module")
def folder(recorded: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(recorded.uri, ("faces",), tmp_path_factory.mktemp("page")).parent


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        found = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--force-color-profile=srgb"],
        )
        yield found
        found.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Any]:
    """A page; at the end it had no error, and asked no other address for anything."""
    context = browser.new_context(viewport={"width": 1500, "height": 900}, accept_downloads=True)
    page = context.new_page()
    errors: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.on("request", lambda request: asked.append(request.url))
    yield page
    assert not errors
    assert all(url.startswith(("file:///", "http://127.0.0.1:", "blob:")) for url in asked), asked
    context.close()


def until(page: Any, expression: str) -> None:
    """Wait for an expression to hold. Playwright's own way needs eval, which the page forbids."""
    for _ in range(600):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never {expression}")


def shown(page: Any, canvas: Any) -> np.ndarray:
    """The pixels of the screen that a canvas covers, (height, width, 3)."""
    until(page, READY)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB"))


def cell(page: Any, run: int, row: int) -> Any:
    return page.locator(f"#sheet .tile[data-run='{run}'][data-row='{row}'] canvas")


def centred(pixels: np.ndarray, size: int) -> np.ndarray:
    top, left = ((length - size) // 2 for length in pixels.shape[:2])
    return pixels[top : top + size, left : left + size]


def test_tiles_are_the_exact_pixels(recorded: Recorded, folder: Path, opened: Any) -> None:
    opened.goto((folder / "index.html").as_uri())
    opened.keyboard.press("1")  # 100 %
    for run, row in ((0, 0), (2, 1)):
        expected = recorded.generated[recorded.runs[run], 1][row]
        assert np.array_equal(centred(shown(opened, cell(opened, run, row)), SIDE), expected)
    opened.select_option("#zoom", "4")
    expected = recorded.generated[recorded.runs[1], 1][0].repeat(4, 0).repeat(4, 1)
    assert np.array_equal(centred(shown(opened, cell(opened, 1, 0)), 4 * SIDE), expected)
    # the first stage, as the slider's left end
    opened.select_option("#zoom", "1")
    opened.locator("#mark").fill("0")
    expected = recorded.generated[recorded.runs[1], 0][1]
    assert np.array_equal(centred(shown(opened, cell(opened, 1, 1)), 16), expected)


def test_difference_wipe_and_flicker_are_of_the_exact_pixels(
    recorded: Recorded, folder: Path, opened: Any
) -> None:
    opened.goto((folder / "index.html").as_uri())
    opened.keyboard.press("1")
    opened.select_option("#against", "high resolution")
    made = recorded.generated[recorded.runs[1], 1][0].astype(int)
    target = recorded.targets[1][0].astype(int)
    opened.keyboard.press("d")
    difference = (8 * np.abs(made - target)).clip(0, 255)
    assert np.array_equal(centred(shown(opened, cell(opened, 1, 0)), SIDE), difference)
    opened.keyboard.press("i")
    opened.keyboard.down(" ")
    assert np.array_equal(centred(shown(opened, cell(opened, 1, 0)), SIDE), target)
    opened.keyboard.up(" ")
    opened.keyboard.press("w")
    seen = centred(shown(opened, cell(opened, 1, 0)), SIDE)  # the line is in the middle
    half = SIDE // 2
    assert np.array_equal(seen[:, :half], target[:, :half])
    assert np.array_equal(seen[:, half + 1 :], made[:, half + 1 :])
    box = cell(opened, 0, 0).bounding_box()
    opened.mouse.move(box["x"] + box["width"] - 1, box["y"] + 50)  # all of it is the target's
    assert np.array_equal(centred(shown(opened, cell(opened, 1, 0)), SIDE), target)
    opened.keyboard.press("f")
    until(opened, "state.other")
    until(opened, "!state.other")
    opened.keyboard.press("f")
    assert np.array_equal(centred(shown(opened, cell(opened, 1, 0)), SIDE), made)


def test_zoom_and_pan_move_all_tiles_together(
    recorded: Recorded, folder: Path, opened: Any
) -> None:
    opened.goto((folder / "index.html").as_uri())
    opened.select_option("#zoom", "16")
    box = cell(opened, 0, 0).bounding_box()
    opened.mouse.move(box["x"] + 20, box["y"] + 20)
    opened.mouse.down()
    opened.mouse.move(box["x"] + 5 * 192, box["y"] + 5 * 192)
    opened.mouse.up()  # at the left top of the image now
    for run in (0, 3):
        corner = recorded.generated[recorded.runs[run], 1][1][:12, :12].repeat(16, 0).repeat(16, 1)
        assert np.array_equal(shown(opened, cell(opened, run, 1)), corner)


def test_few_elements_stand_for_all_runs(folder: Path, opened: Any) -> None:
    opened.goto((folder / "index.html").as_uri())
    until(opened, READY)
    assert opened.locator("#sheet .tile").count() < 60
    opened.locator("#scroller").evaluate("e => { e.scrollLeft = 1e6 }")
    opened.locator(f"#sheet .tile[data-run='{RUNS - 1}']").first.wait_for()
    until(opened, READY)
    assert opened.locator("#sheet .tile").count() < 60


def test_runs_are_filtered_and_sorted(recorded: Recorded, folder: Path, opened: Any) -> None:
    opened.goto((folder / "index.html").as_uri())
    opened.fill("#filter", "validation/psnr>=30.9 width=16 experiment=faces")
    expected = [n for n in range(RUNS) if n % 4 == 1 and (n / RUNS >= 0.9 or n == BEST)]
    assert opened.evaluate("state.order") == expected
    opened.select_option("#sort", "generator.learning_rate")
    assert opened.evaluate("state.order") == sorted(expected, reverse=True)
    opened.fill("#filter", f"trial\n{BEST}".replace("\n", " "))
    assert BEST in opened.evaluate("state.order")


def test_choices_of_a_folder_are_saved_and_applied(
    recorded: Recorded, folder: Path, opened: Any, tmp_path: Path
) -> None:
    opened.goto((folder / "index.html").as_uri())
    opened.fill("#filter", "generator.learning_rate<0.00035")
    opened.click("#pick")
    seen = []
    for key, better in (("ArrowLeft", "first"), ("ArrowRight", "second"), ("ArrowDown", "tied")):
        seen.append((opened.evaluate("[picks.pair.first.id, picks.pair.second.id]"), better))
        opened.keyboard.press(key)
        until(opened, f"picks.count === {len(seen)} && !picks.busy")
    opened.keyboard.press("Escape")
    with opened.expect_download() as download:
        opened.click("#save")
    download.value.save_as(tmp_path / "choices.json")
    choices = read_choices(tmp_path / "choices.json")
    assert [([c.first, c.second], c.better) for c in choices] == seen
    found = record_choices(recorded.uri, choices)
    assert sum(p.won for p in found.values()) == 2 and sum(p.tied for p in found.values()) == 2


@pytest.fixture
def twins(tmp_path: Path) -> Recorded:
    """Three runs of each of two experiments, which have the same names."""
    found = [record(tmp_path, 3, images=1, sides=(16,), experiment=name) for name in ("a b", "<b>")]
    return Recorded(found[0].uri, [run for one in found for run in one.runs], {}, {})


def choose(page: Any, first: int, second: int, better: str = "first") -> None:
    page.evaluate(f"record(data.runs[{first}], data.runs[{second}], '{better}', 0)")


def wins(page: Any) -> list[int]:
    return page.evaluate("data.runs.map((run) => run.preference.won)")


def test_kept_choices_are_those_of_one_page_and_counted_once(
    twins: Recorded, opened: Any, tmp_path: Path
) -> None:
    pages = [write(twins.uri, (name,), tmp_path / str(n)) for n, name in enumerate(("a b", "<b>"))]
    opened.goto(pages[0].as_uri())
    assert opened.locator("#save").is_hidden() and opened.locator("#clear").is_hidden()
    for second in (1, 2):
        choose(opened, 0, second)
    assert opened.locator("#save").inner_text() == "Save 2 choices" and wins(opened) == [2, 0, 0]
    opened.goto(pages[1].as_uri())
    assert opened.locator("#save").is_hidden() and wins(opened) == [0, 0, 0]
    # what is of no run of the page, or not a choice, is neither counted nor saved
    text = opened.evaluate(f"localStorage.getItem('ganforge-choices-{data_id(pages[0])}')")
    kept = json.loads(text)
    odd = json.dumps([*kept, None, 7])
    opened.evaluate(f"localStorage.setItem(KEPT, {json.dumps(odd)})")
    opened.reload()
    assert opened.locator("#save").is_hidden() and wins(opened) == [0, 0, 0]
    # recorded: an old page still shows them, a new one has them from the records
    opened.goto(pages[0].as_uri())
    file = tmp_path / "choices.json"
    with opened.expect_download() as download:
        opened.click("#save")
    download.value.save_as(file)
    record_choices(twins.uri, read_choices(file))
    opened.reload()
    assert wins(opened) == [2, 0, 0]
    choose(opened, 1, 2)
    write(twins.uri, ("a b",), tmp_path / "0", overwrite=True)
    opened.reload()
    assert opened.locator("#save").inner_text() == "Save 1 choice" and wins(opened) == [2, 1, 0]
    assert len(opened.evaluate("picks.stored()")) == 1


def data_id(page: Path) -> str:
    text = page.with_name("data.js").read_text("ascii")
    return json.loads(text.partition("const COMPARISON = ")[2].rstrip().removesuffix(";"))["id"]


def test_kept_choices_are_removed_after_a_question(
    twins: Recorded, opened: Any, tmp_path: Path
) -> None:
    opened.goto(write(twins.uri, ("<b>",), tmp_path / "page").as_uri())
    choose(opened, 0, 1)
    opened.once("dialog", lambda dialog: dialog.dismiss())
    opened.keyboard.press("x")
    assert opened.locator("#save").is_visible() and wins(opened) == [1, 0, 0]
    opened.once("dialog", lambda dialog: dialog.accept())
    opened.click("#clear")
    opened.get_by_text("Removed 1 choice").wait_for()
    assert wins(opened) == [0, 0, 0] and opened.locator("#clear").is_hidden()
    opened.reload()
    assert wins(opened) == [0, 0, 0]
    opened.keyboard.press("x")
    opened.get_by_text("This page keeps no choices").wait_for()


def test_runs_of_one_name_are_kept_apart_and_filtered(
    twins: Recorded, opened: Any, tmp_path: Path
) -> None:
    opened.goto(write(twins.uri, ("a b", "<b>"), tmp_path / "page").as_uri())

    def filtered(text: str) -> list[int]:
        opened.fill("#filter", text)
        return opened.evaluate("state.order")

    assert filtered("<b>") == filtered("experiment=<b>") == filtered("experiment~<") == [3, 4, 5]
    assert filtered('experiment="a b"') == filtered('"a b"') == filtered('"a b') == [0, 1, 2]
    assert filtered('experiment="a b" "trial 1"') == [1]
    assert filtered("width>8 experiment!=<b>") == [1, 2]
    assert filtered("width<b") == filtered("unknown>1") == []
    # a choice that was not applied counts at once, in the filter as in the order
    assert filtered("preference>=0.5") == []
    choose(opened, 1, 4)
    assert opened.evaluate("state.order") == [1]
    opened.get_by_text("Recorded: trial 1 of a b is better than trial 1 of <b>").wait_for()
    opened.fill("#filter", "")
    opened.select_option("#sort", "preference")
    choose(opened, 2, 5)
    choose(opened, 2, 5)
    assert opened.evaluate("state.order.slice(0, 2)") == [2, 1]


def test_the_best_of_200_is_found_looked_at_and_picked(
    recorded: Recorded, opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Served: by the largest difference to bicubic, zoomed, flickered, picked."""
    collector = Collector(recorded.uri, ("faces",), tmp_path, ends_only=True, overwrite=True)
    with CompareServer(collector, collector.collect()) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            opened.goto(server.address)
            opened.select_option("#sort", "difference")
            opened.locator(".head .name", has_text=f"1. trial {BEST}").wait_for()
            cell(opened, BEST, 0).click()
            opened.keyboard.press("1")
            opened.keyboard.press("f")
            until(opened, "state.other")
            opened.keyboard.press("f")
            opened.keyboard.press("Enter")
            assert opened.locator("#large").is_visible()
            opened.keyboard.press("Escape")
            # against the second best: pinned, and the best is better
            opened.keyboard.press("ArrowRight")
            second = opened.evaluate("state.focus.run")
            opened.keyboard.press("p")
            opened.keyboard.press("ArrowLeft")
            opened.keyboard.press("b")
            opened.get_by_text(f"trial {BEST} is better than trial {second}").wait_for()
            assert "won 1" in opened.locator(f".head[data-run='{BEST}'] .taste").inner_text()
            client = open_client(recorded.uri)
            won = client.get_run(recorded.runs[BEST]).data
            assert won.tags["preference"] == "0.6667"
            assert won.metrics["preference"] == pytest.approx(2 / 3)
            lost = client.get_run(recorded.runs[second]).data.tags
            assert int(lost["preference.lost"]) >= 1
            with urllib.request.urlopen(server.address.replace("index.html", "data.json")) as found:
                assert json.load(found)["runs"][BEST]["preference"]["won"] == 1
            # a trial that ends meanwhile appears, and what is looked at stays
            monkeypatch.setattr("ganforge.comparison.server._SECONDS", 0.0)
            store = Path(recorded.uri.removeprefix("sqlite:///")).parent
            late = record(store, 1, sides=(16, SIDE)).runs[0]
            opened.evaluate("follow()")
            assert opened.evaluate(f"data.runs.some((run) => run.id === '{late}')")
            assert opened.evaluate("state.focus.run") == BEST
            until(opened, READY)
        finally:
            server.shutdown()
            thread.join()
