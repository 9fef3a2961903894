"""Systems from noise to images: searches, what is learned, growing."""

import re
import shutil
from pathlib import Path

from shown.command import (
    PYTHON,
    ROOT,
    Check,
    Failed,
    ganforge,
    reproductions,
    run,
    run_named,
    searches,
)
from shown.digits import Verdict, judge

SEVEN = ("simple_gan", "dcgan", "wgan", "wgan_gp", "conditional_gan", "progan_a", "progan_t")


def learned(folder: Path, system: str, epochs: int, count: int) -> Verdict:
    """Train on the digits at 32 px, sample through the command line, and let the judge look."""
    words = ["train", system, "--preset", "quick", "--workers", "2", "--seed", "0"]
    words += ["--set", f"stages.0.epochs={epochs}", "--set", "stages.0.resolution=32"]
    text = ganforge(folder, *words, seconds=600)
    run_id = run_named(text)
    out = folder / f"{system}-samples"
    words = ["sample", "--model", run_id, "--count", str(count), "--output", str(out)]
    ganforge(folder, *words, "--grid", seconds=120)
    return judge(out)


def labels(folder: Path) -> str:
    """Issue 6.4: samples of the Conditional GAN carry the label asked for, and differ."""
    verdict = learned(folder, "conditional_gan", 30, 500)
    assert verdict.asked is not None
    if verdict.held_out < 0.95 or verdict.asked < 0.6 or verdict.spread < 0.5:
        raise Failed(str(verdict))
    return str(verdict)


def digits(folder: Path) -> str:
    """Issue 6.4: DCGAN's digits can be told apart, by two classifiers that learned differently."""
    verdict = learned(folder, "dcgan", 40, 500)
    if verdict.held_out < 0.95 or verdict.agree < 0.75 or verdict.classes < 8:
        raise Failed(str(verdict))
    return str(verdict)


def user_file(folder: Path) -> str:
    """Issue 6: a class in a file beside nobody's package is searched, sampled and reproduced."""
    shutil.copytree(ROOT / "tests/systems/user", folder, dirs_exist_ok=True)
    words = ["my_gan.py:MyGAN", "--preset", "quick", "--set", "images_per_epoch=256"]
    text = ganforge(folder, "tune", *words, "--trials", "2", seconds=300)
    named = re.search(r"reproduce --run (\w+)", text)
    if named is None:
        raise Failed(f"no run is named: {text[-300:]}")
    (folder / "my_gan.py").unlink()  # it is in the record
    ganforge(folder, "sample", "--model", named.group(1), "--count", "4", seconds=120)
    told = ganforge(folder, "reproduce", "--run", named.group(1), seconds=300)
    if "identical" not in told:
        raise Failed(told[-300:])
    return f"best trial sampled from and identical; {len(list(folder.glob('samples/*.png')))} PNG"


def growing(folder: Path) -> str:
    """Issue 6.5: one run through at least four sizes, with fades; a grid of each."""
    text = ganforge(folder, "train", "progan_a", "--preset", "quick", seconds=600)
    run_id = run_named(text)
    script = ROOT / "tests" / "shown" / "read_stages.py"
    told = run([PYTHON, str(script), f"sqlite:///{folder}/mlflow.db", run_id], folder, 60)
    return told.strip().splitlines()[-1]


CHECKS = {
    "noise-searches": Check(
        "6.3: two trials of each of the seven, 120 s each", searches(SEVEN, seconds=120)
    ),
    "user-file": Check("6: a system in a user's file, searched and reproduced", user_file),
    "noise-reproduced": Check("6: each of the seven trained again", reproductions(SEVEN)),
    "digits-labels": Check("6.4: labels and variety of the Conditional GAN's digits", labels),
    "digits": Check("6.4: DCGAN's digits are recognisable", digits),
    "growing": Check("6.5: ProGAN through four sizes and more in one run", growing),
}
