"""Names that others choose steer no terminal, are no markup, and stay on their line."""

import ast
import io
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganforge.commands.cli import main
from ganforge.commands.doctor import show as show_findings
from ganforge.console import Bars, Console, Table, complain, plain, prepare, show
from ganforge.doctor.findings import Finding

ROOT = Path(__file__).parents[2]
#: a closing tag without an opening one, a colour, a title, a change of direction, a line of its own
EVIL = "st[/b][red]:smile:\x1b[31m\x1b]0;x\x07\u202egnp.\u2066\r\nerror: all is lost"
SHOWN = "st[/b][red]:smile:\\x1b[31m\\x1b]0;x\\x07\\u202egnp.\\u2066\\r\\nerror: all is lost"


def steers(text: str) -> str:
    """The first character that prints nothing; Rich's own colours are left out."""
    bare = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    return next((c for c in bare if not c.isprintable() and c != "\n"), "")


def test_plain_text_stays_and_the_rest_is_written_out():
    assert plain("größe ½ 图像 🙂 [b]") == "größe ½ 图像 🙂 [b]"
    assert plain(EVIL) == SHOWN
    assert plain("caf\udce9") == "caf\\xe9"  # a byte of a name that is no UTF-8


@pytest.mark.parametrize("terminal", [True, False])
def test_a_console_prints_names_as_they_are(terminal):
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=200)
    console.print(f"checkpoints   {EVIL}")
    console.print(EVIL, style="bold")
    table = Table(EVIL, title="st[/b][red]:smile:")
    table.add_column("")
    table.add_row(EVIL, style="red")
    console.print(table)
    text = file.getvalue()
    assert text.count("st[/b][red]:smile:") == 5 and not steers(text)
    assert not re.search("^error", text, re.MULTILINE)
    assert text.splitlines()[0] == f"checkpoints   {SHOWN}"


def test_lines_complaints_and_warnings_of_libraries_are_plain(capsys, monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])
    prepare()
    show(EVIL)
    complain(f"first\nsecond {EVIL}")
    logging.getLogger("ganforge").warning("%s", EVIL)
    printed = capsys.readouterr()
    assert printed.out == SHOWN + "\n"
    first, second, third, *more = printed.err.splitlines()
    assert first == "error: first" and second.startswith("  second st[/b]")
    assert third == "  error: all is lost" and not steers(printed.err)
    assert more


def test_a_bar_shows_its_name_as_it_is():
    with Bars() as bars:
        bars.console.file = io.StringIO()
        bars.add_task(EVIL, total=None)
        shown = io.StringIO()
        Console(file=shown, width=300).print(bars.get_renderable())
    assert "st[/b][red]" in shown.getvalue() and not steers(shown.getvalue())


def test_a_fix_keeps_its_extra(capsys):
    show_findings([Finding("boto3", "error", "missing", "pip install 'ganforge[aws]'")], EVIL)
    printed = capsys.readouterr().out
    assert "pip install 'ganforge[aws]'" in printed and not steers(printed)


def test_benchmarks_and_refusals_show_what_files_are_called(tmp_path, capsys):
    folder = tmp_path / "st[b]"
    for part, side in (("HR", 64), ("LR", 32)):
        (folder / part).mkdir(parents=True)
        levels = (np.arange(side * side * 3) % 251).reshape(side, side, 3).astype(np.uint8)
        Image.fromarray(levels).save(folder / part / "x[bold]\x1b[31m\u202e.png")
    with pytest.raises(SystemExit) as left:
        main(["evaluate", "--benchmark", str(folder)])
    printed = capsys.readouterr().out
    assert not left.value.code
    assert "x[bold]\\x1b[31m\\u202e.png" in printed and "st[b]" in printed and not steers(printed)
    with pytest.raises(SystemExit) as left:
        main(["train", "--data", f"{folder}/{EVIL}"])
    printed = capsys.readouterr().err
    assert left.value.code == 2 and "st[/b][red]:smile:" in printed and not steers(printed)
    assert not re.search("^error: all is lost", printed, re.MULTILINE)


def test_a_terminal_without_the_letters_is_no_traceback(tmp_path):
    code = (
        "import sys; from ganforge.commands.cli import main\nfrom ganforge.console import show\n"
        f"try: main(['train', '--data', {str(tmp_path / 'größe图像')!r}])\n"
        "except SystemExit: show('图'); raise\n"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(
        words, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii:strict"}
    )
    assert done.returncode == 2 and b"\\u56fe" in done.stderr and b"Traceback" not in done.stderr
    assert done.stdout.strip() == b"\\u56fe"


def test_nothing_else_prints():
    allowed = ROOT / "platform" / "ganforge" / "console.py"
    for part in ("platform/ganforge", "search_spaces", "trainers", "examples"):
        for path in (ROOT / part).rglob("*.py"):
            if path == allowed:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                assert not [n for n in names if n.split(".")[0] == "rich"], f"{path}: use console"
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    assert node.func.id != "print", f"{path}:{node.lineno}: use console.show"
                if isinstance(node, ast.Attribute) and node.attr in ("echo", "secho"):
                    assert not isinstance(node.value, ast.Name), f"{path}: use console.show"
