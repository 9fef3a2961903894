"""Sample grids are found by stage and step, whatever else lies next to them."""

from pathlib import Path

from run_files import log_files

from ganforge.testing import small
from ganforge.tracking.grids import in_order, list_grids, newest_grid
from ganforge.tracking.runs import Opening, open_run


def test_grids_are_in_the_order_of_training():
    names = ["stage-1-000096.png", "stage-0-000128.png", "stage-10-000001.png", "notes.txt"]
    found = in_order([f"grids/{name}" for name in names])
    assert [(stage, step) for stage, step, _ in found] == [(0, 128), (1, 96), (10, 1)]


def test_the_newest_grid_is_read_from_the_record(tmp_path: Path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    run = open_run(uri, "grids", Opening("train", "t", small("simple_gan").settings))
    assert newest_grid(uri, run.run_id) is None
    contents = {"stage-0-000128": b"first", "stage-1-000096": b"second", "stage-1-000002": b"none"}
    log_files(run, {f"grids/{name}.png": content for name, content in contents.items()})
    assert [(stage, step) for stage, step, _ in list_grids(uri, run.run_id)] == [
        (0, 128), (1, 2), (1, 96),
    ]  # fmt: skip
    assert newest_grid(uri, run.run_id) == b"second"
    assert newest_grid(uri, run.run_id, 0) == b"first"
    assert newest_grid(uri, run.run_id, 2) is None
