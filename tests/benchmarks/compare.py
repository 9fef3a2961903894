"""How soon the page of `ganforge compare` can be used: 200 runs of 10 images at 4 stages.

    python tests/benchmarks/compare.py

Makes the folder without a store, opens it in Chromium a few times, and prints the seconds until the
tiles that are on the screen are drawn, until another stage, another part of the sheet and another
order are, and what a step of zooming takes. `--keep DIR` keeps the folder.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1] / "helpers")]
from chromium import CHROMIUM  # noqa: E402
from recorded_grids import photograph  # noqa: E402

from ganforge.comparison.collect import Frame, as_data  # noqa: E402
from ganforge.comparison.page import write_page  # noqa: E402
from ganforge.comparison.panes import strip, tile_difference, tile_psnr  # noqa: E402
from ganforge.output_files import output_file  # noqa: E402
from ganforge.tracking.compared import ComparedRun  # noqa: E402
from ganforge.tracking.preference import Preference  # noqa: E402

RUNS, IMAGES, SIDES = 200, 10, (32, 64, 128, 256)
TWO_FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
READY = "document.body.dataset.ready === 'true'"


def make(folder: Path) -> None:
    """The page of runs whose images are photographs' stand-ins with noise of their own."""
    draws = np.random.default_rng(0)
    given: dict[int, np.ndarray] = {}
    for side in SIDES:
        planes = np.stack([photograph(number, side) for number in range(IMAGES)])
        given[side] = ((planes + 1) * 127.5).round().astype(np.uint8)
    shown = []
    for number in range(RUNS):
        frames = []
        for stage, side in enumerate(SIDES):
            target = given[side]
            noise = draws.integers(-12, 13, (IMAGES, side // 4, side // 4, 3))
            noise = noise.repeat(4, 1).repeat(4, 2)
            made = (target.astype(int) + noise).clip(0, 255).astype(np.uint8)
            bicubic = np.roll(target, 1, 2)
            panes = {}
            titled = {"bicubic": bicubic, "generated": made, "high resolution": target}
            for title, images in titled.items():
                name, content = strip(images)
                panes[title] = name
                if not (folder / "tiles" / f"{name}.png").exists():
                    with output_file(folder, f"tiles/{name}.png", overwrite=False) as file:
                        file.write(content)
            keys = tuple(f"{side}.{n}" for n in range(IMAGES))
            values = tuple(tile_psnr(made, target)), tuple(tile_difference(made, bicubic))
            frames.append(Frame(100 * (stage + 1), stage, 50, side, None, panes, keys, *values))
        settings = {f"setting.{k}": f"{draws.random():.4g}" for k in range(6)}
        metrics = {f"validation/metric_{k}": float(draws.random()) for k in range(20)}
        run = ComparedRun(
            f"{number:032x}", f"trial {number}", "speed", "", "srgan", "finished", True, SIDES,
            settings, metrics, Preference(), "",
        )  # fmt: skip
        shown.append((run, frames))
    data = as_data(shown, RUNS) | {"title": "speed", "metric": "validation/metric_0"}
    write_page(folder, data, overwrite=True)


def measure(folder: Path, repeats: int) -> dict[str, float]:
    """Median seconds of each action until everything on the screen is drawn."""
    from playwright.sync_api import sync_playwright

    found: dict[str, list[float]] = {}
    with sync_playwright() as driver:
        for _ in range(repeats):
            # a new browser: nothing is cached
            browser = driver.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport={"width": 1600, "height": 1000})
            for name, act in actions(page, address(folder)).items():
                start = time.perf_counter()
                act()
                page.evaluate(TWO_FRAMES)
                while not page.evaluate(READY):
                    page.wait_for_timeout(10)
                found.setdefault(name, []).append(time.perf_counter() - start)
            browser.close()
    return {name: median(values) for name, values in found.items()}


def actions(page: Any, url: str) -> dict[str, Callable[[], Any]]:
    """What a user does, one after the other."""
    scroll = "document.querySelector('#scroller').scrollLeft = 20000"
    return {
        "open, and all tiles on the screen drawn": lambda: page.goto(url),
        "another stage": lambda: page.keyboard.press(","),
        "75 runs further": lambda: page.evaluate(scroll),
        "sort by difference": lambda: page.select_option("#sort", "difference"),
        "zoom to 400 %": lambda: page.select_option("#zoom", "4"),
        "difference map": lambda: page.keyboard.press("d"),
        "filter": lambda: page.fill("#filter", "setting.0>0.5"),
    }


def address(folder: Path) -> str:
    return (folder / "index.html").absolute().as_uri()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as aside:
        folder = given.keep or Path(aside)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "index.html").exists():
            make(folder)
        count = len(list((folder / "tiles").iterdir()))
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(
            f"{RUNS} runs, {IMAGES} images, {len(SIDES)} stages: {count} files, {size / 1e6:.0f} MB"
        )
        for name, seconds in measure(folder, given.repeats).items():
            print(f"{seconds:6.2f} s  {name}")


if __name__ == "__main__":
    main()
