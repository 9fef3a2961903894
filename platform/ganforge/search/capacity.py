"""How many trials fit: machines are waited for, worker slots counted, every machine checked."""

from dataclasses import replace

from ganforge.cluster.job import Job
from ganforge.cluster.machines import Slots, slots, wait_for_nodes, wait_for_slots
from ganforge.cluster.preflight import check_machines
from ganforge.cluster.session import worker_resources
from ganforge.cluster.variables import check_environment
from ganforge.search.request import SearchRequest


def wait_for_capacity(request: SearchRequest, job: Job) -> tuple[Job, Slots]:
    """The capacity for trials, which says how many may run at a time; SettingsError where the
    request cannot be met.

    Where the workers of a trial may be less than it asks for, each of as many trials as were asked
    for has at most its share, so that none waits for another one's.
    """
    if request.joined:
        check_environment()
        wait_for_nodes(request.nodes)
    each = worker_resources(job.threads, job.gpu)
    trials = min(request.concurrent or 1, request.limits.num_trials)
    # where all that were expected are there, no other will come
    coming = request.joined and request.nodes is None
    fewest = job.fewest
    found = wait_for_slots(job.workers, each, joined=coming, trials=trials, fewest=fewest)
    if fewest is not None and request.concurrent:
        share = max(fewest, found.worker_slots // trials)
        job = replace(job, workers=min(job.workers, share))
        found = slots(job.workers, each, fewest)
    if request.joined:
        check_machines(request.prepared, request.storage, request.tracking_uri)
    return job, found
