"""Upscaling one image at a time, and benchmark folders with their standard metrics."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor, nn

from ganforge.inference.benchmark import (
    ImageMetrics,
    benchmark_scale,
    evaluate_benchmark,
    means,
    table,
)
from ganforge.inference.tiles import upscale
from ganforge.layers import upsample_bicubic, upsample_nearest
from ganforge.metrics import efflite0
from ganforge.settings import SettingsError

SHARED = Path(os.environ.get("GANFORGE_SHARED", Path(__file__).parents[3] / "shared"))
BENCHMARKS = SHARED / "data" / "benchmarks"


class Enlarge(nn.Module):
    """Bicubic enlargement that keeps the shapes it is given, with dropout as a trap."""

    def __init__(self, scale: int = 2):
        super().__init__()
        self.scale = scale
        self.shapes: list[tuple[int, ...]] = []
        self.dropout = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        self.shapes.append(tuple(images.shape))
        return self.dropout(upsample_bicubic(images, self.scale))


class Nearest(nn.Module):
    """Nearest-neighbour enlargement in float64, with a parameter and a tint of the channels."""

    def __init__(self):
        super().__init__()
        self.tint = nn.Parameter(torch.tensor([0.1, 0.0, -0.1], dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        return upsample_nearest(images) + self.tint.reshape(3, 1, 1)


def save(path: Path, height: int, width: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).convert(mode)
    image.save(path)
    return image


@pytest.fixture(autouse=True)
def without_perceptual_figures(monkeypatch):
    """They are slow on large images; tests/metrics/test_efflite0.py is theirs."""
    monkeypatch.setattr(efflite0, "network", lambda: None)


def benchmark(folder: Path, *, extra: int = 0, mode: str = "RGB") -> Path:
    for seed, name in enumerate(("b.png", "a.png")):
        save(folder / "HR" / name, 40 + extra, 48 + extra, mode, seed)
        save(folder / "LR" / name, 20, 24, mode, seed)
    return folder


def test_upscale_takes_one_image_at_a_time_in_evaluation_mode():
    network = Enlarge()
    images = torch.rand(3, 3, 12, 10) - 0.5
    many = upscale(network, images)
    assert many.shape == (3, 3, 24, 20)
    assert network.shapes == [(1, 3, 12, 10)] * 3
    assert torch.equal(upscale(network, images[1]), many[1])
    assert torch.allclose(many, upsample_bicubic(images), atol=1e-6)


def test_upscale_follows_the_network_and_returns_float32_in_range():
    network = Nearest()
    made = upscale(network, torch.full((3, 4, 4), 0.95))
    assert made.dtype == torch.float32
    assert not made.requires_grad
    expected = torch.tensor([1.0, 0.95, 0.85])
    assert torch.allclose(made.mean(dim=(1, 2)), expected)


@pytest.mark.parametrize("shape", [(4, 4), (0, 3, 4, 4), (1, 1, 3, 4, 4)])
def test_upscale_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"\(C, H, W\) or|N is 0"):
        upscale(Enlarge(), torch.zeros(shape))


@pytest.mark.parametrize("extra", [0, 1])
def test_a_bicubic_network_has_the_bicubic_metrics(tmp_path, extra):
    rows = evaluate_benchmark(Enlarge(), benchmark(tmp_path, extra=extra), 2)
    assert [row.name for row in rows] == ["a.png", "b.png"]
    for row in rows:
        assert row.psnr == pytest.approx(row.psnr_bicubic, abs=1e-9)
        assert row.ssim == pytest.approx(row.ssim_bicubic, abs=1e-9)


def test_a_grey_image_is_measured_on_its_own_scale(tmp_path):
    target = save(tmp_path / "HR" / "grey.png", 40, 48, "L")
    source = save(tmp_path / "LR" / "grey.png", 20, 24, "L", seed=1)
    (row,) = evaluate_benchmark(Nearest(), tmp_path, 2)
    large = source.resize((48, 40), Image.Resampling.NEAREST)
    # The tints clip at black and white; the mean of the channels is taken before rounding.
    levels = np.asarray(large, dtype=np.float64)[..., None] + np.array([12.75, 0, -12.75])
    made = levels.clip(0, 255).mean(axis=2).round()
    error = (made - np.asarray(target, dtype=np.float64))[2:-2, 2:-2]
    assert row.psnr == pytest.approx(10 * np.log10(255**2 / np.mean(error**2)), abs=0.01)


def test_colour_sources_of_grey_targets_and_other_file_kinds_are_read(tmp_path):
    for name, high, low in (("a.png", "L", "RGB"), ("b.png", "RGB", "L"), ("c.png", "P", "RGBA")):
        save(tmp_path / "HR" / name, 40, 48, high)
        save(tmp_path / "LR" / name, 20, 24, low)
    (tmp_path / "HR" / ".DS_Store").write_bytes(b"")
    (tmp_path / "LR" / "readme.txt").write_text("not an image")
    assert len(evaluate_benchmark(Enlarge(), tmp_path, 2)) == 3


def test_names_pair_as_data_sets_have_them(tmp_path):
    """DIV2K has 0801.png and 0801x2.png; endings differ; macOS leaves ._ files behind."""
    save(tmp_path / "HR" / "0801.png", 40, 48)
    save(tmp_path / "LR" / "0801x2.png", 20, 24)
    save(tmp_path / "HR" / "b.png", 40, 48)
    save(tmp_path / "LR" / "b.jpg", 20, 24)
    save(tmp_path / "HR" / "box2.png", 40, 48)  # a name of its own
    save(tmp_path / "LR" / "box2.png", 20, 24)
    for part in ("HR", "LR"):
        (tmp_path / part / "._b.png").write_bytes(b"\0\5\x16\7")
    rows = evaluate_benchmark(Enlarge(), tmp_path, 2)
    assert [row.name for row in rows] == ["0801.png", "b.png", "box2.png"]


@pytest.mark.parametrize(
    ("high", "low", "message"),
    [
        (("a.png", "a.jpg"), ("a.bmp",), r"LR/a\.bmp pairs with HR/a\.\w+ and with HR/a\."),
        (("a.png",), ("ax2.png", "ax4.png"), r"HR/a\.png pairs with LR/ax2\.png and with LR/ax4"),
        (("a.png",), ("a.png", "a.jpg"), r"HR/a\.png pairs with LR/a\.\w+ and with LR/a"),
        (("a.png", "b.png"), ("a.png", "c.png"), r"2 images .*LR/c\.png, HR/b\.png"),
    ],
)
def test_pairs_that_are_not_sure_are_refused(tmp_path, high, low, message):
    for name in high:
        save(tmp_path / "HR" / name, 40, 48)
    for name in low:
        save(tmp_path / "LR" / name, 20, 24)
    with pytest.raises(SettingsError, match=message):
        evaluate_benchmark(Enlarge(), tmp_path, 2)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("rounding", ["up", "down"])
def test_the_scale_is_found_where_sides_were_rounded(tmp_path, scale, rounding):
    for name, height, width in (("a.png", 50, 47), ("b.png", 65, 53)):
        save(tmp_path / "HR" / name, height, width)
        low = [(side + (scale - 1 if rounding == "up" else 0)) // scale for side in (height, width)]
        save(tmp_path / "LR" / name, *low)
    assert benchmark_scale(tmp_path) == scale
    if rounding == "down":
        assert len(evaluate_benchmark(None, tmp_path, scale)) == 2
        return
    with pytest.raises(SettingsError, match=f"scale = {scale} .*LR sides were rounded up: cut the"):
        evaluate_benchmark(None, tmp_path, scale)


def test_what_grey_stored_as_rgb_changes_is_printed_with_the_figure(tmp_path):
    grey = save(tmp_path / "one" / "HR" / "g[b].png", 40, 48, "L")
    small = save(tmp_path / "one" / "LR" / "g[b].png", 20, 24, "L", seed=1)
    for part, image in (("HR", grey), ("LR", small)):
        (tmp_path / "three" / part).mkdir(parents=True)
        image.convert("RGB").save(tmp_path / "three" / part / "g[b].png")
    (one,) = evaluate_benchmark(None, tmp_path / "one", 2)
    (three,) = evaluate_benchmark(None, tmp_path / "three", 2)
    assert (one.measured_on, three.measured_on) == ("grey", "grey as luma")
    assert three.psnr - one.psnr == pytest.approx(1.32, abs=0.005)
    for row, words in ((one, "be about 1.32 dB higher"), (three, "about 1.32 dB lower")):
        console = Console(file=io.StringIO(), width=120)
        console.print(table([row], "Set"))
        assert isinstance(console.file, io.StringIO)
        text = " ".join(console.file.getvalue().split())
        assert words in text and text.count("g[b].png") == 2


def test_an_image_that_fails_is_listed_and_the_others_are_measured(tmp_path):
    folder = benchmark(tmp_path)
    (folder / "LR" / "a.png").write_bytes(b"\x89PNG broken")
    failed: list[str] = []
    rows = evaluate_benchmark(Enlarge(), folder, 2, failed=failed)
    assert [row.name for row in rows] == ["b.png"]
    assert len(failed) == 1 and "a.png" in failed[0]


def test_a_large_image_is_weighed_before_it_is_used(tmp_path, monkeypatch):
    import ganforge.inference.tiles as tiles

    folder = benchmark(tmp_path)
    monkeypatch.setattr("ganforge.inference.benchmark._LARGE_PIXELS", 100)
    monkeypatch.setattr(tiles, "memory_bytes", lambda device: 1000)
    with pytest.raises(SettingsError, match=r"more than half of the memory.*leave it out"):
        evaluate_benchmark(Enlarge(), folder, 2)


def test_means_and_table(tmp_path):
    rows = [ImageMetrics("a", 30.0, 0.9, 29.0, 0.8), ImageMetrics("b", 20.0, 0.5, 21.5, 0.6)]
    assert means(rows) == ImageMetrics("mean", 25.0, 0.7, 25.25, 0.7)
    console = Console(file=io.StringIO(), width=100)
    console.print(table(rows, "Set2 ×2"))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for part in ("Set2 ×2", "a ", "+1.00", "-1.50", "mean", "25.00", "-0.25", "0.7000"):
        assert part in text


def test_folders_with_mistakes_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="HR: no such folder"):
        evaluate_benchmark(Enlarge(), tmp_path, 2)
    (tmp_path / "HR").mkdir()
    with pytest.raises(SettingsError, match="LR: no such folder"):
        evaluate_benchmark(Enlarge(), tmp_path, 2)
    (tmp_path / "LR").mkdir()
    with pytest.raises(SettingsError, match="no images"):
        evaluate_benchmark(Enlarge(), tmp_path, 2)
    benchmark(tmp_path)
    save(tmp_path / "HR" / "lonely.png", 40, 48)
    with pytest.raises(SettingsError, match=r"1 images.*HR/lonely\.png"):
        evaluate_benchmark(Enlarge(), tmp_path, 2)


@pytest.mark.parametrize(
    ("high", "low", "message"),
    [
        ((42, 48), (20, 24), "HR 42 × 48, LR 20 × 24.*remainder below 2"),
        ((39, 48), (20, 24), "each HR side must be 2 times"),
        ((14, 48), (7, 24), "needs an HR side of 15"),
    ],
)
def test_wrong_sides_are_refused(tmp_path, high, low, message):
    save(tmp_path / "HR" / "a.png", *high)
    save(tmp_path / "LR" / "a.png", *low)
    with pytest.raises(SettingsError, match=f"a.png: .*{message}"):
        evaluate_benchmark(Enlarge(), tmp_path, 2)


def test_unreadable_files_and_networks_of_another_scale_are_refused(tmp_path):
    folder = benchmark(tmp_path)
    with pytest.raises(SettingsError, match=r"scale = 2 needs \(3, 40, 48\)"):
        evaluate_benchmark(Enlarge(4), folder, 2)
    deep = Image.fromarray(np.full((20, 24), 40_000, dtype=np.uint16))
    deep.save(folder / "LR" / "a.png")
    with pytest.raises(SettingsError, match="more than 8 bits"):
        evaluate_benchmark(Enlarge(), folder, 2)
    (folder / "LR" / "a.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(SettingsError, match=r"is cut short or is not one of PNG"):
        evaluate_benchmark(Enlarge(), folder, 2)


@pytest.mark.parametrize(
    ("name", "scale", "psnr", "ssim"),
    [
        ("Set5", 2, 33.67, 0.930),
        ("Set5", 4, 28.43, 0.811),
        ("Set14", 2, 30.23, 0.869),
        ("Set14", 4, 25.99, 0.703),
        ("BSD100", 4, 25.96, 0.668),
    ],
)
def test_bicubic_has_its_published_metrics(name, scale, psnr, ssim):
    folder = BENCHMARKS / name / f"x{scale}"
    if not folder.is_dir():
        pytest.skip(
            f"the benchmark images {name}/x{scale} are not in ../shared; set GANFORGE_SHARED"
        )
    mean = means(evaluate_benchmark(Enlarge(scale), folder, scale))
    assert mean.psnr_bicubic == pytest.approx(psnr, abs=0.03)
    assert mean.ssim_bicubic == pytest.approx(ssim, abs=0.002)
    assert mean.psnr == pytest.approx(mean.psnr_bicubic, abs=0.001)


def test_bicubic_alone_needs_no_model_and_finds_the_scale(tmp_path):
    folder = benchmark(tmp_path)
    assert benchmark_scale(folder) == 2
    rows = evaluate_benchmark(None, folder, 2)
    assert all((row.psnr, row.ssim) == (row.psnr_bicubic, row.ssim_bicubic) for row in rows)
    console = Console(file=io.StringIO(), width=100)
    console.print(table(rows, "Set2", bicubic_only=True))
    assert isinstance(console.file, io.StringIO)
    assert "gain" not in console.file.getvalue()


def test_a_network_of_one_channel_is_measured_on_luma(tmp_path):
    """Bicubic commutes with taking the luma but for the rounding of the two to 8 bits."""
    folder = benchmark(tmp_path)
    for path in (folder / "HR").iterdir():  # images so smooth that rounding would be their error
        noisy = np.random.default_rng(1).integers(-40, 40, (40, 48, 3)) + np.asarray(
            Image.open(path)
        )
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)
    network = Enlarge()
    grey = evaluate_benchmark(network, folder, 2, channels=1)
    assert set(network.shapes) == {(1, 1, 20, 24)}
    for one, three in zip(grey, evaluate_benchmark(None, folder, 2), strict=True):
        assert one.psnr == pytest.approx(one.psnr_bicubic, abs=1e-6)
        assert one.psnr_bicubic == pytest.approx(three.psnr_bicubic, abs=0.05)
