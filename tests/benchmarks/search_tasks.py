"""Learning curves that were measured, as tasks that a search can be run on.

A folder in the shared format has `taskset/*.npz` (a pool of rows, lower loss is better),
`lcbench/model.onnx` (a surrogate over a continuous space, higher accuracy is better) and
`own/*.jsonl` (pools that own_curves.py wrote). Scores are turned so that larger is better, and
scaled by nothing; what an arm sees is what was measured.
"""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Point = Mapping[str, float | int]

#: of the way from the best final score to the median one
WITHIN = 0.01
#: budgets: in whole runs of a pool; in runs of median cost of a surrogate, where each costs more
#: of this machine's time
POOL_RUNS, SURROGATE_RUNS = 400, 100
#: drawn from a surrogate's space for its best and its median
SAMPLE = 20_000
LCBENCH_TASKS = (
    *("3945", "7593", "34539", "126025", "126026", "126029", "146212", "167104", "167149"),
    *("167152", "167161", "167168", "167181", "167184", "167185", "167190", "167200", "167201"),
    *("168329", "168330"),
)


@dataclass(frozen=True)
class Dimension:
    """One setting: its range, ends included."""

    name: str
    low: float
    high: float
    log: bool = True
    integer: bool = False

    def value(self, unit: float) -> float | int:
        """The value at a place between 0 and 1."""
        low, high = (np.log(self.low), np.log(self.high)) if self.log else (self.low, self.high)
        raw = low + min(max(unit, 0.0), 1.0) * (high - low)
        value = float(np.exp(raw)) if self.log else float(raw)
        if self.integer:
            return int(min(max(round(value), self.low), self.high))
        return min(max(value, self.low), self.high)

    def unit(self, value: float) -> float:
        """The place between 0 and 1 of a value."""
        if self.log:
            return float(np.log(value / self.low) / np.log(self.high / self.low))
        return float((value - self.low) / (self.high - self.low))


@dataclass(frozen=True)
class Space:
    """A box of settings."""

    dimensions: tuple[Dimension, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(d.name for d in self.dimensions)

    def point(self, units: Array) -> dict[str, float | int]:
        return {d.name: d.value(float(u)) for d, u in zip(self.dimensions, units, strict=True)}

    def units(self, point: Point) -> Array:
        if isinstance(point, Placed):
            return point.units
        return np.array([d.unit(float(point[d.name])) for d in self.dimensions])

    def placed(self, units: Array) -> "list[Placed]":
        """Points at places between 0 and 1, (points, dimensions); integers are taken to the
        place of their number."""
        units = units.clip(0.0, 1.0)
        for k, d in enumerate(self.dimensions):
            if d.integer:
                low, high = (np.log(d.low), np.log(d.high)) if d.log else (d.low, d.high)
                raw = low + units[:, k] * (high - low)
                values = np.rint(np.exp(raw) if d.log else raw).clip(d.low, d.high)
                units[:, k] = ((np.log(values) if d.log else values) - low) / (high - low)
        return [Placed(self, row) for row in units]


class Placed(Mapping[str, float | int]):
    """A point of which only the places are computed until its values are read: a decision looks at
    hundreds."""

    def __init__(self, space: Space, units: Array) -> None:
        self.units = units
        self._space = space
        self._values: dict[str, float | int] | None = None

    def _read(self) -> dict[str, float | int]:
        if self._values is None:
            self._values = self._space.point(self.units)
        return self._values

    def __getitem__(self, name: str) -> float | int:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._space.dimensions)


@dataclass(frozen=True)
class Training:
    """A whole run: the score after each step and what each step costs.

    A run that diverges has fewer scores than steps; the step at which it does is the last that
    costs.
    """

    point: Point
    scores: Array
    costs: Array


class Task(Protocol):
    """What a search is run on."""

    @property
    def name(self) -> str: ...
    @property
    def space(self) -> Space: ...
    @property
    def steps(self) -> int: ...
    @property
    def budget(self) -> float:
        """In the unit of costs."""
        ...

    @property
    def best(self) -> float:
        """The best final score that is known of."""
        ...

    @property
    def median(self) -> float: ...

    def train(self, point: Point, used: set[int]) -> Training | None:
        """The run of a suggestion; a pool takes it to the nearest row not in `used`, and adds it
        there. None where the pool is exhausted."""
        ...

    def draw(self, generator: np.random.Generator) -> Point:
        """A point at random."""
        ...

    def nearest(self, points: Sequence[Placed], used: set[int]) -> list[Placed]:
        """Where the points would be taken to, each once."""
        ...


def target(task: Task) -> float:
    """A final score that is good enough."""
    return task.best - WITHIN * (task.best - task.median)


# --- TaskSet

#: as TaskSet drew them, arXiv:2002.11887, appendix: all log-uniform, the two betas as 1 - beta
_ADAM8P = {
    "learning_rate": (1e-8, 10.0),
    "beta1": (1e-4, 1.0),
    "beta2": (1e-6, 1.0),
    "epsilon": (1e-10, 1e3),
    "l1": (1e-8, 10.0),
    "l2": (1e-8, 10.0),
    "linear_decay": (1e-7, 1e-4),
    "exponential_decay": (1e-6, 1e-3),
}


class Pool:
    """Rows that were trained, (rows, settings), each a point of `space`, with its scores and what
    each step cost.

    A suggestion is taken to the nearest unused row: the distance is Euclidean in the places
    between 0 and 1 of each setting's logarithm. An arm is told the row's own settings.
    """

    def __init__(self, name: str, space: Space, rows: Array, curves: Sequence[tuple[Array, Array]]):
        self.name, self.space = name, space
        units = [dimension.unit for dimension in space.dimensions]
        self._units = np.array([[f(v) for f, v in zip(units, r, strict=True)] for r in rows])
        self._points: list[Placed] = self.space.placed(self._units)
        self._curves = curves
        self.steps = max(len(scores) for scores, _ in curves)
        whole = [(scores, costs) for scores, costs in curves if len(scores) == self.steps]
        final = np.array([scores[-1] for scores, _ in whole])
        self.best, self.median = float(final.max()), float(np.median(final))
        self.budget = POOL_RUNS * float(np.median([costs.sum() for _, costs in whole]))

    @classmethod
    def of_taskset(cls, file: Path) -> Self:
        """1,000 rows, each a run of 50 steps of one unit; column 0 is before training."""
        with np.load(file) as found:
            losses = found["valid"][:, 1:].astype(np.float64)
            names = [str(name) for name in found["hyperparameters"]]
            rows = found["configurations"].astype(np.float64)
        for beta in ("beta1", "beta2"):
            rows[:, names.index(beta)] = 1 - rows[:, names.index(beta)]
        space = Space(
            tuple(Dimension(f"1 - {n}" if "beta" in n else n, *_ADAM8P[n]) for n in names)
        )
        diverged = ~np.isfinite(losses)
        lengths = np.where(diverged.any(1), diverged.argmax(1), losses.shape[1])
        curves = [
            (-row[:length], np.ones(min(length + 1, losses.shape[1])))
            for row, length in zip(losses, lengths, strict=True)
        ]
        return cls(f"taskset/{file.stem.removeprefix('imdb_')}", space, rows, curves)

    @classmethod
    def of_own(cls, file: Path) -> Self:
        """What own_curves.py has measured."""
        head, *found = (json.loads(line) for line in file.read_text().splitlines())
        space = Space(tuple(Dimension(**row) for row in head["space"]))
        rows = np.array([[float(row["point"][name]) for name in space.names] for row in found])
        curves = [(np.array(row["scores"]), np.array(row["seconds"])) for row in found]
        return cls(f"own/{file.stem}", space, rows, curves)

    def at(self, ends: Sequence[int]) -> "Pool":
        """The same rows, looked at after so many steps alone, ascending."""
        if list(ends) != sorted(set(ends)) or ends[0] < 1 or ends[-1] != self.steps:
            raise ValueError(f"a ladder must ascend to {self.steps}: {ends}")
        made = copy.copy(self)
        made.steps, made._curves = len(ends), [_at(*curve, ends) for curve in self._curves]
        return made

    def train(self, point: Point, used: set[int]) -> Training | None:
        distance = ((self._units - self.space.units(point)) ** 2).sum(1)
        distance[list(used)] = np.inf
        row = int(distance.argmin())
        if row in used:
            return None
        used.add(row)
        return Training(self._points[row], *self._curves[row])

    def nearest(self, points: Sequence[Placed], used: set[int]) -> list[Placed]:
        free = np.delete(np.arange(len(self._points)), list(used))
        if not len(free) or not points:
            return []
        places, rows = np.array([p.units for p in points]), self._units[free]
        distance = (rows**2).sum(1) - 2 * places @ rows.T
        return [self._points[int(k)] for k in dict.fromkeys(free[distance.argmin(1)].tolist())]

    def draw(self, generator: np.random.Generator) -> Point:
        """A row at random: the pool is a random sample of its space."""
        return self._points[int(generator.integers(len(self._points)))]


def _at(scores: Array, costs: Array, ends: Sequence[int]) -> tuple[Array, Array]:
    """A curve after some of its steps; of one that diverged the last cost is that of the part in
    which it did."""
    reached = [end for end in ends if end <= len(scores)]
    parts = [*reached, len(costs)] if len(costs) > len(scores) else reached
    sums = np.concatenate([[0.0], np.cumsum(costs)])[[0, *parts]]
    return scores[np.array(reached, dtype=int) - 1], np.diff(sums)


# --- LCBench


class Surrogate:
    """One OpenML task of LCBench: 52 epochs of a network, as its surrogate predicts them."""

    steps = 52

    def __init__(self, session: Any, number: int, name: str, space: Space) -> None:
        self.name, self.space = f"lcbench/{name}", space
        self._session, self._number = session, number
        self._known: dict[tuple[float | int, ...], Training] = {}
        generator = np.random.default_rng(0)
        points = [self.draw(generator) for _ in range(SAMPLE)]
        found = self._predict(points, [self.steps])[:, 0]
        self.best, self.median = float(found[:, 1].max()), float(np.median(found[:, 1]))
        self.budget = float(SURROGATE_RUNS * np.median(found[:, 0]))

    def _predict(self, points: list[Point], epochs: list[int]) -> Array:
        """Cumulative seconds and accuracy: (points, epochs, 2)."""
        rows = np.array([[p[name] for name in self.space.names] for p in points])
        x = np.empty((len(points), len(epochs), 8), np.float32)
        x[:, :, 0], x[:, :, 1:] = epochs, rows[:, None]
        kind = np.full((len(points) * len(epochs), 1), self._number, np.int32)
        found = self._session.run(None, {"x_cat": kind, "x_cont": x.reshape(-1, 8)})[0]
        return found[:, :2].reshape(len(points), len(epochs), 2).astype(np.float64)

    def train(self, point: Point, used: set[int]) -> Training | None:
        key = tuple(point[name] for name in self.space.names)
        if key not in self._known:
            found = self._predict([point], list(range(1, self.steps + 1)))[0]
            # a surrogate is not quite monotonous in its time
            seconds = np.maximum(np.diff(found[:, 0], prepend=0.0), 1e-3)
            self._known[key] = Training(point, found[:, 1], seconds)
        return self._known[key]

    def nearest(self, points: Sequence[Placed], used: set[int]) -> list[Placed]:
        return list(points)

    def draw(self, generator: np.random.Generator) -> Point:
        return self.space.placed(generator.random((1, len(self.space.dimensions))))[0]


def _lcbench(folder: Path, only: str) -> Iterator[Surrogate]:
    try:
        import onnxruntime
    except ImportError:
        print("lcbench is skipped: onnxruntime is not installed (pip install ganforge[export])")
        return
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
    numbers = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"]
    declared = json.loads((folder / "config_space.json").read_text())["hyperparameters"]
    ranges = {entry["name"]: entry for entry in declared}
    names = ("batch_size", "learning_rate", "momentum", "weight_decay", "num_layers", "max_units")
    space = Space(
        tuple(
            Dimension(
                *(name, float(ranges[name]["lower"]), float(ranges[name]["upper"])),
                *(bool(ranges[name]["log"]), ranges[name]["type"] == "uniform_int"),
            )
            for name in (*names, "max_dropout")
        )
    )
    for name in LCBENCH_TASKS:
        if only in f"lcbench/{name}":
            yield Surrogate(session, int(numbers[name]), name, space)


def load_tasks(
    folder: Path, only: str = "", ladder: Sequence[int] = ()
) -> Iterator[Pool | Surrogate]:
    """All tasks of a folder in the shared format whose names hold `only`; with a `ladder` those of
    TaskSet alone, looked at after so many steps."""
    for file in sorted((folder / "taskset").glob("*.npz")):
        if only in f"taskset/{file.stem}":
            pool = Pool.of_taskset(file)
            yield pool.at(ladder) if ladder else pool
    if ladder:
        return
    for file in sorted((folder / "own").glob("*.jsonl")):
        if only in f"own/{file.stem}":
            yield Pool.of_own(file)
    if (folder / "lcbench" / "model.onnx").is_file():
        yield from _lcbench(folder / "lcbench", only)
