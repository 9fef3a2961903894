"""The code fingerprint changes with what is run, and with nothing else, and names the file."""

import shutil
from pathlib import Path

import pytest

from ganforge.systems.catalog import system_file
from ganforge.training.fingerprint import ROOT, code_fingerprint, strip_comments

CODE = '''"""What this is."""
import os  # for paths

# a remark
@staticmethod
def wave(x: float, *, größe: str = "ü") -> str:
    """Docstring with ünïcode, # no comment
    over lines."""  # behind it
    text = f"{x:.2f} # not a comment {größe!r}"
    long = """first

      # kept
    last """
    return text + long  # done


class Empty:
    """Only a docstring."""


async def later(): "one line"
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a remark\n", ""),
        ("# a remark\n", "# another rêmark, longer\n# and one more\n"),
        ("  # for paths", ""),
        ("  # done", "   "),
        ('"""What this is."""', '"""Something else."""'),
        ('"""What this is."""\n', ""),
        ("Docstring with ünïcode, # no comment\n    over lines.", "Short."),
        ('"""  # behind it', '"""'),
        ("\n\n\nclass", "\n\nclass"),
        ("class Empty:\n", "class Empty:\n\n    # why\n\n"),
        ('"""Only a docstring."""', '"""Only\n\n    a docstring.   \n    """'),
        ('"one line"', "'other line'"),
        ("# a remark", "\x0c# a form feed"),
    ],
)
def test_comments_docstrings_and_blank_lines_do_not_count(old, new):
    assert old in CODE
    assert strip_comments(CODE.replace(old, new)) == strip_comments(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (":.2f", ":.3f"),
        ("# not a comment", "# not a remark"),
        ("      # kept", "      # changed"),
        ("first\n\n", "first\n"),
        ("    last ", "    last"),
        ("@staticmethod\n", ""),
        ('"ü"', '"u"'),
        ("import os", "import sys"),
        ("    return text", "        return text"),
        ("long = ", "long = 1, "),
    ],
)
def test_everything_else_counts(old, new):
    assert old in CODE
    assert bare_or_broken(CODE.replace(old, new)) != strip_comments(CODE)


def bare_or_broken(text: str) -> str:
    try:
        return strip_comments(text)
    except SyntaxError:
        return ""


def test_code_stays_code():
    """What is left of every module of the package still compiles, bodies of docstrings apart."""
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_text()
        left = strip_comments(text)
        assert strip_comments(text + "\n# x\n") == left, path
        assert len(left) <= len(text)


@pytest.fixture
def package(tmp_path) -> Path:
    """A copy of the package that a test may change."""
    shutil.copytree(ROOT, tmp_path / "ganforge", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "ganforge"


def fingerprint(package: Path) -> dict[str, str]:
    return code_fingerprint(package / "systems" / "progressive_gan_sr.py", package)


def changed(package: Path, file: str, old: str, new: str) -> list[str]:
    """The names whose hash changes with one edit."""
    before = fingerprint(package)
    path = package / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    after = fingerprint(package)
    return [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]


def test_a_changed_line_of_the_loop_is_named(package):
    line = "training.position = Position(index, step + 1)"
    assert changed(package, "training/loop.py", line, line + "; step += 0") == ["training/loop.py"]


def test_a_changed_comment_of_the_loop_is_nothing(package):
    assert changed(package, "training/loop.py", "# reading a value", "# Reading any value") == []
    assert changed(package, "training/loop.py", "The only training loop", "One loop") == []


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("layers.py", True),
        ("losses.py", True),
        ("draws.py", True),
        ("schedule.py", True),
        ("settings.py", True),
        ("systems/base.py", True),
        ("systems/progressive_gan_sr.py", True),
        ("networks/progressive.py", True),
        ("training/workers.py", True),
        ("data/super_resolution.py", True),
        ("data/images.py", True),
        ("data/sampling.py", True),
        ("training/files.py", False),
        ("training/run.py", False),
        ("cluster/train.py", False),
        ("tracking/record.py", False),
    ],
)
def test_the_closure_is_what_weights_depend_on(package, file, counts):
    (package / file).open("a").write("\n_more = 1\n")
    before = code_fingerprint(system_file("progressive_gan_sr"))
    assert (fingerprint(package).get(file) != before.get(file)) == counts
    assert (file in before) == counts


def test_a_place_does_not_count(package):
    assert fingerprint(package) == code_fingerprint(system_file("progressive_gan_sr"))


def test_a_users_file_and_what_lies_beside_it_count(tmp_path):
    (tmp_path / "mine").mkdir()
    file = tmp_path / "mine" / "schedule.py"  # a name that the package has, too
    file.write_text(
        "from ganforge.systems.progressive_gan_sr import ProgressiveGANSR\n"
        "import helper, numpy\n"
        "from parts.heads import Head\n"
        "from . import tail\n"
        "class Mine(ProgressiveGANSR): pass\n"
    )
    (tmp_path / "mine" / "helper.py").write_text("from tail import x\n")
    (tmp_path / "mine" / "tail.py").write_text("x = 1\n")
    (tmp_path / "mine" / "parts").mkdir()
    (tmp_path / "mine" / "parts" / "heads.py").write_text("class Head: ...\n")
    (tmp_path / "mine" / "unused.py").write_text("y = 1\n")
    found = code_fingerprint(file)
    own = {name for name in found if name.startswith("./")}
    assert own == {"./schedule.py", "./helper.py", "./tail.py", "./parts/heads.py"}
    assert {"schedule.py", "training/loop.py", "systems/progressive_gan_sr.py"} <= set(found)
    (tmp_path / "mine" / "tail.py").write_text("x = 2\n")
    after = code_fingerprint(file)
    assert [name for name in found if found[name] != after[name]] == ["./tail.py"]
    shutil.move(tmp_path / "mine", tmp_path / "moved")
    assert code_fingerprint(tmp_path / "moved" / "schedule.py") == after


def test_an_installed_package_is_followed_by_its_name(tmp_path):
    (tmp_path / "plugin" / "systems").mkdir(parents=True)
    for folder in ("plugin", "plugin/systems"):
        (tmp_path / folder / "__init__.py").touch()
    file = tmp_path / "plugin" / "systems" / "own.py"
    file.write_text("from plugin.nets import Net\nfrom ..more import x\nclass Own: ...\n")
    (tmp_path / "plugin" / "nets.py").write_text("class Net: ...\n")
    (tmp_path / "plugin" / "more.py").write_text("x = 1\n")
    own = {name for name in code_fingerprint(file) if name.startswith("./")}
    assert {"./own.py", "./../nets.py", "./../more.py"} <= own


def test_a_file_in_another_encoding_is_read_as_it_says(tmp_path):
    file = tmp_path / "mine.py"
    file.write_bytes("# -*- coding: latin-1 -*-\nname = 'größe'\n".encode("latin-1"))
    latin = code_fingerprint(file)["./mine.py"]
    file.write_bytes(b"\xef\xbb\xbf" + "name = 'größe'\n".encode())
    assert code_fingerprint(file)["./mine.py"] == latin


def test_a_users_system_by_file_and_class(tmp_path):
    file = tmp_path / "own_system.py"
    file.write_text(
        "from ganforge.systems.progressive_gan_sr import ProgressiveGANSR\n"
        "class Own(ProgressiveGANSR): pass\n"
    )
    assert system_file(f"{file}:Own") == file
    assert "./own_system.py" in code_fingerprint(system_file(f"{file}:Own"))
