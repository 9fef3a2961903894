"""What an MLflow store must hold after a search: used by tests/acceptance.py.

python tests/read_search.py URI EXPERIMENT
"""

import json
import sys

import mlflow
from mlflow import MlflowClient

uri, name = sys.argv[1:3]
client = MlflowClient(uri)
experiment = client.get_experiment_by_name(name)
assert experiment is not None, f"no experiment {name}"
runs = client.search_runs([experiment.experiment_id], max_results=1000)
parents = [run for run in runs if run.data.tags["kind"] == "search"]
trials = [run for run in runs if run.data.tags["kind"] == "trial"]
assert [run.info.status for run in parents] == ["FINISHED"], parents
assert len(trials) >= 4
assert not [run for run in runs if run.info.status == "RUNNING"]
mlflow.set_tracking_uri(uri)
best = None
for run in trials:
    outcome = run.data.tags["outcome"]
    assert outcome == "finished" or outcome.startswith("stopped early at stage"), outcome
    assert run.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
    text = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/stages.json")
    rows = json.loads(text)
    assert rows and all(len(row["generator_sha256"]) == 64 for row in rows)
    for row in rows:
        files = client.list_artifacts(run.info.run_id, f"stages/{row['index']}")
        assert any(f.path.endswith("generator.safetensors") for f in files), row["index"]
    grids = [f.path for f in client.list_artifacts(run.info.run_id, "grids")]
    for row in rows:
        assert any(f"stage-{row['index']}" in path for path in grids), grids
    for metric in ("psnr", "ssim", "psnr_bicubic", "ssim_bicubic"):
        assert f"validation/{metric}" in run.data.metrics, metric
    assert "generator.learning_rate" in run.data.params
    if outcome == "finished":
        score = run.data.metrics["validation/psnr"]
        if best is None or score > best[0]:
            best = (score, rows[0]["metrics"]["validation/psnr"], run)
assert best is not None
print(f"{len(trials)} trials, best {best[0]:.3f}, first stage {best[1]:.3f}, ", end="")
print(f"bicubic {best[2].data.metrics['validation/psnr_bicubic']:.3f}")
