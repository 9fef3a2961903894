"""Where trials fail: learned from those that did, and from points that settings refuse."""

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier

#: trees of the forest; points of each kind from which it says anything
_TREES, _LEAST = 25, 2


class Avoidance:
    """The probability that a trial fails, by an ensemble of extremely randomised trees (Geurts et
    al. 2006) over encoded points. Failing is mostly a matter of one or two settings beyond a bound,
    which trees find among many that do not matter."""

    def __init__(self, seed: int):
        self.seed = seed
        self._rows: list[NDArray[np.float64]] = []
        self._failed: list[bool] = []
        self._forest: ExtraTreesClassifier | None = None

    def learn(self, row: NDArray[np.float64], failed: bool) -> None:
        """A point, encoded, and whether it failed."""
        self._rows.append(row)
        self._failed.append(failed)
        self._forest = None

    def probability(self, row: NDArray[np.float64]) -> float:
        """The probability that the point fails; 0 before enough of both kinds is known."""
        failures = sum(self._failed)
        if not min(failures, len(self._failed) - failures) >= _LEAST:
            return 0.0
        if self._forest is None:
            forest = ExtraTreesClassifier(_TREES, random_state=self.seed % 2**32, n_jobs=1)
            self._forest = forest.fit(np.array(self._rows), np.array(self._failed))
        return float(self._forest.predict_proba(row[None])[0, 1])
