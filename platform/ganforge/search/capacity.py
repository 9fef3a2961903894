"""How many trials fit: machines are waited for, worker slots counted, every machine checked."""

from ganforge.cluster.job import Job
from ganforge.cluster.machines import wait_for_nodes, wait_for_slots
from ganforge.cluster.preflight import check_machines
from ganforge.cluster.session import worker_resources
from ganforge.cluster.variables import check_environment
from ganforge.search.request import SearchRequest


def wait_for_capacity(request: SearchRequest, job: Job) -> int:
    """How many trials may run at a time; SettingsError where the request cannot be met."""
    if request.joined:
        check_environment()
        wait_for_nodes(request.nodes)
    each = worker_resources(job.threads, job.gpu)
    trials = min(request.concurrent or 1, request.limits.num_trials)
    # where all that were expected are there, no other will come
    coming = request.joined and request.nodes is None
    found = wait_for_slots(job.workers, each, joined=coming, trials=trials)
    if request.joined:
        check_machines(request.prepared, request.storage, request.tracking_uri)
    return found.trial_slots
