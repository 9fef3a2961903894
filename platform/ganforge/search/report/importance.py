"""Which settings the scores depend on."""

from collections.abc import Collection, Sequence

import numpy as np
import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ganforge.search.report.figure import Omitted, Plot, figure, legend
from ganforge.systems.base import Metric
from ganforge.tracking.palette import colour

_LEAST, _FEW = 4, 12
#: trials whose scores are explained: the time grows faster than their number, to minutes for 2,000
_MOST = 300


def importance(
    study: Study, num_stages: int, mode: str, objectives: Sequence[Metric] = (), rungs: int = 1
) -> Plot:
    """How much of the differences between scores each setting explains (fANOVA, Hutter et al.
    2014): among the finished trials, and at the first rung, which more trials have reached. With
    several objectives for each of them, among the finished trials. Of many trials it looks at 300,
    evenly spread over the search. A stage has so many `rungs`."""
    parts: dict[str, tuple[Study | None, int]] = {}
    if len(objectives) > 1:
        for index, metric in enumerate(objectives):
            parts[metric.name] = _scores_in(study, index, metric.mode)
    else:
        last = num_stages * rungs
        first = "first stage" if rungs == 1 else "first rung"
        parts["after the last stage"] = _scores_after(study, last, num_stages, mode)
        if last > 1:
            parts[f"after the {first}"] = _scores_after(study, 1, 1, mode)
    found: dict[str, dict[str, float]] = {}
    for label, (part, count) in parts.items():
        if part is not None:
            evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=32, seed=0)
            hint = ": a hint at most" if count < _FEW else ""
            shown = f"{count}" if count <= _MOST else f"{_MOST} of {count}"
            name = f"{label} ({shown} trials{hint})"
            found[name] = optuna.importance.get_param_importances(part, evaluator=evaluator)
    found = {name: values for name, values in found.items() if any(values.values())}
    if not found:
        raise Omitted("importance: needs two settings and four trials of different scores")
    totals = {
        key: max(f.get(key, 0.0) for f in found.values()) for f in found.values() for key in f
    }
    keys = sorted(totals, key=lambda key: totals[key])
    made, axes = figure(8.0, 1.8 + 0.5 * len(keys))
    height = 0.8 / len(found)
    for number, (label, values) in enumerate(found.items()):
        rows = [k + (len(found) - 1 - 2 * number) * height / 2 for k in range(len(keys))]
        widths = [values.get(key, 0.0) for key in keys]
        bars = axes.barh(rows, widths, height, label=label, color=colour(number))
        axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes.set_yticks(range(len(keys)), keys)
    axes.set_xlim(0, 1.12 * max(totals.values()))
    axes.set(xlabel="share of the variance of the score", title="Importance of settings")
    legend(axes)
    return made


def _scores_after(study: Study, rung: int, stages: int, mode: str) -> tuple[Study | None, int]:
    """A study of the scores at a rung, and of the settings that were in force until then, in the
    first `stages` stages; None where too little differs."""
    trials = [t for t in study.trials if rung in t.intermediate_values and t.distributions]
    scores = [t.intermediate_values[rung] for t in trials]
    keys = {key for t in trials for key in t.params if _stage_of(key) < stages}
    return _of_one(trials, scores, keys, mode), len(trials)


def _scores_in(study: Study, index: int, mode: str) -> tuple[Study | None, int]:
    """A study of the values in one of several objectives; None where too little differs."""
    done = (t for t in study.trials if t.state == TrialState.COMPLETE and t.distributions)
    # a trial that failed may be told as complete, with values that nobody measured
    trials = [t for t in done if not t.user_attrs.keys() & {"failed", "refused"}]
    scores = [t.values[index] for t in trials]
    keys = {key for t in trials for key in t.params}
    return _of_one(trials, scores, keys, mode), len(trials)


def _of_one(
    trials: Sequence[FrozenTrial], scores: Sequence[float], keys: Collection[str], mode: str
) -> Study | None:
    """These trials, or some of many, with one score each; None where too little differs."""
    if len(trials) < _LEAST or len(set(scores)) < 2 or len(keys) < 2:
        return None
    part = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
    spread = np.unique(np.linspace(0, len(trials) - 1, min(len(trials), _MOST)).astype(int))
    for trial, score in ((trials[k], scores[k]) for k in spread.tolist()):
        part.add_trial(
            optuna.trial.create_trial(
                params={k: v for k, v in trial.params.items() if k in keys},
                distributions={k: v for k, v in trial.distributions.items() if k in keys},
                value=score,
            )
        )
    return part


def _stage_of(key: str) -> int:
    """The stage that a setting is of; 0 for one of the whole run."""
    first, number, *_ = [*key.split("."), ""]
    return int(number) if first == "stages" and number.isdigit() else 0
