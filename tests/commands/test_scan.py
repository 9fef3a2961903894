"""`ganforge scan` on the command line."""

from pathlib import Path

import pytest
from PIL import Image

from ganforge.commands.cli import main


def scan(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["scan", *arguments])
    return int(stopped.value.code or 0)


def test_codes_and_streams(tmp_path: Path, capsys) -> None:
    Image.radial_gradient("L").save(tmp_path / "a.png")
    assert scan(str(tmp_path)) == 0 and scan(str(tmp_path), "--strict") == 0
    Image.linear_gradient("L").convert("LA").save(tmp_path / "b.png")
    assert scan(str(tmp_path)) == 0
    capsys.readouterr()
    assert scan(str(tmp_path), "--strict") == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        "used          2 images",
        "converted     1 × alpha dropped (b.png)",
    ]
    assert shown.err == "error: --strict: converted: 1 × alpha dropped (b.png)\n"
    for name in ("c.png", "d.png"):
        (tmp_path / name).write_bytes(b"")
    assert scan(str(tmp_path)) == 1
    error = capsys.readouterr().err
    assert "c.png: cannot be read" in error and "d.png: cannot be read" in error
    assert scan(str(tmp_path / "nowhere")) == 2
    assert "DIR = " in capsys.readouterr().err
