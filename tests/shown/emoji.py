"""Signs in two drawings: pairs, styles, categories and growing, on ../shared/data/emoji.

Each check makes its own data folder and trains on one core, with the settings that stand here.
Where GANFORGE_KEEP names a folder, the sheets that docs/gallery shows are left there.

noto: Google Noto emoji, Apache License 2.0. twemoji: Copyright Twitter and other contributors,
CC BY 4.0.
"""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from shown import categories, styles
from shown.command import SHARED, Check, Failed, ganforge

EMOJI = SHARED / "data/emoji"
SOURCE, TARGET = "twemoji", "noto"
#: of so many signs one is held out
EVERY = 10
#: of a sheet
MOST_BYTES = 150_000
#: categories that a small classifier tells apart
CATEGORIES = ("flags", "people_body", "smileys_emotion", "symbols")

COMMON = ("threads=1", "data.view=resize")
PAIRS = (
    "width=32",
    "discriminator_width=16",
    "batch_size=8",
    "images_per_epoch=1600",
    "l1_weight=100",
    "adversarial_weight=0.05",
    "average_decay=0.99",
    "generator.schedule.kind=cosine",
    "stages="
    + json.dumps(
        [
            {"resolution": 64, "epochs": 12, "task": "pixel"},
            {"resolution": 64, "epochs": 2, "overrides": {"generator.learning_rate": 2e-4}},
        ]
    ),
    "validation.root=held_out",
    "validation.images=200",
    "validation.fid_network=efflite0",
    "validation.sliced_wasserstein=false",
)
STYLES = (
    "width=16",
    "blocks=4",
    "discriminator_width=16",
    "images_per_epoch=550",
    "average_decay=0.995",
    "validation.root=held_out",
    "validation.images=16",
    'stages=[{"resolution": 64, "epochs": 6}]',
)
LABELS = (
    "channels=3",
    "num_classes=4",
    "features=32",
    "batch_size=64",
    "shards=4",
    "data.horizontal_flip=false",
    "gradient_penalty_sigma=0.1",
    "average_images=5000",
    "generator.schedule.kind=linear",
    "critic.schedule.kind=linear",
    "stages.0.epochs=60",
)
#: what grows: categories, and the images shown at 4, 8, 16, 32 and 64 px, of which half in a fade
GROWN = ("people_body", "smileys_emotion")
LENGTHS = (6000, 6000, 9000, 12000, 12000)
GROWING = (
    "latent_size=64",
    "width=32",
    "batch_size=16",
    "shards=2",
    "gradient_penalty_sigma=0.1",
    "generator.learning_rate=2e-3",
    "critic.learning_rate=2e-3",
    "average_images=2000",
    "data.horizontal_flip=false",
    "stages="
    + json.dumps(
        [
            {"resolution": 4 << n, "images": images, "fade_images": images // 2 if n else 0}
            for n, images in enumerate(LENGTHS)
        ]
    ),
)


def signs(categories: Sequence[str] = ("*",)) -> list[Path]:
    """CATEGORY/SIGN.png of every sign, the same in both drawings."""
    found = [path for name in categories for path in (EMOJI / TARGET).glob(f"{name}/*.png")]
    return sorted(path.relative_to(EMOJI / TARGET) for path in found)


def copied(signs: Sequence[Path], drawing: str, folder: Path) -> None:
    """Files CATEGORY_SIGN.png of one drawing."""
    folder.mkdir(parents=True)
    for sign in signs:
        shutil.copy(EMOJI / drawing / sign, folder / f"{sign.parent}_{sign.name}")


def by_category(folder: Path, names: Sequence[str]) -> Path:
    """A folder for each category, DRAWING-SIGN.png of both drawings."""
    for sign in signs(names):
        for drawing in (SOURCE, TARGET):
            path = folder / sign.parent / f"{drawing}-{sign.name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(EMOJI / drawing / sign, path)
    return folder


def trained(folder: Path, system: str, data: str, changes: Sequence[str], seconds: float) -> Any:
    """The result of `ganforge train --json` on one core."""
    words = ["train", system, "--preset", "quick", "--data", data, "--workers", "1", "--json"]
    for change in (*COMMON, *changes):
        words += ["--set", change]
    text = ganforge(folder, *words, seconds=seconds)
    document, _ = json.JSONDecoder().raw_decode(text[text.index('{\n  "schema"') :])
    return document["result"]


def psnr(made: Path, wanted: Path) -> float:
    """Mean over the files of `wanted`, of all channels, in dB."""
    found = []
    for path in sorted(wanted.glob("*.png")):
        pair = [Image.open(one).convert("RGB") for one in (made / path.name, path)]
        first, second = (np.asarray(image).astype(np.float64) for image in pair)
        found.append(10 * np.log10(255**2 / max(((first - second) ** 2).mean(), 1e-9)))
    return float(np.mean(found))


def pairs(folder: Path) -> str:
    """Issue 15.6: held-out signs, drawn by Pix2Pix, are nearer to the target than the source is."""
    for part, kept in (("held_out", True), ("signs", False)):
        chosen = [sign for n, sign in enumerate(signs()) if (n % EVERY == 0) == kept]
        copied(chosen, SOURCE, folder / part / "source")
        copied(chosen, TARGET, folder / part / "target")
    result = trained(folder, "pix2pix", "signs", PAIRS, seconds=3600)
    source, target = folder / "held_out/source", folder / "held_out/target"
    made = drawn(folder, result["run_id"], source)
    sheet(
        "pix2pix", [[part / path.name for path in shown(target)] for part in (source, made, target)]
    )
    copying, found = psnr(source, target), psnr(made, target)
    metrics = result["metrics"]
    far, farther = (metrics[f"validation/perceptual_efflite0{end}"] for end in ("", "_source"))
    said = (
        f"PSNR {found:.2f} dB (copying the source {copying:.2f}), perceptual_efflite0 {far:.4f} "
        f"(copying {farther:.4f}), {len(list(target.glob('*')))} held-out pairs"
    )
    if found <= copying or far >= farther:
        raise Failed(said)
    return said


def style(folder: Path) -> str:
    """Issue 15.6: CycleGAN, which sees no sign in both drawings, changes the style of held-out ones
    and keeps the sign."""
    chosen = [sign for n, sign in enumerate(signs()) if n % EVERY]
    copied(chosen[::2], SOURCE, folder / "signs/source")
    copied(chosen[1::2], TARGET, folder / "signs/target")
    for side, drawing in (("source", SOURCE), ("target", TARGET)):
        copied(signs()[::EVERY], drawing, folder / "held_out" / side)
    result = trained(folder, "cyclegan", "signs", STYLES, seconds=3600)
    source = folder / "held_out/source"
    made = drawn(folder, result["run_id"], source)
    rows = (source, made, folder / "held_out/target")
    sheet("cyclegan", [[part / path.name for path in shown(source)] for part in rows])
    verdict = styles.judge(folder, made)
    if verdict.held_out < 0.9 or verdict.after < 0.6 or verdict.same_sign < 0.6:
        raise Failed(str(verdict))
    return str(verdict)


def labels(folder: Path) -> str:
    """Issue 15.6: the Conditional GAN's samples carry the category asked for."""
    real = by_category(folder / "signs", CATEGORIES)
    result = trained(folder, "conditional_gan", "signs", LABELS, seconds=3600)
    words = ["sample", "--model", result["run_id"], "--count", "800", "--output", "made"]
    ganforge(folder, *words, seconds=300)
    made = [sorted((folder / "made").glob(f"*-{label}.png")) for label in range(len(CATEGORIES))]
    sheet("conditional_gan", [row[:20] for row in made])
    verdict = categories.judge(real, folder / "made")
    if verdict.held_out < 0.75 or verdict.asked < 0.6:
        raise Failed(str(verdict))
    return str(verdict)


def growing(folder: Path) -> str:
    """Issue 15.6: ProGAN through five sizes up to 64 px; most samples are taken for what it saw."""
    by_category(folder / "signs", GROWN)
    real = by_category(folder / "categories", CATEGORIES)
    result = trained(folder, "progan_a", "signs", GROWING, seconds=3600)
    words = ["sample", "--model", result["run_id"], "--count", "400", "--output", "made"]
    ganforge(folder, *words, seconds=300)
    made = sorted((folder / "made").glob("[0-9]*.png"))
    sheet("progan_a", [made[n : n + 10] for n in range(0, 40, 10)])
    parts, spread = categories.taken_for(real, folder / "made")
    sizes = [stage["resolution"] for stage in result["stages"]]
    distances = [stage["metrics"]["validation/fid_proxy"] for stage in result["stages"]]
    right = sum(parts[name] for name in GROWN)
    said = (
        f"sizes {sizes}, fid_proxy {', '.join(f'{value:.2f}' for value in distances)}; "
        f"{right:.1%} of the samples are taken for {' or '.join(GROWN)}, "
        f"spread {spread:.2f} of all four categories'"
    )
    if sizes != [4, 8, 16, 32, 64] or right < 0.75 or spread < 0.4:
        raise Failed(said)
    return said


def drawn(folder: Path, run_id: str, sources: Path) -> Path:
    """What a run's model makes of the images of a folder, under their names."""
    words = ["upscale", str(sources), "--model", run_id, "--output", "made"]
    ganforge(folder, *words, seconds=600)
    return folder / "made"


def shown(folder: Path) -> list[Path]:
    """Ten images from all parts of a folder."""
    paths = sorted(folder.glob("*.png"))
    return [paths[round((n + 0.5) * len(paths) / 10)] for n in range(10)]


def sheet(name: str, rows: Sequence[Sequence[Path]]) -> None:
    """Rows of images as emoji_NAME.jpg, each pixel as 2 × 2, where GANFORGE_KEEP names a folder."""
    if not (kept := os.environ.get("GANFORGE_KEEP")):
        return
    images: list[list[NDArray[Any]]] = [
        [np.asarray(Image.open(path).convert("RGB")) for path in row] for row in rows
    ]
    whole = np.concatenate([np.concatenate(row, axis=1) for row in images])
    image = Image.fromarray(whole.repeat(2, axis=0).repeat(2, axis=1))
    path = Path(kept) / f"emoji_{name}.jpg"
    for quality in (92, 85, 75, 65):
        image.save(path, quality=quality, subsampling=0)
        if path.stat().st_size <= MOST_BYTES:
            break


CHECKS = {
    "emoji-pairs": Check("15.6: Pix2Pix from one drawing of a sign to another", pairs),
    "emoji-styles": Check("15.6: CycleGAN from one drawing to another, without pairs", style),
    "emoji-growing": Check("15.6: ProGAN from 4 to 64 px", growing),
    "emoji-categories": Check("15.6: the Conditional GAN's categories", labels),
}
