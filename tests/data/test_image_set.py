"""A packed set is the folder that it was made of: the same images, fingerprint and bits."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SCALE, SEED, Settings, stages

from ganforge.commands.pack import pack
from ganforge.data import image_set as image_set_module
from ganforge.data.cache import kept_of
from ganforge.data.image_set import SetFile, open_set
from ganforge.data.listing import list_folder
from ganforge.data.prepare import open_data, prepare_data
from ganforge.data.settings import DataSettings
from ganforge.settings import SettingsError
from ganforge.systems.catalog import load_system

KIND = "super_resolution"


@pytest.fixture
def packed(folder: Path, tmp_path: Path) -> str:
    """The folder as a packed set of several shards."""
    from ganforge.data.image_set_writer import write_set

    out = tmp_path / "packed set"
    write_set(list_folder(str(folder), kept_of(DataSettings())).images, str(out), 20_000)
    assert len(list((_files(out) / "shards").iterdir())) > 2
    return str(out)


def _files(root: Path) -> Path:
    """The folder of a set in which its shards and columns are."""
    return root / json.loads((root / "imageset.json").read_text())["files"]


def _batches(settings: Any, fingerprint: str) -> list[bytes]:
    data = open_data(KIND, settings, stages(), SCALE, SEED, fingerprint, prefetch=False)
    found = []
    for index, step in ((0, 0), (1, 3), (1, 9)):
        batch = data.batch(index, step, 1)
        assert batch.target is not None and batch.source is not None
        found += [batch.target.numpy().tobytes(), batch.source.numpy().tobytes()]
    return found


@pytest.mark.parametrize("cache_bytes", [2**30, 0], ids=["packed planes", "on demand"])
@pytest.mark.parametrize("view", ["crop", "resize"])
def test_fingerprint_facts_and_bits_are_the_folders(
    settings: Settings, folder: Path, packed: str, tmp_path: Path, view: str, cache_bytes: int
) -> None:
    own = settings(view=view, cache_bytes=cache_bytes)
    there = settings(
        view=view, cache_bytes=cache_bytes, root=packed, cache_directory=str(tmp_path / "other")
    )
    expected, found = (prepare_data(KIND, one, SCALE, SEED) for one in (own, there))
    assert found == expected
    batches = _batches(own, expected.fingerprint)
    shutil.rmtree(folder)
    assert _batches(there, found.fingerprint) == batches
    # and again by the catalog that was stored
    assert _batches(there, found.fingerprint) == batches


def test_opening_a_set_reads_no_image(
    settings: Settings, packed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_set_module.ImageSet, "read", None)
    facts = prepare_data(KIND, settings(root=packed, cache_bytes=0), SCALE, SEED)
    assert facts.num_images == 7


def test_classes_are_the_folders_in_a_set(folder: Path, packed: str, tmp_path: Path) -> None:
    from ganforge.data.image_set_writer import write_set

    for name in ("a", "b"):
        shutil.copytree(folder, tmp_path / "classes" / name)
    classes = str(tmp_path / "classes")
    write_set(list_folder(classes, kept_of(DataSettings())).images, str(tmp_path / "set"))
    kind = load_system("conditional_gan")
    facts = []
    for root in (classes, str(tmp_path / "set")):
        changes = {"data.root": root, "num_classes": 2, "stages.0.resolution": 32, "channels": 3}
        from ganforge.settings import override

        facts.append(prepare_data("labelled", override(kind.Settings(), changes), 1, SEED))
    assert facts[0] == facts[1] and facts[0].classes == ("a", "b")


def test_pairs_in_a_set_are_the_folders(folder: Path, tmp_path: Path) -> None:
    from ganforge.data.image_set_writer import write_set
    from ganforge.settings import override

    for name in ("source", "target"):
        shutil.copytree(folder, tmp_path / "pairs" / name)
    write_set(
        list_folder(str(tmp_path / "pairs"), kept_of(DataSettings())).images, str(tmp_path / "set")
    )
    kind = load_system("pix2pix")
    facts = []
    for root in ("pairs", "set"):
        changes = {"data.root": str(tmp_path / root), "stages.0.resolution": 32}
        facts.append(prepare_data("paired", override(kind.Settings(), changes), 1, SEED))
    assert facts[0] == facts[1]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("shard", "it is not what was packed"),
        ("column", "other bytes than were written"),
        ("format", "must be ganforge image set 2"),
        ("rows", "is not one of 8 rows"),
        ("mark", "no packed set|damaged"),
    ],
)
def test_a_damaged_set_is_refused(settings: Settings, packed: str, damage: str, said: str) -> None:
    root = Path(packed)
    head = json.loads((root / "imageset.json").read_text())
    if damage == "shard":
        for file in (_files(root) / "shards").iterdir():
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
    elif damage == "column":
        file = _files(root) / "columns" / "length.npy"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    elif damage == "mark":
        (root / "imageset.json").write_text("[]")
    else:
        head |= {"format": "other"} if damage == "format" else {"count": 8}
        (root / "imageset.json").write_text(json.dumps(head))
    with pytest.raises(SettingsError, match=said) as error:
        facts = prepare_data(KIND, settings(root=packed, cache_bytes=0), SCALE, SEED)
        _batches(settings(root=packed, cache_bytes=0), facts.fingerprint)
    assert packed in str(error.value)


@pytest.mark.parametrize(
    ("column", "value"),
    [("offset", -1), ("offset", 10**9), ("shard", 99), ("header", -1), ("length", 10**10)],
)
def test_columns_that_lead_outside_are_refused(packed: str, column: str, value: int) -> None:
    """What a hostile set says of itself is checked, though its hashes are right."""
    import hashlib

    file = _files(Path(packed)) / "columns" / f"{column}.npy"
    mark = Path(packed, "imageset.json")
    array = np.load(file)
    array[3] = value
    np.save(file, array)
    head = json.loads(mark.read_text())
    head["columns"][column] = hashlib.sha256(file.read_bytes()).hexdigest()
    mark.write_text(json.dumps(head))
    with pytest.raises(SettingsError, match=r"data\.root = .*: the packed set is damaged"):
        open_set(packed, "data.root", kept_of(DataSettings()))


@pytest.mark.parametrize(
    "change",
    [
        {"count": float("inf")},
        {"count": "7"},
        {"shards": [2**70]},
        {"files": "../outside"},
        {"headers": [{"colour": "RGB"}]},
        {"more": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_head_that_is_none_is_refused(packed: str, change: dict[str, Any]) -> None:
    mark = Path(packed, "imageset.json")
    mark.write_text(json.dumps(json.loads(mark.read_text()) | change))
    with pytest.raises(SettingsError, match=r"data\.root = .*: the packed set is damaged"):
        open_set(packed, "data.root", kept_of(DataSettings()))


def test_two_who_pack_into_one_folder_spoil_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one to finish is refused; what it wrote is removed, and nothing else."""
    from ganforge.data import image_set_writer

    images = list_folder(str(folder), kept_of(DataSettings())).images
    out, whole = tmp_path / "out", image_set_writer._written

    def meanwhile(*given: Any) -> Any:
        monkeypatch.setattr(image_set_writer, "_written", whole)
        image_set_writer.write_set(images, str(out))
        return whole(*given)

    monkeypatch.setattr(image_set_writer, "_written", meanwhile)
    with pytest.raises(SettingsError, match=r"OUT = .*out: is not empty"):
        image_set_writer.write_set(images, str(out))
    assert {path.name for path in out.iterdir()} == {"imageset.json", _files(out).name}
    made = open_set(str(out), "data.root", kept_of(DataSettings()))
    assert [made.read(n) for n in range(7)]


def test_where_nothing_can_be_written_is_said(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for out in (str(tmp_path / "file" / "below"), "s3://bucket/nowhere"):
        with pytest.raises(SettingsError, match=rf"OUT = {out}: cannot be written \(.+\); give"):
            pack(str(folder), out, 1)


def test_a_file_that_is_too_large_is_not_packed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganforge.data.image_set_writer.MOST_IMAGE", 10)
    with pytest.raises(SettingsError, match=r"p0\.png: has [\d,]+ bytes, and may have 9; remove"):
        pack(str(folder), str(tmp_path / "out"), 1)


def test_a_store_that_is_away_for_a_moment_is_asked_again(
    folder: Path, tmp_path: Path, object_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ganforge.data import set_files

    monkeypatch.setenv("AWS_ENDPOINT_URL", object_store)
    monkeypatch.setattr(set_files, "_WAIT_SECONDS", (0.0, 0.0))
    uri = f"s3://bucket/{tmp_path.name}/set"
    pack(str(folder), uri, 1)
    far = open_set(uri, "data.root", kept_of(DataSettings(cache_directory=str(tmp_path))))
    files: Any = far._files
    whole, answers = files._open("shards/00000.bin"), list[Any]()

    class Away:
        def read_at(self, length: int, offset: int) -> bytes:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return whole.read_at(length, offset)[:answer]

    monkeypatch.setattr(files, "_open", lambda path: Away())
    answers += [OSError("slow down"), 3, None]
    expected = (folder / far.names[0]).read_bytes()
    assert far.read(0) == expected and not answers
    answers += [OSError("slow down")] * 3
    with pytest.raises(SettingsError, match=r"data\.root = s3://.*slow down.*once the store"):
        far.read(1)


def test_images_of_another_decoder_are_decoded_here(
    settings: Settings, packed: str, folder: Path
) -> None:
    """Pixels of JPEG are the decoder's: hashes of another one would be another fingerprint."""
    mark = Path(packed, "imageset.json")
    head = json.loads(mark.read_text()) | {"decoder": "another"}
    mark.write_text(json.dumps(head))
    digests = _files(Path(packed)) / "columns" / "digest.npy"
    np.save(digests, np.zeros((7, 32), np.uint8))
    import hashlib

    content = digests.read_bytes()
    head["columns"]["digest"] = hashlib.sha256(content).hexdigest()
    mark.write_text(json.dumps(head))
    facts = prepare_data(KIND, settings(root=packed), SCALE, SEED)
    assert facts.fingerprint == prepare_data(KIND, settings(), SCALE, SEED).fingerprint


def test_what_cannot_be_packed_is_named_and_nothing_is_left(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "p3.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (folder / "p4.png").write_bytes(b"")
    with pytest.raises(SettingsError, match=r"p3\.png: (.|\n)*p4\.png: "):
        pack(str(folder), str(tmp_path / "out"), 1)
    assert not any((tmp_path / "out").rglob("*.*"))
    for name in ("p3.png", "p4.png"):
        (folder / name).unlink()
    pack(str(folder), str(tmp_path / "out"), 1)
    assert "5 images" in capsys.readouterr().out
    with pytest.raises(SettingsError, match=r"OUT = .*out: is not empty"):
        pack(str(folder), str(tmp_path / "out"), 1)
    with pytest.raises(SettingsError, match=r"DIR = .*none: there is no such folder"):
        pack(str(tmp_path / "none"), str(tmp_path / "other"), 1)


def test_a_set_can_be_packed_again(packed: str, tmp_path: Path) -> None:
    pack(packed, str(tmp_path / "again"), 1)
    one, other = (
        open_set(root, "data.root", kept_of(DataSettings()))
        for root in (packed, str(tmp_path / "again"))
    )
    assert list(one.names) == list(other.names)
    assert [one.read(n) for n in range(7)] == [other.read(n) for n in range(7)]


def test_a_set_in_a_store_is_read_by_range_through_a_small_cache(
    settings: Settings,
    folder: Path,
    tmp_path: Path,
    object_store: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", object_store)
    uri = f"s3://bucket/{tmp_path.name}/set"
    pack(str(folder), uri, 1)
    own = settings(cache_bytes=0)
    size = sum(file.stat().st_size for file in folder.rglob("*.*"))
    limit = 2 * size  # images of a twentieth of it are kept
    far = settings(root=uri, cache_bytes=limit, cache_directory=str(tmp_path / "far"))
    monkeypatch.setattr("ganforge.data.planes.RECENT_BYTES", 0)
    # planes are larger than what may be kept, as they are of a set that is larger than the disk
    monkeypatch.setattr("ganforge.data.planes.Layout", lambda *given: _Large)
    expected = prepare_data(KIND, own, SCALE, SEED)
    assert prepare_data(KIND, far, SCALE, SEED) == expected
    assert _batches(far, expected.fingerprint) == _batches(own, expected.fingerprint)
    kept = [file for file in (tmp_path / "far" / "sets").rglob("images/??/*") if file.is_file()]
    assert kept and sum(file.stat().st_size for file in kept) <= limit
    # a kept image that the disk has damaged is fetched again
    for file in kept:
        file.write_bytes(b"other bytes")
    assert _batches(far, expected.fingerprint) == _batches(own, expected.fingerprint)


class _Large:
    total = 2**60


def test_an_address_without_a_set_and_one_with_a_password_are_refused(
    settings: Settings, object_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", object_store)
    with pytest.raises(SettingsError, match=r"data\.root = s3://bucket/none: .*ganforge pack"):
        prepare_data(KIND, settings(root="s3://bucket/none"), SCALE, SEED)
    with pytest.raises(SettingsError, match="must not hold a user name and password") as error:
        prepare_data(KIND, settings(root="s3://me:secret@bucket/none"), SCALE, SEED)
    assert "secret" not in str(error.value)


def test_an_image_of_a_set_is_named_by_the_set(packed: str) -> None:
    listing = list_folder(packed, kept_of(DataSettings()))
    file = listing.images["below/q.PNG"]
    assert isinstance(file, SetFile) and str(file) == f"{packed}/below/q.PNG"
    assert file.name == "below/q.PNG"
