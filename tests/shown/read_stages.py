"""What a run says of its stages: sizes, fades and grids; exit code 1 if one of them is missing.

python tests/shown/read_stages.py URI RUN
"""

import json
import sys
from itertools import pairwise

import mlflow
from mlflow.tracking import MlflowClient


def main(uri: str, run_id: str) -> None:
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    rows = json.loads(mlflow.artifacts.load_text(f"runs:/{run_id}/stages.json"))
    sizes = [row["resolution"] for row in rows]
    grids = [item.path for item in client.list_artifacts(run_id, "grids")]
    drawn = [sum(f"stage-{row['index']}-" in path for path in grids) for row in rows]
    alphas = [point.value for point in client.get_metric_history(run_id, "stage/alpha")]
    between = sum(0 < alpha < 1 for alpha in alphas)
    doubled = all(2 * a == b for a, b in pairwise(sizes))
    print(f"sizes {sizes}, grids of each {drawn}, {between} of {len(alphas)} reports in a fade")
    sys.exit(not (len(sizes) >= 4 and doubled and all(drawn) and between))


if __name__ == "__main__":
    main(*sys.argv[1:])
