"""What MLflow's pages say of a search and its trials: descriptions, columns, the saved view."""

import math
from collections.abc import Mapping
from typing import Any

from ganforge.search.trial import Trial
from ganforge.tracking.description import (
    Description,
    compare_command,
    describe_data,
    describe_run,
    reproduce_command,
)
from ganforge.tracking.run_ref import RunRef
from ganforge.tracking.view import View
from ganforge.training.prepare import Prepared

# MLflow's axes are linear: from two decades on most values would lie on one spot
_WIDE = 100.0


def logarithmic(distributions: Mapping[str, Any]) -> list[str]:
    """The settings that are searched on a logarithmic scale."""
    return [key for key, domain in distributions.items() if getattr(domain, "log", False)]


def copies(params: Mapping[str, Any], distributions: Mapping[str, Any]) -> dict[str, float]:
    """Decimal logarithms of the settings searched over two decades or more, as KEY_log10."""
    return {
        f"{key}_log10": round(math.log10(params[key]), 4)
        for key in _wide(distributions)
        if key in params
    }


def _wide(distributions: Mapping[str, Any]) -> list[str]:
    found = {key: distributions[key] for key in logarithmic(distributions)}
    return [key for key, domain in found.items() if domain.high / domain.low >= _WIDE]


def search_view(search_id: str, metric: str, mode: str, distributions: Mapping[str, Any]) -> View:
    """The saved view of a search: the settings as columns, on the axes their copies."""
    wide = _wide(distributions)
    axes = [f"{key}_log10" if key in wide else key for key in distributions]
    return View(search_id, metric, mode, list(distributions), axes)


def search_page(
    prepared: Prepared,
    search_id: str,
    metric: str,
    space: Mapping[str, str],
    *,
    outcome: str = "running",
    best: Trial | None = None,
    table: str = "",
    uri: str = "",
) -> str:
    """The description of the search's own run, with the commands for the store `uri`."""
    compare = {"Compare the images": compare_command(uri, search_id)} if uri else {}
    facts = Description(
        f"Search {search_id} of {prepared.system}, one run for each trial below it",
        outcome if best is None else f"{outcome}, trial {best.number} is the best",
        metric,
        [] if best is None else best.results(metric),
        compare | ({} if best is None else _commands(best.run)),
        space,
        describe_data(prepared.settings, prepared.facts.fingerprint),
        prepared.warnings,
        table,
    )
    return describe_run(facts)


def trial_page(
    prepared: Prepared, search_id: str, metric: str, trial: Trial, outcome: str = "running"
) -> str:
    """The description of a trial's run."""
    lineage = f", branched from {trial.branched_from}" if trial.branch else ""
    facts = Description(
        f"Trial {trial.number} of search {search_id} of {prepared.system}"
        + (f": {trial.about}" if trial.about else "")
        + lineage,
        outcome,
        metric,
        trial.results(metric),
        _commands(trial.run) if trial.scores else {},
        trial.params,
        describe_data(prepared.settings, prepared.facts.fingerprint),
        prepared.warnings,
    )
    return describe_run(facts)


def _commands(run: RunRef | None) -> dict[str, str]:
    if run is None:
        return {}
    return {"Train it again and compare": reproduce_command(run.uri, run.run_id)}
