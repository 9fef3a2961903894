"""The trials of an experiment as JSON: `python read_runs.py URI EXPERIMENT`.

Runs on a machine of the LAN that has no tests but this file.
"""

import json
import sys

import mlflow
from mlflow import MlflowClient

uri, name = sys.argv[1:3]
client = MlflowClient(uri)
mlflow.set_tracking_uri(uri)
experiment = client.get_experiment_by_name(name)
assert experiment is not None, name
found = []
for run in client.search_runs([experiment.experiment_id], "tags.kind = 'trial'"):
    run_id = run.info.run_id
    points = {
        key: sorted({(point.step, point.value) for point in client.get_metric_history(run_id, key)})
        for key in run.data.metrics
        if "second" not in key and not key.startswith("system/")
    }
    kept = {file.path for file in client.list_artifacts(run_id)}
    text = f"runs:/{run_id}/stages.json"
    stages = json.loads(mlflow.artifacts.load_text(text)) if "stages.json" in kept else []
    found.append(
        {
            "run": run_id,
            "status": run.info.status,
            "tags": run.data.tags,
            "score": run.data.metrics.get("final_score"),
            "points": points,
            "states": {row["index"]: row["state_sha256"] for row in stages},
        }
    )
print(json.dumps(sorted(found, key=lambda run: int(run["tags"]["trial"]))))
