"""A search's saved view in MLflow's own pages: all trials side by side, without a click.

Stock MLflow shows a search as one collapsed parent without metrics. A saved view is a tag of the
experiment that holds the state of that page. The form of the state is MLflow's own and is not
documented: what is shipped here is best effort, and a browser test opens it.
"""

import base64
import hashlib
import json
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from ganforge.tracking.client import experiment_id, open_client
from ganforge.tracking.recorder import GRID

_TAG = "mlflow.sharedViewState."
_DEFLATED = "deflate;"
_WORKFLOW = "workflowType=machine_learning"
_SCORES, _SAMPLES, _SETTINGS = "Scores", "Samples", "Settings"
#: cards next to each other, and their height in pixels; that of the samples holds two rows
_SECTIONS = {_SCORES: (2, 280), _SAMPLES: (1, 590), _SETTINGS: (1, 400)}


@dataclass(frozen=True)
class View:
    """What is shown of one search.

    `columns` are the parameters of the table, `axes` those of the parallel coordinates.
    """

    search_id: str
    metric: str
    mode: str
    columns: Sequence[str]
    axes: Sequence[str]


def ship_view(uri: str, experiment: str, view: View) -> str:
    """Save the view of a search in its experiment, over an older one of it.

    Returns its address under that of any server of this store: "#/experiments/…".
    """
    client = open_client(uri)
    number = experiment_id(client, uri, experiment)
    key = view_id(view.search_id)
    now = int(time.time() * 1000)
    stored = {
        "name": f"search {view.search_id}",
        "createdAt": now,
        "updatedAt": now,
        "state": deflated(view_state(view)),
    }
    client.set_experiment_tag(number, _TAG + key, json.dumps(stored))
    query = urlencode({"viewStateShareKey": key, "compareRunsMode": "CHART"})
    return f"#/experiments/{number}/runs?{_WORKFLOW}&{query}"


def view_id(search_id: str) -> str:
    """The id of a search's view: the same each time, so that it is saved over itself."""
    return hashlib.sha256(search_id.encode()).hexdigest()[:32]


def deflated(state: Mapping[str, Any]) -> str:
    """A state as MLflow's pages store it."""
    packed = zlib.compress(json.dumps(state).encode())
    return _DEFLATED + base64.b64encode(packed).decode()


def view_state(view: View) -> dict[str, Any]:
    """The state of MLflow's runs page: which runs, which columns, which cards."""
    best = f"{view.metric}_best"
    shown = [("metrics", best), ("metrics", "stages_done"), ("tags", "outcome")]
    shown += [("params", key) for key in view.columns]
    charts = [_parallel(view, best), _curve(view.metric), _grid(), _settings()]
    return {
        "searchFilter": f"tags.search = '{view.search_id}' and tags.kind = 'trial'",
        "orderByKey": f"metrics.`{best}`",
        "orderByAsc": view.mode == "min",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": [f"{kind}.`{key}`" for kind, key in shown],
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "SHOW_ALL",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "groupBy": None,
        "groupsExpanded": {},
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": False,
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "selectedXAxisMetricKey": "",
        },
        "compareRunSections": [_section(name, *shape) for name, shape in _SECTIONS.items()],
        "compareRunCharts": charts,
    }


def _section(name: str, columns: int, height: int) -> dict[str, Any]:
    return {
        "uuid": name,
        "name": name,
        "display": True,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
        "columns": columns,
        "cardHeight": height,
    }


def _card(kind: str, section: str) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": f"{section} {kind}",
        "metricSectionId": section,
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
    }


def _parallel(view: View, best: str) -> dict[str, Any]:
    return _card("PARALLEL", _SCORES) | {
        "displayName": f"Searched settings and {best}",
        "selectedParams": list(view.axes),
        "selectedMetrics": [best],
        "showAllRuns": True,
    }


def _curve(metric: str) -> dict[str, Any]:
    return _card("LINE", _SCORES) | {
        "displayName": f"{metric} over images shown",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "lineSmoothness": 0,
        "range": {},
        "selectedXAxisMetricKey": "",
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _settings() -> dict[str, Any]:
    """The settings that differ, a column for each trial: the list of runs has no room for them."""
    return _card("DIFFERENCE", _SETTINGS) | {
        "chartName": "Settings of the trials",
        "compareGroups": ["Parameters"],
        "showChangeFromBaseline": False,
        "showDifferencesOnly": True,
        "baselineColumnUuid": "",
    }


def _grid() -> dict[str, Any]:
    return _card("IMAGE", _SAMPLES) | {
        "displayName": "Sample grid",
        "imageKeys": [GRID],
        "step": 100,
        "showRunParams": False,
    }
