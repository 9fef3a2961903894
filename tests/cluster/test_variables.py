"""The values at the top of a cluster file, on their way to every machine."""

from pathlib import Path

import pytest

from ganforge.cluster.bootstrap import fetch, main
from ganforge.cluster.variables import check_environment, mistakes, read_variables, replace
from ganforge.settings import SettingsError

GOOD = {"GANFORGE_STORAGE": "s3://bucket/x", "GANFORGE_DATA": "built-in"}


def test_lines_are_read_as_a_shell_reads_them() -> None:
    text = "cat > x <<'END'\n# A=1\nexport B=2\nC='3 4'\n  D=\nE=5 # why\nEND\n"
    assert read_variables(text) == {"B": "2", "C": "3 4", "D": "", "E": "5"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("GANFORGE_STORAGE", ""),
        ("GANFORGE_STORAGE", "runs"),
        ("GANFORGE_STORAGE", "s3://"),
        ("GANFORGE_DATA", "photos"),
        ("GANFORGE_NODES", "0"),
        ("GANFORGE_WAIT_SECONDS", "soon"),
    ],
)
def test_a_value_that_cannot_be_is_named_and_refused(
    key: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mistakes(GOOD) == []
    (mistake,) = mistakes({**GOOD, key: value})
    assert mistake.key == key and mistake.fix
    monkeypatch.setenv(key, value)
    with pytest.raises(SettingsError, match=key):
        check_environment()


def test_a_machine_whose_values_are_missing_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main([]) == 1
    assert "GANFORGE_STORAGE: is empty" in capsys.readouterr().err
    (tmp_path / ".ganforge.env").write_text("GANFORGE_STORAGE=s3://b/x\nGANFORGE_DATA=built-in\n")
    assert main([]) == 0


def test_images_of_a_store_are_copied_once_and_their_place_is_noted(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / ".ganforge.env"
    file.write_text(f"# a word\nGANFORGE_STORAGE=s3://b/x\nGANFORGE_DATA=file://{images}\n")
    assert main([]) == 0
    copied = tmp_path / "ganforge-data"
    assert read_variables(file.read_text())["GANFORGE_DATA"] == str(copied)
    assert "# a word" in file.read_text()
    for image in images.iterdir():
        assert (copied / image.name).read_bytes() == image.read_bytes()
    before = {path: path.stat().st_mtime_ns for path in copied.iterdir()}
    fetch(f"file://{images}", copied)
    assert before == {path: path.stat().st_mtime_ns for path in copied.iterdir()}
    with pytest.raises(SettingsError, match="GANFORGE_DATA"):
        fetch(f"file://{tmp_path}/nowhere", tmp_path / "other")


def test_a_variable_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("A=1\nB=2\n")
    replace(file, {"A": "3"})
    assert read_variables(file.read_text()) == {"A": "3", "B": "2"}
