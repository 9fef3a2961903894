"""Low-resolution images of the user's own: which belongs to which, and what is trained on."""

import shutil
from pathlib import Path

import pytest
import torch
from conftest import SCALE, SEED, noise, stages
from PIL import Image

from ganforge.data.base import Data
from ganforge.data.folders import find_images
from ganforge.data.prepare import open_data, prepare_data
from ganforge.data.scan import report
from ganforge.data.settings import DataSettings, ValidationSettings
from ganforge.settings import SettingsError, override, setting
from ganforge.systems.settings import StageSettings, SystemSettings

KIND = "super_resolution"
SIDES = [(40, 60), (50, 50), (97, 45), (64, 64), (41, 43), (90, 131)]


class Enlarging(SystemSettings):
    scale: int = setting(SCALE, "factor")


def high_and_low(root: Path, template: str = "{name}", low: str = "low", up: bool = False) -> Path:
    """Images of noise in high/, and Pillow's bicubic of all that is a multiple of the scale in
    `low`; with `up` each odd side is rounded up, by one more line of pixels."""
    for number, sides in enumerate(SIDES):
        path = root / "high" / "below" / f"p{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(noise(number, *sides))
        image.save(path)
        width, height = image.width // SCALE, image.height // SCALE
        cut = image.crop((0, 0, width * SCALE, height * SCALE))
        small = cut.resize((width, height), Image.Resampling.BICUBIC)
        if up:
            small = small.crop((0, 0, -(-image.width // SCALE), -(-image.height // SCALE)))
        target = root / low / "below" / f"{template.replace('{name}', path.stem)}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        small.save(target)
    return root


def _settings(base: Path, held_out: dict | None = None, **data: object) -> Enlarging:
    given = {"root": str(base / "high"), "view": "crop", "cache_directory": str(base / "cache")}
    return Enlarging(
        stages=(StageSettings(resolution=16), StageSettings(resolution=32)),
        data=DataSettings(**(given | data)),  # pyright: ignore[reportArgumentType]
        validation=ValidationSettings(**({"fraction": 0.3} | (held_out or {}))),
    )


def _data(settings: SystemSettings) -> Data:
    return open_data(KIND, settings, stages(), SCALE, SEED, prefetch=False)


def _same_batches(one: SystemSettings, other: SystemSettings) -> bool:
    first, second = _data(one), _data(other)
    assert first.epoch_images == second.epoch_images
    for index, step, shard in [(i, s, k) for i in (0, 1) for s in range(6) for k in (0, 3)]:
        a, b = first.batch(index, step, shard), second.batch(index, step, shard)
        assert a.source is not None and b.source is not None
        if not (torch.equal(a.target, b.target) and torch.equal(a.source, b.source)):
            return False
    return True


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("cache_bytes", [0, 2**30])
def test_pairs_made_by_the_built_in_reduction_train_to_the_same_bits(
    up: bool, cache_bytes: int, tmp_path: Path
) -> None:
    root = high_and_low(tmp_path, up=up)
    given = _settings(root, low_resolution=str(root / "low"), cache_bytes=cache_bytes, rotate=True)
    assert _same_batches(given, _settings(root, rotate=True))


def test_the_two_ways_to_name_them_are_the_same(tmp_path: Path) -> None:
    plain = high_and_low(tmp_path / "a")
    folder = _settings(plain, low_resolution=str(plain / "low"))
    named = high_and_low(tmp_path / "b", "{name}x2")
    both = _settings(named, low_resolution=str(named / "low"), low_resolution_name="{name}x2")
    mixed = high_and_low(tmp_path / "c", "lr-{name}", low="high")
    one = _settings(mixed, low_resolution_name="lr-{name}")
    facts = [prepare_data(KIND, settings, SCALE, SEED) for settings in (folder, both, one)]
    assert len({(found.fingerprint, found.epoch_images) for found in facts}) == 1
    assert len(facts[0].digests) == 12 and facts[0].num_images == 6
    assert _same_batches(folder, one)


def test_what_is_shown_is_the_given_image_and_not_a_reduction(tmp_path: Path) -> None:
    root = high_and_low(tmp_path)
    given = _settings(root, low_resolution=str(root / "low"))
    before = prepare_data(KIND, given, SCALE, SEED).fingerprint
    for path in (root / "low").rglob("*.png"):
        with Image.open(path) as image:
            Image.new("RGB", image.size, (255, 0, 255)).save(path)
    data = _data(given)
    for batch in (data.batch(1, 0, 0), data.validation(1, 0), data.samples(1)):
        assert batch.source is not None
        assert batch.source[:, 0].eq(1).all() and batch.source[:, 1].eq(-1).all()
        assert [side * SCALE for side in batch.source.shape[2:]] == list(batch.target.shape[2:])
    assert data.fingerprint != before


def test_measured_pairs_are_cut_at_one_position(tmp_path: Path) -> None:
    root = high_and_low(tmp_path)
    for path in (root / "high").rglob("*.png"):  # low pixel (y, x) is what high pixel (2y, 2x) is
        with Image.open(path) as image:
            small = image.crop((0, 0, image.width // 2 * 2, image.height // 2 * 2)).reduce(1)
            low = root / "low" / "below" / path.name
            small.resize((small.width // 2, small.height // 2), Image.Resampling.NEAREST).save(low)
    data = _data(_settings(root, {"max_side": 40}, low_resolution=str(root / "low")))
    for number in range(data.num_validation):
        batch = data.validation(0, number)
        assert batch.source is not None
        assert torch.equal(batch.target[..., 1::2, 1::2], batch.source)


def test_the_line_before_a_run_names_the_scale_and_what_is_cut(tmp_path: Path) -> None:
    root = high_and_low(tmp_path)
    given = _settings(root, low_resolution=str(root / "low"))
    lines = report(find_images(KIND, given), given.data)
    assert lines[1] == (
        "pairs         6 of high and low resolution, scale 2; cut: 3 × image (below/p2.png to "
        "44×96, below/p4.png to 42×40, below/p5.png to 130×90)"
    )
    assert len(lines) == 2 and lines[0] == "images        12 used"


def _refused(settings: SystemSettings, kind: str = KIND) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        find_images(kind, settings)
    return [line.strip() for line in str(caught.value).splitlines()]


def test_all_images_without_a_partner_are_named_at_once(tmp_path: Path) -> None:
    root = high_and_low(tmp_path)
    low = root / "low"
    (low / "below" / "p0.png").rename(low / "below" / "x.png")
    shutil.copy(low / "below" / "p1.png", low / "below" / "p1.jpg")
    head = f"data.low_resolution = {low}: "
    assert _refused(_settings(root, low_resolution=str(low))) == [
        head + "below/p0.png has no low-resolution image; it must be called below/p0 with an "
        "image's suffix, so add or rename it",
        head + "below/p1.png, data.low_resolution/below/p1.jpg, data.low_resolution/below/p1.png "
        "could be a pair in several ways; each name must be there once at either resolution, so "
        "rename or remove the others",
        head + "data.low_resolution/below/x.png belongs to no high-resolution image; rename or "
        "remove it",
    ]


def test_all_pairs_of_another_scale_are_named_at_once(tmp_path: Path) -> None:
    root = high_and_low(tmp_path)
    for name, sides in (("p0", (15, 10)), ("p2", (22, 50))):
        Image.new("RGB", sides).save(root / "low" / "below" / f"{name}.png")
    lines = _refused(_settings(root, low_resolution=str(root / "low")))
    assert len(lines) == 2
    assert lines[0].endswith(
        "below/p0.png is 15×10 and below/p0.png 60×40; at scale = 2 it must be 30 × 20; make it "
        "again, or set the scale that the images have"
    )
    assert (
        "is 22×50 and below/p2.png 45×97; at scale = 2 it must be 22 or 23 × 48 or 49" in lines[1]
    )


def test_validation_images_of_ones_own_have_pairs_too(tmp_path: Path) -> None:
    root, own = high_and_low(tmp_path / "a"), high_and_low(tmp_path / "b")
    low = {"low_resolution": str(root / "low")}
    held_out = {"root": str(own / "high")}
    (line,) = _refused(_settings(root, held_out, **low))
    assert line.startswith("validation.low_resolution = none: must be the folder with the low-")
    held_out["low_resolution"] = str(own / "low")
    facts = prepare_data(KIND, _settings(root, held_out, **low), SCALE, SEED)
    assert (facts.num_train, len(facts.held_out), len(facts.digests)) == (6, 6, 24)


def test_several_folders_with_a_template(tmp_path: Path) -> None:
    roots = tuple(
        str(high_and_low(tmp_path / name, "{name}x2", low="high") / "high") for name in "ab"
    )
    given = _settings(tmp_path, root=None, roots=roots, low_resolution_name="{name}x2")
    facts = prepare_data(KIND, given, SCALE, SEED)
    assert (facts.num_images, len(facts.digests)) == (12, 24)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"low_resolution": ""}, "data.low_resolution = '': must be the path of a folder"),
        ({"low_resolution_name": "x"}, "data.low_resolution_name = 'x': must have {name} once"),
        ({"low_resolution": "a", "view": "resize"}, "data.low_resolution = 'a': pairs are cut"),
        ({"low_resolution": "a", "max_side": 64}, "data.low_resolution = 'a': pairs are not"),
        ({"low_resolution": "a", "degradation.noise": "0,9"}, "data.low_resolution = 'a': given"),
        (
            {"low_resolution": "a", "roots": "b,c"},
            "data.low_resolution = 'a': is one folder, and roots names 2",
        ),
    ],
)
def test_bad_settings_are_refused_in_one_line(changes: dict, line: str) -> None:
    settings = Enlarging(data=DataSettings(view="crop"))
    with pytest.raises(SettingsError) as caught:
        override(settings, {f"data.{key}": value for key, value in changes.items()})
    assert str(caught.value).startswith(line) and len(str(caught.value).splitlines()) == 1


def test_other_kinds_and_built_in_images_have_no_pairs(tmp_path: Path) -> None:
    root = high_and_low(tmp_path)
    given = _settings(root, low_resolution=str(root / "low"))
    assert "are for systems that enlarge" in _refused(given, "images")[0]
    alone = _settings(root, root=None, low_resolution=str(root / "low"))
    assert "needs data.root, the folder with the high" in _refused(alone)[0]
    missing = _settings(root, low_resolution=str(root / "none"))
    assert f"data.low_resolution = {root}/none: there is no such folder" in _refused(missing)[0]
