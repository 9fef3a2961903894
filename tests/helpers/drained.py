"""A training whose machine is about to be taken away: `python drained.py STORE`.

As soon as it trains, its machine is drained, with an hour's notice; it trains to its end.
"""

import json
import sys
import time

import ray
from ray._common.usage.usage_lib import GcsClient
from small import METRIC, SYSTEM, tiny

from ganforge.cluster.session import session
from ganforge.cluster.train import fit
from ganforge.training.prepare import prepare

#: a preemption, and not an idle machine: of autoscaler.proto
_PREEMPTION = 2
SETTINGS = {"images_per_epoch": 3000, "workers": 2, "keep": "all"}


def main(store: str) -> None:
    drained: list[bool] = []

    def drain(summary: dict[str, object]) -> None:
        if "images" in summary and not drained:
            context = ray.get_runtime_context()
            deadline = int((time.time() + 3600) * 1000)
            done = GcsClient(address=context.gcs_address).drain_node(
                context.get_node_id(), _PREEMPTION, "taken away", deadline
            )
            drained.append(bool(done[0]))

    with session(num_cpus=2):
        prepared = prepare(SYSTEM, tiny(stages=1, **SETTINGS))
        trained = fit(prepared, metric=METRIC, store=store, listener=drain)
    states = [row.state_sha256 for row in trained.stages]
    print(json.dumps({"drained": drained, "states": states}))


if __name__ == "__main__":
    main(sys.argv[1])
