"""A judge of generated signs by category, that has seen real drawings and nothing of this project.

python tests/shown/categories.py REAL SAMPLES     REAL has a folder of images for each category
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from shown.digits import Points, spread
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.svm import SVC

#: side of what the classifiers are shown
SIDE = 16


@dataclass(frozen=True)
class Verdict:
    """`held_out` and `second_held_out`: parts of the drawings of held-out signs that a classifier
    and a second one, which learns differently, get right; `asked` and `second_asked`: parts of the
    samples that carry the category asked for; `each`: the first one's, by category; `spread`: mean
    distance of pairs within a category by that of the real ones, the smallest of the categories."""

    held_out: float
    second_held_out: float
    asked: float
    second_asked: float
    each: dict[str, float]
    spread: float

    def __str__(self) -> str:
        each = ", ".join(f"{name} {part:.0%}" for name, part in self.each.items())
        return (
            f"classifier {self.held_out:.1%} on held-out real signs; {self.asked:.1%} of the "
            f"samples carry the category asked for ({each}); a second one "
            f"{self.second_held_out:.1%} and {self.second_asked:.1%}; spread within a category at "
            f"least {self.spread:.2f} of the real"
        )


def points(paths: Sequence[Path]) -> Points:
    """Images of any side as (n, SIDE² · 3) in [0, 1]."""
    size = (SIDE, SIDE)
    levels = [
        np.asarray(Image.open(path).convert("RGB").resize(size, Image.Resampling.BOX))
        for path in paths
    ]
    return np.stack(levels).reshape(len(levels), -1) / 255.0


def real(folder: Path) -> tuple[Points, NDArray[np.int64], list[str], NDArray[np.bool_]]:
    """All drawings, their categories by number and by name, and which are of a held-out sign.

    Files are named DRAWING-SIGN.png: both drawings of a sign are held out, or neither.
    """
    names = sorted(path.name for path in folder.iterdir())
    paths = [path for name in names for path in sorted((folder / name).glob("*.png"))]
    labels = np.array([names.index(path.parent.name) for path in paths])
    signs = [path.stem.partition("-")[2] for path in paths]
    shuffled = np.random.default_rng(0).permutation(sorted(set(signs)))
    held_out = set(shuffled[: len(shuffled) // 5])
    return points(paths), labels, names, np.array([sign in held_out for sign in signs])


def taken_for(folder: Path, samples: Path) -> tuple[dict[str, float], float]:
    """The part of NNNNN.png in `samples` that the classifier takes for each category, and the mean
    distance of pairs by that of all real images."""
    drawn, labels, names, _ = real(folder)
    made = points(sorted(samples.glob("[0-9]*.png")))
    told = SVC(C=10).fit(drawn, labels).predict(made)
    parts = {name: float((told == label).mean()) for label, name in enumerate(names)}
    return parts, spread(made) / spread(drawn)


def judge(folder: Path, samples: Path) -> Verdict:
    """The verdict on NNNNN-LABEL.png in `samples`; labels count the folders below `folder`."""
    drawn, labels, names, held_out = real(folder)
    first = SVC(C=10).fit(drawn[~held_out], labels[~held_out])
    second = ExtraTreesClassifier(300, random_state=0).fit(drawn[~held_out], labels[~held_out])
    paths = sorted(samples.glob("[0-9]*-[0-9]*.png"))
    made = points(paths)
    groups = np.array([int(path.stem.partition("-")[2]) for path in paths])
    right = first.predict(made) == groups
    return Verdict(
        held_out=float(first.score(drawn[held_out], labels[held_out])),
        second_held_out=float(second.score(drawn[held_out], labels[held_out])),
        asked=float(right.mean()),
        second_asked=float((second.predict(made) == groups).mean()),
        each={name: float(right[groups == label].mean()) for label, name in enumerate(names)},
        spread=min(
            spread(made[groups == label]) / spread(drawn[labels == label])
            for label in range(len(names))
        ),
    )


if __name__ == "__main__":
    print(judge(Path(sys.argv[1]), Path(sys.argv[2])))
