"""Several folders: what is read of each, how an epoch is divided, and what is refused."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from conftest import SCALE, SEED, noise, stages
from PIL import Image

from ganforge.commands.cli import main
from ganforge.commands.configure import CliOptions, configure
from ganforge.data.base import Data
from ganforge.data.folders import find_images
from ganforge.data.prepare import DataFacts, open_data, prepare_data
from ganforge.data.sampling import epoch_of
from ganforge.data.scan import report, scan_folders
from ganforge.data.settings import PairedSettings, ValidationSettings
from ganforge.settings import SettingsError, override, setting
from ganforge.systems.settings import StageSettings, SystemSettings

KINDS = ["super_resolution", "images", "labelled", "paired", "unpaired"]


class OfAnyKind(SystemSettings):
    data: PairedSettings = setting(PairedSettings(), "images")  # pyright: ignore[reportIncompatibleVariableOverride]


def write(root: Path, count: int, first: int) -> str:
    """Images of noise in source/ and target/."""
    for number in range(2 * count):
        path = root / ("source", "target")[number % 2] / f"{number // 2}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(first + number, 40, 44)).save(path)
    return str(root)


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    return [write(tmp_path / "a", 6, 0), write(tmp_path / "b", 3, 50)]


def _settings(tmp_path: Path, **data: object) -> OfAnyKind:
    given = {"view": "crop", "pairing": "folders", "cache_directory": str(tmp_path / "cache")}
    return OfAnyKind(
        stages=(StageSettings(resolution=16), StageSettings(resolution=32)),
        data=PairedSettings(**(given | data)),  # pyright: ignore[reportArgumentType]
        validation=ValidationSettings(fraction=0.34),
    )


def _facts(kind: str, settings: SystemSettings) -> DataFacts:
    return prepare_data(kind, settings, SCALE, SEED)


def _data(kind: str, settings: SystemSettings) -> Data:
    return open_data(kind, settings, stages(), SCALE, SEED, prefetch=False)


@pytest.mark.parametrize("kind", KINDS)
def test_one_folder_in_the_list_is_that_folder_alone(
    kind: str, two: list[str], tmp_path: Path
) -> None:
    alone, listed = _settings(tmp_path, root=two[0]), _settings(tmp_path, roots=(two[0],))
    assert _facts(kind, alone) == _facts(kind, listed)
    assert torch.equal(
        _data(kind, alone).batch(1, 3, 2).target, _data(kind, listed).batch(1, 3, 2).target
    )


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_named_by_folder_and_path_and_some_of_each_are_held_out(
    kind: str, two: list[str], tmp_path: Path
) -> None:
    facts = _facts(kind, _settings(tmp_path, roots=tuple(two)))
    names = [
        f"{root}/{side}/{number}.png"
        for root, count in enumerate((6, 3))
        for side in ("source", "target")
        for number in range(count)
    ]
    assert sorted(name for name, _ in facts.digests) == sorted(names)
    assert {name[0] for name in facts.held_out} == {"0", "1"}
    assert facts.num_images == 18


def test_the_fingerprint_covers_all_folders_and_not_their_paths(
    two: list[str], tmp_path: Path
) -> None:
    first = _facts("images", _settings(tmp_path, roots=tuple(two))).fingerprint
    elsewhere = str(shutil.copytree(two[1], tmp_path / "elsewhere"))
    moved = _facts("images", _settings(tmp_path, roots=(two[0], elsewhere))).fingerprint
    turned = _facts("images", _settings(tmp_path, roots=(two[1], two[0]))).fingerprint
    write(Path(elsewhere), 1, 90)
    changed = _facts("images", _settings(tmp_path, roots=(two[0], elsewhere))).fingerprint
    assert moved == first and len({first, turned, changed}) == 3


def test_weights_enter_the_identity_and_folders_do_not(two: list[str], tmp_path: Path) -> None:
    plain = _settings(tmp_path, root=two[0]).identity(0)
    assert _settings(tmp_path, roots=tuple(two)).identity(0) == plain
    weighted = _settings(tmp_path, roots=tuple(two), weights=(1, 3)).identity(0)
    assert weighted == plain | {"data.weights.0": 1.0, "data.weights.1": 3.0}


@pytest.mark.parametrize(
    ("sizes", "weights", "counts"),
    [
        ((6, 2), (1, 1), (4, 4)),
        ((6, 2), (3, 1), (6, 2)),
        ((5, 5), (0.999, 0.001), (10, 1)),
        ((7, 3, 1), (1, 2, 1), (3, 5, 3)),
    ],
)
def test_an_epoch_has_the_parts_that_weights_say_and_every_image_its_turn(
    sizes: tuple[int, ...], weights: tuple[float, ...], counts: tuple[int, ...]
) -> None:
    roots = [root for root, size in enumerate(sizes) for _ in range(size)]
    items = list(range(len(roots)))
    epoch = epoch_of(items, roots, weights)
    assert epoch.counts == counts
    shown: Counter[int] = Counter()
    for number in range(40):
        part = [epoch.at(SEED, number * len(epoch) + place) for place in range(len(epoch))]
        assert tuple(Counter(roots[one] for one in part)[root] for root in range(len(sizes))) == (
            counts
        )
        shown.update(part)
        for root in range(len(sizes)):  # never more than one turn apart
            times = [shown[one] for one in items if roots[one] == root]
            assert max(times) - min(times) <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_weighted_batches_are_a_function_of_the_position(
    kind: str, two: list[str], tmp_path: Path
) -> None:
    settings = _settings(tmp_path, roots=tuple(two), weights=(1, 4))
    one, other = _data(kind, settings), _data(kind, settings)
    keys = [(1, step, shard) for step in range(4) for shard in range(4)]
    forth = {key: one.batch(*key).target for key in keys}
    assert all(torch.equal(forth[key], other.batch(*key).target) for key in reversed(keys))
    plain = _data(kind, _settings(tmp_path, roots=tuple(two)))
    assert plain.fingerprint == one.fingerprint
    assert any(not torch.equal(forth[key], plain.batch(*key).target) for key in keys)


def _refused(settings: SystemSettings, kind: str = "images") -> str:
    with pytest.raises(SettingsError) as caught:
        prepare_data(kind, settings, SCALE, SEED)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_bad_folders_are_refused_in_one_line(two: list[str], tmp_path: Path) -> None:
    none = str(tmp_path / "none")
    message = _refused(_settings(tmp_path, roots=(two[0], none)))
    assert message.startswith(f"data.roots.1 = {none}: there is no such folder; give")
    message = _refused(_settings(tmp_path, roots=(two[0], two[1], two[0] + "/../a")))
    assert message.startswith(f"data.roots.2 = {two[0]}/../a: is the folder of data.roots.0 again")
    Path(none, "x").mkdir(parents=True)
    assert f"data.roots.1 = {none}: has no images" in _refused(
        _settings(tmp_path, roots=(two[0], none))
    )
    settings = _settings(tmp_path, roots=tuple(two))
    settings = override(settings, {"validation.fraction": 0.99})
    assert "validation.fraction = 0.99: holds out all images of folder" in _refused(settings)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"data.roots": ["a", ""]}, "data.roots.1 = '': must be the path of a folder"),
        ({"data.roots": "a,b", "data.root": "c"}, "data.roots = ['a', 'b']: root = 'c' names a"),
        ({"data.weights": "1,2"}, "data.weights = [1.0, 2.0]: must be one number for each folder"),
        ({"data.roots": "a,b", "data.weights": "1,0"}, "data.weights.1 = 0.0: must be above 0"),
        ({"data.roots": "a,b", "data.weights": "1,nan"}, "data.weights.1 = 'nan': Input should"),
    ],
)
def test_bad_settings_are_refused_in_one_line(changes: dict, line: str) -> None:
    with pytest.raises(SettingsError) as caught:
        override(OfAnyKind(), changes)
    assert str(caught.value).startswith(line) and len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_in_both_is_named(two: list[str], tmp_path: Path) -> None:
    shutil.copy(Path(two[0], "source", "2.png"), Path(two[1], "target", "new.png"))
    settings = _settings(tmp_path, roots=tuple(two))
    lines = report(find_images("images", settings), settings.data)
    named = "1/target/new.png is 0/source/2.png"
    assert lines[0] == "images        19 used"
    assert len(lines) == 2 and f"1 × one file in two folders ({named})" in lines[1]
    found = scan_folders(two)
    assert found.shared == {"1/target/new.png": "0/source/2.png"} and len(found.faults) == 1
    strict = _settings(tmp_path, roots=tuple(two), strict=True)
    with pytest.raises(SettingsError, match=named):
        _facts("images", strict)


def _configured(*data: str, changes: tuple[str, ...] = ()) -> tuple[str | None, tuple[str, ...]]:
    settings = configure(CliOptions(data=data, changes=list(changes), preset="quick"))[1]
    return settings.data.root, settings.data.roots


def test_data_is_given_once_or_several_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert _configured() == _configured("built-in") == (None, ())
    assert _configured("a") == ("/a", ())
    assert _configured("a", "b") == (None, ("/a", "/b"))
    assert _configured(changes=("data.roots=a,b",)) == (None, ("/a", "/b"))
    for data, change, line in [
        (("a", "built-in"), "seed=1", "--data built-in: stands for the built-in images"),
        (("a", "b"), "data.roots=c,d", "--set data.roots=c,d: --data .GANFORGE_DATA. says a, b"),
        (("a",), "data.root=c", "--set data.root=c: --data .GANFORGE_DATA. says a; give one"),
    ]:
        with pytest.raises(SettingsError, match=line):
            _configured(*data, changes=(change,))


def test_the_variable_names_one_folder_whose_name_may_have_spaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, other = write(tmp_path / "my photos", 2, 0), write(tmp_path / "b", 2, 9)
    monkeypatch.setenv("GANFORGE_DATA", mine)
    for words, root in (((), mine), (("--data", other), other)):
        with pytest.raises(SystemExit) as left:
            main(["train", "wgan", *words, "--dry-run", "--preset=quick"])
        assert not left.value.code and f'"root": "{root}"' in capsys.readouterr().out
