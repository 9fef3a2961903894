"""The report as one page that needs no other file."""

import base64
import html
from collections.abc import Mapping, Sequence

import pandas as pd

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px; color: #222;
       padding: 0 1rem; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
img { max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; white-space: nowrap; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid #ddd; text-align: right; }
th { background: #f5f5f5; } td:nth-child(-n+3), th:nth-child(-n+3) { text-align: left; }
tr.best td { background: #e8f3fb; font-weight: 600; }
p.left-out { color: #777; }
"""


def page(
    title: str,
    lead: Sequence[str],
    frame: pd.DataFrame,
    best: int | None,
    images: Mapping[str, tuple[str, bytes]],
    left_out: Sequence[str],
) -> bytes:
    """An HTML file with the table and the images in it.

    `images` are by heading: the kind of file ("png", "webp") and its content. `best` is the
    number of the trial whose line is marked.
    """
    parts = [
        "<!doctype html>",
        f'<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>',
        f"<style>{_STYLE}</style>",
        f"<h1>{html.escape(title)}</h1>",
        *(f"<p>{html.escape(line)}</p>" for line in lead),
    ]
    for heading, (kind, content) in images.items():
        source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
        title = html.escape(heading)
        parts.append(f'<h2>{title}</h2><img alt="{title}" src="{source}">')
    parts.append(f'<h2>Trials</h2><div class="wide">{_table(frame, best)}</div>')
    parts += [f'<p class="left-out">Left out: {html.escape(line)}</p>' for line in left_out]
    return "\n".join([*parts, "</html>"]).encode()


def _table(frame: pd.DataFrame, best: int | None) -> str:
    shown = frame.drop(columns=["run_id"])
    lines = ["<table><tr>"]
    lines += [f"<th>{html.escape(str(name))}</th>" for name in shown.columns]
    lines.append("</tr>")
    for values in shown.itertuples(index=False):
        mark = ' class="best"' if values[0] == best else ""
        cells = (
            f"<td>{html.escape(_shown(name, v))}</td>"
            for name, v in zip(shown, values, strict=True)
        )
        lines.append(f"<tr{mark}>{''.join(cells)}</tr>")
    return "".join([*lines, "</table>"])


def _shown(name: str, value: object) -> str:
    if value is None or value != value:
        return "–"
    if not isinstance(value, float):
        return str(value)
    if name.endswith("seconds"):
        return f"{value:.0f}"
    return f"{value:.3f}" if name.endswith("score") else f"{value:.4g}"
