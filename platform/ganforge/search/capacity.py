"""Room for a search: machines are waited for, places counted, and every machine is asked."""

from ganforge.cluster.job import Job
from ganforge.cluster.machines import wait_for_nodes, wait_for_slots
from ganforge.cluster.preflight import check_machines
from ganforge.cluster.session import worker_resources
from ganforge.cluster.variables import check_environment
from ganforge.search.request import Request


def gather(nodes: int | None) -> None:
    """On a cluster that was joined: refuse bad variables, wait for `nodes` machines."""
    check_environment()
    wait_for_nodes(nodes)


def wait_for_capacity(request: Request, job: Job, *, joined: bool, nodes: int | None) -> int:
    """How many trials may run at a time; SettingsError where the request cannot be met."""
    each = worker_resources(job.threads, job.gpu)
    trials = min(request.concurrent or 1, request.num_trials)
    # where all that were expected are there, no other will come
    coming = joined and nodes is None
    found = wait_for_slots(job.workers, each, joined=coming, trials=trials)
    if joined:
        check_machines(request.prepared, request.storage, request.tracking_uri)
    return found.trial_slots
