"""A run stored by an earlier commit continues under the present code, by replay.

    python tests/old_run.py CHECKOUT

CHECKOUT is a working copy of the earlier commit. Its code trains a tiny run whole, and once more
into the middle of the second stage; the present code continues the second, and must end in the
hashes of the first. Then the same with a changed loss, which must be refused. The exit code is 1
where one of them does not come out so.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parents[1]

#: Run by the code of both commits: trains until `left` reports have come, or to the end. With
#: `loss` the gradient penalty is another one.
TRAIN = """
import logging, sys
from ganforge.settings import SettingsError, override
from ganforge.systems import progressive_gan_sr as system
from ganforge.systems.settings import ladder
from ganforge.training.prepare import prepare
from ganforge.training.run import run
logging.basicConfig(level=logging.WARNING, format="%(message)s")
store, images, left, resume, loss = *sys.argv[1:3], int(sys.argv[3]), sys.argv[4], sys.argv[5]
changes = {
    "width": 4, "batch_size": 4, "shards": 2, "images_per_epoch": 12, "data.root": images,
    "data.view": "crop", "validation.sliced_wasserstein": False, "critic_steps": 2,
    "reports_per_stage": 3, "device": "cpu", "perceptual.network": "none",
    "stages": ladder(4, 16, epochs=2, fade_epochs=1),
}
if loss == "other":
    real = system.gradient_penalty
    system.gradient_penalty = lambda *given: 1.5 * real(*given)
prepared = prepare("progressive_gan_sr", override(system.Settings(), changes))
try:
    for number, report in enumerate(run(prepared, store=store, resume=resume == "resume"), 1):
        if number == left:
            break
except SettingsError as error:
    print(error)
    sys.exit(3)
"""


def draw_images(folder: Path) -> Path:
    """Six images of smooth noise."""
    draw = np.random.default_rng(0)
    folder.mkdir()
    for number in range(6):
        small = draw.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize((48, 48)).save(folder / f"{number}.png")
    return folder


def train(
    code: Path, store: Path, images: Path, *, left: int = 0, resume: str = "new", loss: str = "same"
) -> tuple[int, str]:
    """Train with the code of a checkout in a process of its own; its exit code and output."""
    environment = os.environ | {"PYTHONPATH": str(code / "platform"), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", TRAIN, str(store), str(images), str(left), resume, loss]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def end_hashes(store: Path) -> dict[str, str]:
    """The hashes of the newest stored stage's end, as its manifest has them."""
    newest = max(path for path in store.iterdir() if path.name[:3].isdigit())
    row = json.loads((newest / "manifest.json").read_text())["stages"][-1]
    return {key: value for key, value in row.items() if key.endswith("_sha256")}


def main(checkout: Path) -> bool:
    """Whether everything came out as it must."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        images = draw_images(folder / "images")
        for name, left in (("whole", 0), ("cut", 6), ("loss", 6)):
            code, output = train(checkout, folder / name, images, left=left)
            if code:
                print(output)
                return False
        code, output = train(HERE, folder / "cut", images, resume="resume")
        equal = code == 0 and end_hashes(folder / "cut") == end_hashes(folder / "whole")
        print(f"continued by replay: {'equal' if equal else 'DIFFERENT'}\n{output[:600]}")
        code, output = train(HERE, folder / "loss", images, resume="resume", loss="other")
        refused = code == 3 and "gives other bits" in output
        print(f"a changed loss: {'refused' if refused else 'NOT refused'}\n{output[:900]}")
    words = ("equal" if equal else "DIFFERENT", "refused" if refused else "NOT refused")
    print(f"continued by replay: {words[0]}; with a changed loss: {words[1]}")
    return equal and refused


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/old_run.py CHECKOUT")
    sys.exit(0 if main(Path(sys.argv[1]).resolve()) else 1)
