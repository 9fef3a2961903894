"""A search in a process of its own, to be killed: `python driver.py PLACE TRIALS [--resume]`."""

import sys
from pathlib import Path

from ray import tune
from small import METRIC, SYSTEM, tiny

from ganforge.cluster.session import session
from ganforge.search.limits import Limits
from ganforge.search.request import SearchRequest
from ganforge.search.search import search
from ganforge.training.prepare import prepare

SPACE = {
    "generator.learning_rate": tune.loguniform(1e-4, 1e-1),
    "critic.learning_rate": tune.loguniform(1e-4, 1e-2),
}


def main(place: Path, trials: int, resume: bool) -> None:
    with session(num_cpus=1):
        request = SearchRequest(
            prepare(SYSTEM, tiny(images_per_epoch=16)),
            SPACE,
            METRIC,
            str(place / "storage"),
            f"sqlite:///{place}/mlflow.db",
            "killed",
            limits=Limits(trials),
            seed=5,
            resume=resume,
        )
        search(request)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), "--resume" in sys.argv)
