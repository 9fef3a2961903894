"""MLflow: the comparison, the spool, complaints, the model in use, benchmarks."""

import re
from pathlib import Path

from shown.command import SHARED, Check, Failed, ganforge, pytest_file, script


def comparison(folder: Path) -> str:
    """Issue 4.1: a real browser opens the address that a real search printed."""
    text = pytest_file("-m", "browser", "tests/cluster/test_browser.py", seconds=480)(folder)
    if "skipped" in text:
        raise Failed("no chromium found")
    return text


def spool(folder: Path) -> str:
    """Issue 4.3: enqueue, burst, drain beside bare log_batch, everything read back."""
    return script("tests/benchmarks/outbox.py", seconds=900)(folder)


def benchmarks(folder: Path) -> str:
    """Issue 4.6: bicubic enlargement of the standard low-resolution files."""
    found = []
    for name, psnr, ssim in (("Set5", 33.67, 0.930), ("Set14", 30.23, None)):
        place = str(SHARED / f"data/benchmarks/{name}/x2")
        text = ganforge(folder, "evaluate", "--benchmark", place, seconds=300)
        row = next(line for line in text.splitlines() if "mean" in line)
        a, b = (float(n) for n in re.findall(r"\d+\.\d+", row))
        if abs(a - psnr) > 0.03 or (ssim is not None and abs(b - ssim) > 0.002):
            raise Failed(f"{name}: {a} dB, SSIM {b}")
        found.append(f"{name} {a:.2f} dB, SSIM {b:.4f}")
    return "; ".join(found)


CHECKS = {
    "comparison": Check("4.1: the printed address in a real browser", comparison),
    "server-down": Check(
        "4.2: the server dead for 60 s, and for good",
        script("tests/stress/server_down.py", seconds=1800),
    ),
    "spool": Check("4.3: enqueue, burst, drain, read back", spool),
    "complaints": Check(
        "4.4, 4.7: kills; the known complaints",
        pytest_file(
            "--override-ini",
            "addopts=",
            "tests/cluster/test_complaints.py",
            "tests/tracking/test_deaths.py",
            seconds=1500,
        ),
    ),
    "served": Check(
        "4.5: serve, ONNX, torch.export, tiles",
        pytest_file(
            "-m",
            "slow or not slow",
            "tests/tracking/test_registry.py",
            "tests/inference/test_tiles.py",
            "tests/test_reach.py",
            seconds=1500,
        ),
    ),
    "bicubic": Check("4.6: bicubic on Set5 and Set14 ×2", benchmarks),
}
