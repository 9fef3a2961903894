"""Figures of sets against closed forms, other libraries and themselves in another deal of work."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganforge.data.batch import Batch
from ganforge.metrics.features import (
    InceptionFeatures,
    RandomFeatures,
    resolve_features,
)
from ganforge.metrics.fid_kid import (
    Distances,
    diversity,
    frechet_distance,
    kernel_distance,
    moments,
)
from ganforge.metrics.ms_ssim import Diversity, ms_ssim, num_scales
from ganforge.metrics.set_metrics import chosen
from ganforge.metrics.swd import SlicedWasserstein
from ganforge.schedule import Progress, Stage
from ganforge.settings import SettingsError, override
from ganforge.systems.base import System
from ganforge.systems.settings import SystemSettings
from ganforge.training.measure import draw_samples, validate
from ganforge.training.multiprocess import run_multiprocess
from ganforge.training.workers import Workers


def blobs(count: int, side: int, seed: int, channels: int = 3) -> Tensor:
    """Smooth images in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 6, 6, generator=generator) * 2 - 1
    return F.interpolate(coarse, (side, side), mode="bilinear")


def test_frechet_distance_of_two_gaussians_in_one_dimension():
    first = (torch.tensor([1.5]).double(), torch.tensor([[4.0]]).double())
    second = (torch.tensor([-0.5]).double(), torch.tensor([[9.0]]).double())
    # (m1 - m2)² + (s1 - s2)²
    assert frechet_distance(first, second) == pytest.approx(2.0**2 + (2 - 3) ** 2, abs=1e-12)


def test_frechet_distance_of_gaussians_that_commute():
    draws = torch.Generator().manual_seed(0)
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=draws))
    one = torch.tensor([0.1, 1.0, 2.0, 3.0, 0.0], dtype=torch.float64)
    two = torch.tensor([0.5, 0.0, 1.0, 4.0, 0.2], dtype=torch.float64)
    mean = torch.randn(5, dtype=torch.float64, generator=draws)
    covariances = [rotation @ torch.diag(values) @ rotation.T for values in (one, two)]
    expected = mean.square().sum() + (one.sqrt() - two.sqrt()).square().sum()
    found = frechet_distance((mean, covariances[0]), (torch.zeros_like(mean), covariances[1]))
    assert found == pytest.approx(expected.item(), abs=1e-7)


def test_frechet_distance_agrees_with_the_root_of_a_full_matrix():
    scipy = pytest.importorskip("scipy.linalg")
    first, second = (torch.randn(400, 6, dtype=torch.float64) for _ in range(2))
    second = second @ torch.randn(6, 6, dtype=torch.float64) + 1
    (m1, c1), (m2, c2) = moments(first), moments(second)
    root = torch.from_numpy(scipy.sqrtm((c1 @ c2).numpy()).real)
    expected = (m1 - m2).square().sum() + (c1 + c2 - 2 * root).trace()
    assert frechet_distance((m1, c1), (m2, c2)) == pytest.approx(expected.item(), rel=1e-9)
    assert frechet_distance((m1, c1), (m1, c1)) == pytest.approx(0, abs=1e-9)
    torch.testing.assert_close(c1, torch.cov(first.T))


def test_kernel_distance_by_hand():
    first = torch.tensor([[0.0, 2.0], [1.0, -1.0], [3.0, 0.5]])
    second = torch.tensor([[1.0, 1.0], [0.0, -2.0]])

    def kernel(a, b):
        return (sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True)) / 2 + 1) ** 3

    among_first = [kernel(a, b) for i, a in enumerate(first) for j, b in enumerate(first) if i != j]
    among_second = [kernel(second[0], second[1])]
    across = [kernel(a, b) for a in first for b in second]
    expected = sum(among_first) / 6 + among_second[0] - 2 * sum(across) / 6
    assert kernel_distance(first, second) == pytest.approx(expected, abs=1e-12)


def test_kernel_distance_is_unbiased():
    generator = torch.Generator().manual_seed(0)
    found = [
        kernel_distance(*torch.randn(2, 20, 3, generator=generator).unbind()) for _ in range(400)
    ]
    mean = sum(found) / 400
    spread = (sum((value - mean) ** 2 for value in found) / 399) ** 0.5
    assert abs(mean) < 4 * spread / 20  # equal laws: the mean of the estimates is 0
    assert min(found) < 0


def plain_ms_ssim(first: Tensor, second: Tensor, weights: list[float]) -> float:
    """The published formula on one image, with a whole two-dimensional window."""
    at = torch.arange(11, dtype=torch.float64) - 5
    line = torch.exp(-at.square() / (2 * 1.5**2))
    window = torch.outer(line, line)[None, None] / line.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    x, y = (((image.double() + 1) * 127.5)[:, None] for image in (first, second))
    result = 1.0
    for scale, weight in enumerate(weights):
        mx, my, xx, yy, xy = (F.conv2d(v, window) for v in (x, y, x * x, y * y, x * y))
        term = (2 * (xy - mx * my) + c2) / (xx - mx**2 + yy - my**2 + c2)
        if scale == len(weights) - 1:
            term = term * (2 * mx * my + c1) / (mx**2 + my**2 + c1)
        result *= max(0.0, term.mean().item()) ** weight
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return result


@pytest.mark.parametrize(("side", "scales"), [(176, 5), (200, 5), (64, 3), (32, 2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_ms_ssim_is_the_published_formula(side: int, scales: int, channels: int):
    first = blobs(2, side, 0, channels)
    second = (first + 0.2 * torch.randn(first.shape)).clamp(-1, 1)
    weights = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333][:scales]
    if scales < 5:
        weights = [weight / sum(weights) for weight in weights]
    found = ms_ssim(first, second)
    for number in range(2):
        expected = plain_ms_ssim(first[number], second[number], weights)
        assert found[number].item() == pytest.approx(expected, abs=1e-10)


def test_ms_ssim_of_one_scale_is_ssim():
    skimage = pytest.importorskip("skimage.metrics")
    grey = blobs(1, 20, 0, channels=1)
    pair = grey, (grey + 0.2 * torch.randn(grey.shape)).clamp(-1, 1)
    first, second = (((one + 1) * 127.5).double().numpy()[0, 0] for one in pair)
    _, whole = skimage.structural_similarity(
        first, second, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        data_range=255, full=True,
    )  # fmt: skip
    expected = whole[5:-5, 5:-5].mean()
    found = ms_ssim(*pair).item()
    assert found == pytest.approx(max(0, expected), abs=1e-7)
    assert found > 0


def test_small_images_have_fewer_scales():
    assert [num_scales(side) for side in (10, 11, 21, 22, 44, 88, 175, 176, 1024)] == [
        0, 1, 1, 2, 3, 4, 4, 5, 5,
    ]  # fmt: skip
    first = blobs(1, 32, 0)
    torch.testing.assert_close(ms_ssim(first, first), torch.ones(1, dtype=torch.float64))
    with pytest.raises(ValueError, match="at least 11"):
        ms_ssim(first[..., :8, :8], first[..., :8, :8])


def test_diversity_is_the_mean_over_neighbours_and_1_of_equal_images():
    measure, index = Diversity(), torch.arange(4)
    real, equal = blobs(4, 32, 0), blobs(1, 32, 1).expand(4, -1, -1, -1)
    found = measure.compare([measure.describe(real, index)], [measure.describe(equal, index)])
    pairs = [ms_ssim(real[n : n + 1], real[n + 1 : n + 2]).item() for n in range(3)]
    assert found["ms_ssim"] == pytest.approx(1)
    assert found["ms_ssim_real"] == pytest.approx(sum(pairs) / 3)
    tiny = torch.zeros(4, 3, 8, 8)
    assert measure.compare([measure.describe(tiny, index)], [measure.describe(tiny, index)]) == {}


def test_proxies_order_sets_as_people_would():
    measure, index = Distances(RandomFeatures(), ("fid", "kid"), "_proxy"), torch.arange(64)
    real, again = blobs(64, 48, 0), blobs(64, 48, 1)
    noisy = (again + 0.3 * torch.randn(again.shape)).clamp(-1, 1)
    noise = torch.rand(again.shape) * 2 - 1
    collapsed = again[:1].expand(64, -1, -1, -1)
    described = [measure.describe(images, index) for images in (real, again, noisy, noise)]
    figures = [measure.compare([described[0]], [other]) for other in described[1:]]
    for name in ("fid_proxy", "kid_proxy"):
        alike, noisier, worst = (figure[name] for figure in figures)
        assert alike < noisier < worst
        one = measure.compare([described[0]], [measure.describe(collapsed, index)])[name]
        assert one > 2 * alike
    assert set(figures[0]) == {"fid_proxy", "kid_proxy"}
    assert measure.compare([described[0][:1]], [described[1][:1]]) == {}


def test_the_random_network_is_the_same_each_time_and_takes_grey_images():
    grey = blobs(3, 40, 0, channels=1)
    index = torch.arange(3)
    one, other = (Distances(RandomFeatures(), ("fid",)).describe(grey, index) for _ in range(2))
    assert torch.equal(one, other) and one.shape == (3, 128)
    # drawn on the CPU from one seed: these values hold on every machine
    assert RandomFeatures().weights[0].flatten()[:3].tolist() == pytest.approx(FIRST, abs=1e-6)


FIRST = [0.11619548499584198, -0.013150510378181934, -0.36345505714416504]


def test_inception_is_used_where_its_file_is_here(tmp_path: Path, monkeypatch):
    from torchvision.models import Inception_V3_Weights, inception_v3

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert resolve_features("auto") == ("proxy", {})
    assert resolve_features("none") == ("none", {})
    torch.manual_seed(0)
    network = inception_v3(weights=None, init_weights=False)
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.save(network.state_dict(), checkpoints / "inception_v3_google-0cc3c7bd.pth")
    assert Inception_V3_Weights.IMAGENET1K_V1.url.endswith("inception_v3_google-0cc3c7bd.pth")
    name, assets = resolve_features("auto")
    assert name.startswith("sha256:") and set(assets) == {name}
    assert resolve_features(name)[0] == name  # by its hash, from the cache
    assert resolve_features("sha256:" + "0" * 64) == ("proxy", {})
    images = blobs(2, 299, 0)
    found = InceptionFeatures(assets[name])(images)
    network.eval()
    network.fc = nn.Identity()  # pyright: ignore
    torch.testing.assert_close(found, network(images))
    settings = override(SystemSettings(), {"validation.fid_network": name})
    kinds = [type(measure).__name__ for measure in chosen(("fid",), settings, 0, assets)]
    assert kinds == ["Distances", "Distances"]


def test_inception_that_cannot_be_fetched_is_one_clear_error(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    # a file cut short: its hash is wrong, so it is fetched anew from an address nobody answers
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(SettingsError, match=r"fid_network = inception: .* are unavailable"):
        resolve_features("inception")


def test_diversity_is_a_ratio_of_distances():
    """Features drawn together to a c-th around any point are a c-th as far from each other."""
    real = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    assert diversity(real, real) == pytest.approx(1)
    assert diversity(real, 0.25 * real + 3) == pytest.approx(0.25)
    assert diversity(real, real[:1].expand(5, 8)) == 0
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 8.0]])  # 5, 8 and 5 apart
    line = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    assert diversity(points, line) == pytest.approx(1 / 6)
    assert math.isnan(diversity(line[:1].expand(2, 2), line))


def test_images_that_are_alike_are_told_from_images_that_vary():
    measure, index = Distances(RandomFeatures(), ("diversity",), "_proxy"), torch.arange(8)
    varied = [
        torch.cat([blobs(1, 32, seed) for seed in range(start, start + 8)]) for start in (0, 50)
    ]
    alike = varied[0][:1] + 0.01 * varied[1]
    real, other, collapsed = (measure.describe(images, index) for images in (*varied, alike))
    assert measure.compare([real], [other])["diversity_proxy"] > 0.5
    assert measure.compare([real], [collapsed])["diversity_proxy"] < 0.1


def test_unknown_figures_are_named():
    with pytest.raises(
        ValueError, match="unknown 'lpips'; there are swd, ms_ssim, fid, kid, diversity"
    ):
        chosen(("swd", "lpips"), SystemSettings(), 0, {})


def test_four_pixels_have_a_sliced_wasserstein_distance():
    measure, index = SlicedWasserstein(0), torch.arange(8)
    real = torch.randn(8, 3, 4, 4).clamp(-1, 1)
    described = [measure.describe(images, index) for images in (real, real, -real)]
    assert measure.compare(described[:1], described[1:2])["swd"] == 0
    assert measure.compare(described[:1], described[2:])["swd"] > 0


class Painter(System):
    """Paints images that are a function of their numbers."""

    set_metrics = ("swd", "ms_ssim", "fid", "kid")
    sample_titles = ("generated", "real")

    def sample(self, batch, progress):
        return [self.generated(batch, progress), batch.target]

    def generated(self, batch, progress):
        return torch.cat([blobs(1, batch.target.shape[-1], int(n)) for n in batch.index])

    def validate(self, batch, progress):
        return {"mean": batch.target.mean(dim=(1, 2, 3))}

    def strips(self, progress):
        return blobs(6, 16, 3).reshape(2, 3, 3, 16, 16)


class Held:
    """41 held-out images in three chunks."""

    num_validation = 3

    def validation(self, index, number):
        here = range(16 * number, min(16 * number + 16, 41))
        target = torch.cat([blobs(1, 32, 1000 + n) for n in here])
        return Batch(target, index=torch.tensor(here))


def measured(rank: int, world: int, step: int) -> dict[str, float]:
    settings = SystemSettings()
    stage = Stage(32, 64, 0, 8, 4)
    progress = Progress(0, stage, step, settings, False, torch.tensor(1.0))
    return validate(Painter(settings, {}), Held(), Workers(rank, world), progress, 5)  # pyright: ignore


@pytest.mark.parametrize("world", [3, pytest.param(2, marks=pytest.mark.slow)])
def test_any_number_of_workers_measures_the_same_bits(world: int):
    (alone,) = run_multiprocess(1, measured, 8)
    for found in run_multiprocess(world, measured, 8):
        assert found == alone
    names = {"mean", "swd", "swd_level0", "swd_level1", "ms_ssim", "ms_ssim_real"}
    assert set(alone) == {f"validation/{n}" for n in names | {"fid_proxy", "kid_proxy"}}
    means = [blobs(1, 32, 1000 + n).mean().double().item() for n in range(41)]
    assert alone["validation/mean"] == pytest.approx(math.fsum(means) / 41, abs=1e-6)


def test_right_after_a_growth_sets_are_not_compared():
    assert set(measured(0, 1, 0)) == {"validation/mean"}


def test_a_system_without_a_source_shows_sheets_and_strips():
    settings = SystemSettings()
    progress = Progress(0, Stage(32, 64, 0, 8, 4), 8, settings, False, torch.tensor(1.0))
    grid, extra = draw_samples(Painter(settings, {}), Held().validation(0, 0), progress)
    assert grid.dtype == torch.uint8 and grid.shape[2] == 3
    assert grid.shape[1] > grid.shape[0]  # two sheets side by side
    assert set(extra) == {"samples/interpolation"}
