"""What a folder is said to hold: used, converted, skipped, unreadable, and copies."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Settings, noise
from image_folder import find_images
from PIL import Image, ImageCms, ImageFilter

from ganforge.commands.cli import main
from ganforge.commands.configure import CliOptions, configure
from ganforge.commands.scan import lines
from ganforge.data import copies, listing
from ganforge.data.prepare import prepare_data
from ganforge.data.scan import report, scan_folders
from ganforge.data.settings import DataSettings
from ganforge.data.sources import find_source, usable_source
from ganforge.settings import SettingsError


def scene(seed: int, height: int = 96, width: int = 128) -> Image.Image:
    """Smooth colours with shapes, unlike those of another seed."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    return image.filter(ImageFilter.GaussianBlur(1))


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two plain images, one of each kind that is converted, one of each that is not read."""
    root = tmp_path / "mixed"
    (root / ".thumbnails").mkdir(parents=True)
    for number in (1, 2):
        scene(number).save(root / f"plain{number}.png")
    adobe = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    deep = np.asarray(scene(3).convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(root / "deep.png")
    scene(4).convert("RGBA").save(root / "alpha.png")
    scene(5).convert("CMYK").save(root / "ink.jpg")
    scene(6).save(root / "pages.tif", save_all=True, append_images=[scene(7)])
    scene(8).save(root / "profile.png", icc_profile=adobe)
    scene(9).save(root / "srgb.png", icc_profile=srgb)
    scene(10).save(root / "old.gif")
    (root / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    scene(11).save(root / "nameless", "PNG")
    (root / "notes.txt").write_text("text")
    (root / "._plain1.png").write_bytes(b"left behind")
    scene(12).save(root / ".hidden.png")
    (root / "again").symlink_to(root)
    os.mkfifo(root / "pipe.png")
    return root


def test_everything_in_a_folder_is_named_with_what_is_done_to_it(mixed: Path) -> None:
    found = scan_folders([str(mixed)])
    assert set(found.inventory.used) == {
        "plain1.png", "plain2.png", "deep.png", "alpha.png", "ink.jpg", "pages.tif", "profile.png",
        "srgb.png",
    }  # fmt: skip
    assert found.inventory.converted == {
        "16 bits a channel reduced to 8": ("deep.png",),
        "alpha dropped": ("alpha.png",),
        "CMYK made RGB": ("ink.jpg",),
        "only the first frame read": ("pages.tif",),
        "colour profile not applied, Lab identity built-in": ("profile.png",),
    }
    assert found.inventory.skipped == {
        listing.HIDDEN: (".hidden.png", ".thumbnails"),
        listing.MACOS: ("._plain1.png",),
        listing.OTHER_FORMAT: ("old.gif", "phone.heic"),
        listing.OTHER_NAME: ("nameless",),
        listing.AGAIN: ("again",),
        listing.NOT_A_FILE: ("pipe.png",),
        listing.NOT_AN_IMAGE: ("notes.txt",),
    }
    assert not found.unreadable and not found.copies and not found.notes
    shown = lines(found)
    assert shown[0] == "used          8 images"
    assert "skipped       2 × of a format that is not read (old.gif, phone.heic)" in shown
    # text files are no images that somebody could miss
    assert len(found.faults) == 5 + 6


def test_the_line_before_a_run_is_of_the_same_images(mixed: Path) -> None:
    data = DataSettings(root=str(mixed))
    (line,) = report(usable_source(data, 3, 32), data)
    assert line.startswith("images        8 used; converted: ")
    assert "1 × alpha dropped (alpha.png)" in line
    assert "2 × of a format that is not read (old.gif, phone.heic)" in line
    assert "\n" not in line


def test_many_names_are_counted(tmp_path: Path) -> None:
    for number in range(9):
        scene(number).save(tmp_path / f"{number}.gif")
    why = scan_folders([str(tmp_path)]).faults
    assert why == ["skipped: 9 × of a format that is not read (0.gif, 1.gif, 2.gif, …)"]


def test_all_bad_files_are_named_at_once(folder: Path) -> None:
    for name in ("a.png", "b.jpg", "c.tif"):
        (folder / name).write_bytes(b"no image")
    (folder / "gone.png").symlink_to(folder / "nowhere")
    with pytest.raises(SettingsError) as caught:
        usable_source(DataSettings(root=str(folder)), 3, 32)
    for name in ("a.png", "b.jpg", "c.tif", "gone.png"):
        assert f"{folder / name}: cannot be read" in str(caught.value)
    assert len(scan_folders([str(folder)]).unreadable) == 4
    for number in range(40):
        (folder / f"x{number}.png").write_bytes(b"")
    with pytest.raises(SettingsError, match="and 24 more"):
        usable_source(DataSettings(root=str(folder)), 3, 32)


def test_damage_behind_the_header_is_named_at_once_too(folder: Path) -> None:
    for name in ("a.png", "b.jpg"):
        scene(1, 200, 300).save(folder / name)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    found = scan_folders([str(folder)])
    assert [line.partition(":")[0] for line in found.unreadable] == [
        str(folder / "a.png"), str(folder / "b.jpg"),
    ]  # fmt: skip
    data = DataSettings(root=str(folder))
    with pytest.raises(SettingsError) as caught:
        report(usable_source(data, 3, 32), data)
    assert "a.png: cannot be read" in str(caught.value)
    assert "b.jpg: cannot be read" in str(caught.value)


def test_images_that_all_resemble_each_other_take_no_time(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(copies, "_MOST_PAIRS", 10)
    for number in range(12):
        Image.blend(scene(0), scene(number), 0.02).save(tmp_path / f"{number}.png")
    found = scan_folders([str(tmp_path)])
    assert 0 < len(found.copies) <= 10
    assert "so many images resemble each other" in found.notes


def test_pipes_sockets_and_links_to_them_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("a.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "c.png"))
        signal.alarm(20)
        try:
            found = scan_folders([str(tmp_path)])
        finally:
            signal.alarm(0)
    assert found.inventory.skipped == {listing.NOT_A_FILE: ("a.png", "b.png", "c.png")}
    assert not find_images(str(tmp_path))


def test_a_folder_that_is_reached_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    scene(0).save(tmp_path / "a" / "p.png")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    found = scan_folders([str(tmp_path)])
    assert (list(found.inventory.used), found.inventory.skipped) == (
        ["a/p.png"],
        {listing.AGAIN: ("b",)},
    )


@pytest.mark.parametrize("form", ["png", "jpg"])
def test_copies_of_another_size_format_or_quality_are_found(tmp_path: Path, form: str) -> None:
    for number in range(12):
        scene(number, 96, 128).save(tmp_path / f"{number}.png")
    large, small = scene(99, 240, 320), scene(99, 240, 320).resize((80, 60))
    large.save(tmp_path / f"large.{form}")
    small.save(tmp_path / f"small.{form}")
    scene(98).save(tmp_path / "kept.png")
    scene(98).save(tmp_path / "sent.jpg", quality=30)
    found = [str(one) for one in scan_folders([str(tmp_path)]).copies]
    assert found == [
        "sent.jpg is kept.png, of the same size",
        f"small.{form} is large.{form}, 4 times smaller",
    ]


def test_high_resolution_next_to_its_low_resolution_is_found_by_name_and_size(
    tmp_path: Path,
) -> None:
    """Detail makes the thumbnails differ: so much is lost in the smaller one."""
    for number in range(4):
        rough = Image.fromarray(noise(number, 160, 160))
        image = Image.blend(scene(number, 160, 160), rough, 0.2)
        (tmp_path / "HR").mkdir(exist_ok=True)
        (tmp_path / "LR").mkdir(exist_ok=True)
        image.save(tmp_path / "HR" / f"{number}.png")
        image.resize((40, 40), Image.Resampling.NEAREST).save(tmp_path / "LR" / f"{number}x4.png")
    found = scan_folders([str(tmp_path)]).copies
    assert [(one.larger, one.smaller, one.times) for one in found] == [
        (f"HR/{number}.png", f"LR/{number}x4.png", 4.0) for number in range(4)
    ]


def test_what_only_resembles_is_not_called_a_copy(tmp_path: Path) -> None:
    grey = np.asarray(scene(1).convert("L"))
    for number, order in enumerate([(0, 1, 1), (1, 0, 1)]):  # one shape, other colours
        planes = np.stack([grey, 255 - grey], -1)[..., order]
        Image.fromarray(planes).save(tmp_path / f"colour{number}.png")
    for level in (100, 101, 200):  # flat ones
        Image.new("RGB", (64, 64), (level,) * 3).save(tmp_path / f"flat{level}.png")
    scene(5, 96, 128).save(tmp_path / "wide.png")
    scene(5, 128, 96).save(tmp_path / "tall.png")
    assert not scan_folders([str(tmp_path)]).copies


def test_builtin_photographs_of_one_scene_and_pairs_are_no_copies(tmp_path: Path) -> None:
    data = DataSettings()
    assert len(report(usable_source(data, 3, 64), data)) == 1
    for part in ("source", "target"):
        (tmp_path / part).mkdir()
        for number in range(3):
            scene(number).save(tmp_path / part / f"{number}.png")
    assert not scan_folders([str(tmp_path)]).copies


def test_thumbnails_are_remembered_by_content(tmp_path: Path, monkeypatch) -> None:
    for number in range(3):
        scene(number).save(tmp_path / f"{number}.png")
    scan_folders([str(tmp_path)])
    monkeypatch.setattr(copies, "thumbnail", None)
    assert not scan_folders([str(tmp_path)]).copies
    scene(0).save(tmp_path / "new.webp", lossless=True)
    with pytest.raises(TypeError):
        scan_folders([str(tmp_path)])


def test_strict_refuses_what_is_converted_skipped_or_a_copy(
    settings: Settings, folder: Path
) -> None:
    given = settings(strict=True)
    assert prepare_data("images", given, 1, 0) == prepare_data("images", settings(), 1, 0)
    Image.open(folder / "p3.png").save(folder / "copy.png")
    Image.new("LA", (64, 64)).save(folder / "alpha.png")
    Image.new("L", (64, 64)).save(folder / "a.gif")
    with pytest.raises(SettingsError) as caught:
        prepare_data("images", given, 1, 0)
    for said in (
        "data.strict = true", "converted: 1 × alpha dropped (alpha.png)",
        "skipped: 1 × of a format that is not read (a.gif)", "look alike: 1 × two images",
    ):  # fmt: skip
        assert said in str(caught.value)
    assert prepare_data("images", settings(), 1, 0).num_images == 9


def test_the_option_is_the_setting() -> None:
    assert configure(CliOptions(strict=True))[1].data.strict
    assert not configure(CliOptions())[1].data.strict


@pytest.mark.slow
def test_169_megapixels_take_less_than_a_gigabyte_to_scan(tmp_path: Path) -> None:
    Image.new("RGB", (13000, 13000), (9, 99, 199)).save(tmp_path / "large.png")
    code = (
        "from ganforge.commands.cli import main\n"
        f"try: main(['scan', {str(tmp_path)!r}])\n"
        "except SystemExit as stop: assert not stop.code\n"
        # not getrusage: that one remembers the process that forked this one
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "used          1 images" in done.stdout
    assert "1 images of more than 40 megapixels were not compared" in done.stdout
    assert int(done.stdout.split()[-1]) < 700_000, done.stdout


def test_the_digits_have_no_files_to_compare() -> None:
    data = DataSettings(source="digits")
    source = find_source(data)
    assert report(usable_source(data, 1, 32), data) == [f"images        {len(source.images)} used"]


def test_the_line_stands_before_the_settings_of_a_dry_run(mixed: Path, capsys) -> None:
    start = ["train", "wgan_gp", "--data", str(mixed), "--dry-run"]
    with pytest.raises(SystemExit):
        main([*start, "--set", "data.smaller=enlarge"])
    shown = capsys.readouterr()
    assert shown.err.startswith("images        8 used; converted: ")
    assert shown.out.startswith("{")
    with pytest.raises(SystemExit) as stopped:
        main([*start, "--set", "data.smaller=enlarge", "--strict"])
    shown = capsys.readouterr()
    assert stopped.value.code == 2 and not shown.out
    assert shown.err.startswith("error: data.strict = true: ")
    assert "  converted: 1 × alpha dropped (alpha.png)\n" in shown.err
