"""A judge of generated digits that has seen scikit-learn's real ones, and nothing of this project.

python tests/shown/digits.py FOLDER      judges the PNG files of `ganforge sample`
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """`held_out`: part of held-out real digits that the classifier gets right; `asked`: part of the
    samples that carry the label asked for; `agree`: part on which a second classifier agrees with
    the first; `classes`: how many of the ten make up at least 2 % of the samples; `spread`: mean
    distance of pairs within a class by that of the real digits, the smallest of the classes."""

    held_out: float
    asked: float | None
    agree: float
    classes: int
    spread: float

    def __str__(self) -> str:
        asked = "" if self.asked is None else f"{self.asked:.1%} carry the label asked for, "
        return (
            f"classifier {self.held_out:.1%} on held-out real digits; {asked}a second classifier "
            f"agrees on {self.agree:.1%}, {self.classes} classes, spread within a class at least "
            f"{self.spread:.2f} of the real"
        )


def real(side: int) -> tuple[Points, NDArray[np.int64]]:
    """All real digits at side × side, (1797, side²) in [0, 1], and their labels."""
    digits = load_digits()
    levels = np.round(digits.images * 255 / 16).astype(np.uint8)
    levels_of = [
        np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
        for image in levels
    ]
    return np.stack(levels_of).reshape(len(levels), -1) / 255.0, digits.target


def spread(points: Points) -> float:
    """Mean Euclidean distance of pairs, (n, d)."""
    squares = (points**2).sum(1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0))
    return distances.sum() / (len(points) * (len(points) - 1))


def judge(folder: Path) -> Verdict:
    """The verdict on NNNNN.png, or NNNNN-LABEL.png, in a folder."""
    paths = sorted(folder.glob("[0-9]*.png"))
    levels_of = [np.asarray(Image.open(path).convert("L")) for path in paths]
    made = np.stack(levels_of).reshape(len(levels_of), -1) / 255.0
    points, labels = real(levels_of[0].shape[0])
    train, test, train_labels, test_labels = train_test_split(
        points, labels, test_size=0.2, random_state=0, stratify=labels
    )
    first = SVC(C=5).fit(train, train_labels)
    second = KNeighborsClassifier(5).fit(train, train_labels)
    told = first.predict(made)
    asked = None
    groups = told
    if "-" in paths[0].stem:
        groups = np.array([int(path.stem.partition("-")[2]) for path in paths])
        asked = float((told == groups).mean())
    shares = np.bincount(told, minlength=10) / len(told)
    spreads = [
        spread(made[groups == label]) / spread(points[labels == label])
        for label in range(10)
        if (groups == label).sum() > 1
    ]
    return Verdict(
        held_out=float(first.score(test, test_labels)),
        asked=asked,
        agree=float((second.predict(made) == told).mean()),
        classes=int((shares >= 0.02).sum()),
        spread=float(min(spreads)),
    )


if __name__ == "__main__":
    print(judge(Path(sys.argv[1])))
