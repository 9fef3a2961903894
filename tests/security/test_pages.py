"""Names that others choose are text on every page: a search's report, and what MLflow shows."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from ganforge.search.report.html import page
from ganforge.tracking.description import Description, describe_run, reproduce_command

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
#: each runs, or breaks out of where it stands, if it is not escaped
EVIL = (
    "<script>hit()</script>",
    "<img src=x onerror=hit()>",
    '"><svg onload=hit()>',
    "</td></table><script>hit()</script>",
    "</title><script>hit()</script>",
    "'><a href=javascript:hit()>x</a>",
    "<!--",
)


def evil_page() -> str:
    frame = pd.DataFrame([{"trial": 0, "run_id": "r", "state": text, text: text} for text in EVIL])
    images = {text: ("png", b"\x89PNG") for text in EVIL}
    return page("".join(EVIL), EVIL, frame, 0, images, EVIL).decode()


def test_a_report_has_no_markup_but_its_own():
    text = evil_page()
    for tag in ("<script", "<svg", "onerror=hit()>", "<a ", "<!--"):
        assert tag not in text, tag
    assert text.count("<img ") == len(EVIL) and text.count("<table>") == 1


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="no chromium found: apt-get install chromium")
def test_a_browser_runs_nothing_of_a_report(tmp_path: Path):
    from playwright.sync_api import sync_playwright

    (tmp_path / "report.html").write_text(evil_page())
    (tmp_path / "control.html").write_text(f"<p>{EVIL[0]}</p>")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        opened = browser.new_page()
        hits: list[str] = []
        opened.expose_function("hit", lambda: hits.append("hit"))
        opened.goto(f"file://{tmp_path}/report.html")
        opened.wait_for_timeout(500)
        assert not hits
        shown = opened.inner_text("body")
        assert all(text in shown for text in EVIL[:3])
        opened.goto(f"file://{tmp_path}/control.html")
        opened.wait_for_timeout(500)
        assert hits == ["hit"], "this test sees what runs"
        browser.close()


def test_a_description_has_no_markup_and_no_link_of_others():
    for evil in (*EVIL, "[x](javascript:hit())", "a\n# b", "`<b>`", "\x1b[31m"):
        facts = Description(
            title=evil,
            outcome=evil,
            commands={"again": evil},
            searched={evil: evil},
            remarks=[evil],
        )
        text = describe_run(facts)
        bare = "".join(text.split("`")[::2])  # what stands in `code` is shown as it is
        assert "<" not in bare and "](" not in bare.replace("\\](", ""), bare
        assert "\n# b" not in text and "\x1b" not in text


def test_a_command_on_a_page_can_be_pasted():
    assert reproduce_command("sqlite:///a b/$(x).db", "r").endswith("'sqlite:///a b/$(x).db'")
