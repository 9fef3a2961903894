"""A judge of drawings: which of two hands drew a sign, and which sign it is.

It has seen real drawings and nothing of this project.

python tests/shown/styles.py REAL MADE     REAL has source/ and target/ of trained signs in `signs`
                                           and of others in `held_out`; MADE has the latter, drawn
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.ensemble import ExtraTreesClassifier

Points = NDArray[np.float64]

#: borders of the histogram of differences between neighbouring pixels, of 1: a flat drawing has
#: nearly none between 0 and an edge, a shaded one has many
STEPS = (0, 0.004, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.01)


@dataclass(frozen=True)
class Verdict:
    """`held_out`: part of the held-out real drawings of both hands that the classifier gets right;
    `before`: part of the sources that it takes for the target's hand, `after`: the same of what was
    made of them; `same_sign`: part of the made ones that, of all held-out sources, are nearest to
    their own, in colour at 16 × 16."""

    held_out: float
    before: float
    after: float
    same_sign: float

    def __str__(self) -> str:
        return (
            f"classifier {self.held_out:.1%} on held-out real drawings; it takes {self.before:.1%} "
            f"of the sources and {self.after:.1%} of the generated ones for the target's style; "
            f"{self.same_sign:.1%} are nearest to their own source"
        )


def described(path: Path) -> Points:
    """How colours change from pixel to pixel, what touches the border, which colours there are."""
    image = np.asarray(Image.open(path).convert("RGB")).astype(np.float64) / 255
    changes = [np.abs(np.diff(image, axis=axis)).max(axis=2) for axis in (0, 1)]
    drawn = image.min(axis=2) < 0.9
    border = [drawn[0].mean(), drawn[-1].mean(), drawn[:, 0].mean(), drawn[:, -1].mean()]
    return np.concatenate(
        [
            *(np.histogram(change, STEPS)[0] / change.size for change in changes),
            [*border, drawn.mean()],
            *(np.histogram(image[..., c], 8, (0, 1))[0] / drawn.size for c in range(3)),
        ]
    )


def small(path: Path) -> Points:
    """(768,) in [0, 1]."""
    image = Image.open(path).convert("RGB").resize((16, 16), Image.Resampling.BOX)
    return np.asarray(image).reshape(-1) / 255.0


def styles(folder: Path) -> tuple[Points, NDArray[np.int64]]:
    """Descriptions of source/ (0) and target/ (1), and which they are."""
    sides = [sorted((folder / side).glob("*.png")) for side in ("source", "target")]
    points = np.stack([described(path) for side in sides for path in side])
    return points, np.repeat([0, 1], [len(side) for side in sides])


def judge(real: Path, made: Path) -> Verdict:
    """The verdict on files in `made` that are named like those of held_out/source."""
    held_out = sorted(path.name for path in (real / "held_out" / "source").glob("*.png"))
    classifier = ExtraTreesClassifier(300, random_state=0).fit(*styles(real / "signs"))
    points, labels = styles(real / "held_out")
    told = classifier.predict(np.stack([described(made / name) for name in held_out]))
    sources = np.stack([small(real / "held_out" / "source" / name) for name in held_out])
    distances = [((sources - small(made / name)) ** 2).sum(axis=1) for name in held_out]
    return Verdict(
        held_out=float(classifier.score(points, labels)),
        before=float(classifier.predict(points[labels == 0]).mean()),
        after=float(told.mean()),
        same_sign=float((np.argmin(distances, axis=1) == np.arange(len(held_out))).mean()),
    )


if __name__ == "__main__":
    print(judge(Path(sys.argv[1]), Path(sys.argv[2])))
