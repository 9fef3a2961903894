"""Systems from image to image: specification, searches, SRGAN's pixel stage."""

import re
from pathlib import Path

from shown.command import SHARED, Check, Failed, ganforge, pytest_file, reproductions, searches

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


CHECKS = {
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
