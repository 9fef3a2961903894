"""Which files are read, and under which names their results are written."""

from pathlib import Path

import pytest

from ganforge.inference.upscale_tasks import find_tasks
from ganforge.settings import SettingsError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def targets(root: Path, output: Path, suffix: str = ".png") -> dict[str, str]:
    tasks = find_tasks(root, output, suffix)
    return {task.name: task.target.relative_to(output).as_posix() for task in tasks}


def test_folders_are_mirrored_and_names_never_meet(tmp_path):
    root = tmp_path / "in"
    touch(root, "a.png", "a.jpg", "A.webp", "b.jpg", "s/a.png", "notes.txt", ".hidden.png")
    touch(root, ".cache/x.png", "a.jpg.png", "c.tar.png")
    found = targets(root, tmp_path / "out")
    assert found["b.jpg"] == "b.png" and found["s/a.png"] == "s/a.png"
    assert found["a.jpg.png"] == "a.jpg.png" and found["c.tar.png"] == "c.tar.png"
    assert found["a.png"] == "a.png.png"
    assert found["a.jpg"] == "a.jpg-2.png"  # a.jpg.png is what another file is called
    assert found["A.webp"] == "A.webp.png"
    lowered = [name.casefold() for name in found.values()]
    assert len(set(lowered)) == len(lowered) == 7


def test_results_inside_the_folder_are_not_read_again(tmp_path):
    touch(tmp_path, "a.png", "out/a.png")
    assert targets(tmp_path, tmp_path / "out") == {"a.png": "a.png"}
    assert set(targets(tmp_path, tmp_path)) == {"a.png", "out/a.png"}


def test_one_image_and_none(tmp_path):
    touch(tmp_path, "a.jpeg", "empty/x.txt")
    (task,) = find_tasks(tmp_path / "a.jpeg", tmp_path / "out", ".webp")
    assert task.target == tmp_path / "out" / "a.webp"
    with pytest.raises(SettingsError, match="no such image"):
        find_tasks(tmp_path / "b.png", tmp_path, ".png")
    with pytest.raises(SettingsError, match="no images in it"):
        find_tasks(tmp_path / "empty", tmp_path, ".png")
