"""T4: on a disk that is really full the message has path, bytes needed and free, and nothing
partial is left under a final name."""

import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from image_folder import find_images
from PIL import Image
from small_disk import small_disk

from ganforge.append_log import AppendLog
from ganforge.assets import keep, tensors_sha256
from ganforge.cluster.ray_trainer import reason
from ganforge.data.packed import pack
from ganforge.data.sources import Source
from ganforge.data.split import open_catalog
from ganforge.data.views import Square
from ganforge.local_files import DiskFull
from ganforge.settings import SettingsError
from ganforge.tracking.outbox.log import OutboxLog
from ganforge.training.checkpoint import Store
from ganforge.training.files import MANIFEST, open_folders

MIB = 2**20
MESSAGE = r"{} cannot be written: the disk is full\. It needs ([\d,]+) bytes, and ([\d,]+) are free"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB of which about 1 MiB is free."""
    with small_disk(tmp_path / "disk", "2m") as folder:
        (folder / "others").write_bytes(b"\0" * MIB)
        yield folder


def check(error: BaseException, path: Path | str, needed: int) -> None:
    found = re.search(MESSAGE.format(re.escape(str(path))), str(error))
    assert found, error
    assert int(found[1].replace(",", "")) == needed
    assert 0 <= int(found[2].replace(",", "")) <= MIB


def fill(disk: Path) -> Path:
    """Take what is left, and return the file that took it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return filler


def test_a_state(disk: Path) -> None:
    folders = open_folders(str(disk / "run"))
    folders.write("000-000000001.ab", {"a.bin": b"1" * 1000, MANIFEST: b"{}"})
    big = {"networks.safetensors": b"0" * 3 * MIB, MANIFEST: b"{}"}
    with pytest.raises(DiskFull) as raised:
        folders.write("000-000000002.ab", big)
    check(raised.value, disk / "run" / "000-000000002.ab", 3 * MIB + 2)
    # as a worker's error comes to the driver
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    assert reason(raised.value) == str(raised.value)
    assert [path.name for path in (disk / "run").iterdir()] == ["000-000000001.ab"]
    assert Store(str(disk / "run")).names() == ["000-000000001.ab"]
    # and with space the run continues
    folders.write("000-000000002.ab", {"a.bin": b"1", MANIFEST: b"{}"})


def test_a_line_of_a_journal(disk: Path) -> None:
    log = AppendLog(disk / "journal.jsonl")
    log.append({"event": "opened"})
    filler = fill(disk)
    entry = {"event": "x" * 10_000}
    with pytest.raises(DiskFull) as raised:
        log.append(entry)
    check(raised.value, disk / "journal.jsonl", len('{"event": ""}\n') + 10_000)
    assert list(log.entries()) == [{"event": "opened"}]
    filler.unlink()
    log.append(entry)
    assert list(log.entries()) == [{"event": "opened"}, entry]
    log.close()


def test_a_kept_content_of_an_outbox(disk: Path) -> None:
    log = OutboxLog(disk / "outbox")
    with pytest.raises(DiskFull) as raised:
        log.keep(b"0" * 3 * MIB, "0123456789abcdef")
    check(raised.value, disk / "outbox" / "blobs" / "0123456789abcdef", 3 * MIB)
    assert list((disk / "outbox" / "blobs").iterdir()) == []
    log.close()


def test_a_frozen_network(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANFORGE_CACHE", str(disk / "cache"))
    tensors = {"w": torch.zeros(MIB)}
    with pytest.raises(DiskFull, match=r"safetensors cannot be written: the disk is full\. It"):
        keep("sha256:" + tensors_sha256(tensors), tensors)
    assert list((disk / "cache" / "assets").iterdir()) == []


def test_a_packed_cache(disk: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    for number in range(4):
        Image.fromarray(np.roll(noise, number, 0)).save(folder / f"{number}.png")
    images = open_catalog(Source(tuple(find_images(str(folder)))), 0.3, 0, tmp_path).images
    with pytest.raises(SettingsError, match=r"data\.cache_directory = .*full\. It needs [\d,]{7,}"):
        pack(images, Square(512, 2, "target"), 3, disk / "cache")
    assert not list((disk / "cache" / "packed").glob("*.pixels*.part"))
    assert not list((disk / "cache" / "packed").glob("*.pixels"))
