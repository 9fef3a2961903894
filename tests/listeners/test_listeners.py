"""Listeners hear each report once; what fails among them never ends training."""

import io
import logging
import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ganforge.events import Event, Listeners
from ganforge.listeners.catalog import load_listener, load_listeners
from ganforge.settings import SettingsError

GRID = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def png() -> bytes:
    content = io.BytesIO()
    Image.fromarray(GRID).save(content, "PNG")
    return content.getvalue()


def events(run: str = "search-1/trial-0002") -> list[Event]:
    """A run of two reports with all that an event has."""
    rest = (
        run,
        "abc",
        {"width": 8, "critic.learning_rate": 0.25},
        {"critic.learning_rate": 0.25},
        2,
    )
    return [
        Event("started", *rest),
        Event("report", *rest, 0, 4, 16, {"loss": 0.5, "odd": math.nan}),
        Event("report", *rest, 1, 4, 32, {"loss": 0.25}, png()),
        Event("ended", *rest, 1, 4, 32, outcome="finished"),
    ]


def test_a_report_is_heard_once_however_often_a_run_is_resumed():
    heard: list[Event] = []
    listeners = Listeners([heard.append])
    for event in [*events(), *events(), *events("another")]:
        listeners(event)
    kinds = [(event.run, event.kind) for event in heard]
    assert kinds.count(("search-1/trial-0002", "report")) == 2
    assert kinds.count(("another", "report")) == 2
    assert kinds.count(("search-1/trial-0002", "started")) == 2


def test_a_listener_that_raises_is_left_out(caplog: pytest.LogCaptureFixture):
    heard: list[str] = []

    def broken(event: Event) -> None:
        heard.append("broken")
        raise ValueError("first line\nsecond")

    listeners = Listeners([broken, lambda event: heard.append(event.kind)])
    with caplog.at_level(logging.WARNING, logger="ganforge"):
        for event in events():
            listeners(event)
    assert heard == ["broken", "started", "report", "report", "ended"]
    [warning] = caplog.messages
    assert "broken: ValueError: first line. It gets no further events" in warning
    assert bool(listeners) and not Listeners()


def test_tensorboard_reads_what_was_reported(tmp_path: Path):
    listener = load_listener(f"tensorboard:{tmp_path}/logs")
    for event in events():
        listener(event)
    found = EventAccumulator(str(tmp_path / "logs" / "search-1" / "trial-0002"))
    found.Reload()
    scalars = found.Tags()["scalars"]
    assert sorted(scalars) == ["last/loss", "loss"]
    assert [(p.step, p.value) for p in found.Scalars("loss")] == [(16, 0.5), (32, 0.25)]
    [image] = found.Images("samples/grid")
    assert image.step == 32
    shown = Image.open(io.BytesIO(image.encoded_image_string))
    assert np.array_equal(np.asarray(shown), GRID)
    texts = [t for t in found.Tags()["tensors"] if t.startswith("settings")]
    content = found.Tensors(texts[0])[0].tensor_proto.string_val[0].decode()
    assert "critic.learning_rate = 0.25" in content
    # hyperparameters lie in the run itself, not in a run of their own
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["search-1"]
    assert all(path.is_file() for path in (tmp_path / "logs" / "search-1" / "trial-0002").iterdir())


def wandb_records(content: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format after a header of 7 bytes, in which a
    record is whole (1) or in parts (2, 3 …, 4) of at most a block of 32 KiB."""
    at, parts = 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # the rest of a block is padding
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        parts = b"" if kind in (1, 2) else parts
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield parts


def test_weights_and_biases_keeps_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import wandb
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    listener = load_listener("wandb:project")
    for event in events():
        listener(event)
    # ends the process that writes the file: a run that is over may still be on its way to the disk
    wandb.teardown()
    [file] = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    history = []
    for content in wandb_records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        if record.WhichOneof("record_type") == "run":
            assert (record.run.project, record.run.run_group) == ("project", "search-1")
            assert record.run.display_name == "trial-0002"
        if record.WhichOneof("record_type") == "history":
            items = {i.key or "/".join(i.nested_key): i.value_json for i in record.history.item}
            drawn = any(key.startswith("samples/grid") for key in items)
            history.append((items["images"], items["loss"], drawn))
    assert history == [("16", "0.5", False), ("32", "0.25", True)]


def test_listeners_of_the_user_are_functions_or_classes(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(
        "heard = []\n"
        "def function(event):\n    heard.append(event.kind)\n"
        "class Class:\n    def __call__(self, event):\n        heard.append(event.run)\n"
        "class Needs:\n    def __init__(self, argument):\n        pass\n"
        "number = 3\n"
    )
    for member, expected in (("function", ["started"]), ("Class", ["search-1/trial-0002"])):
        listener = load_listener(f"{file}:{member}")
        listener(events()[0])
        call = listener if member == "function" else type(listener).__call__
        assert isinstance(call, Callable) and call.__globals__["heard"] == expected
    both = load_listeners([f"{file}:function", events().append])
    both(events()[1])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tensorboard", "there is no such listener; give tensorboard:FOLDER"),
        ("tensorboard:", "there is no such listener"),
        ("nothing:here", "there is no such listener"),
        ("mine.py", "there is no such listener"),
        ("missing.py:Class", "no such file"),
        ("{file}:absent", "has no function or class of that name"),
        ("{file}:number", "has no function or class of that name"),
        ("{file}:Needs", "cannot be made without arguments"),
        ("tensorboard:{file}/logs", "cannot be written"),
    ],
)
def test_other_names_are_refused(tmp_path: Path, name: str, message: str):
    file = tmp_path / "own.py"
    file.write_text("number = 3\nclass Needs:\n    def __init__(self, argument):\n        pass\n")
    with pytest.raises(SettingsError, match=message):
        load_listener(name.format(file=file))
