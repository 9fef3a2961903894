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
    with pytest.raises(SettingsError, match=r"is not one of PNG.*or is damaged"):
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
