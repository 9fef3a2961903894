"""`ganforge sync`: send to the tracking store what it did not take while it was unavailable."""

import contextlib
import sys

from ganforge.console import complain, show
from ganforge.settings import SettingsError


def sync(path: str, tracking_uri: str | None) -> None:
    """Send the outboxes in `path` and those of this machine; end runs whose driver is dead.

    Everything goes to `tracking_uri`. Where that is not given, outboxes of the store that
    MLFLOW_TRACKING_URI names (by default the SQLite file here) are sent, and others are named:
    anyone who can write to a storage can write an outbox, and must not choose who gets it.
    """
    from ganforge.local_files import cache_directory
    from ganforge.tracking.client import resolve_uri
    from ganforge.tracking.named_store import shown
    from ganforge.tracking.outbox.log import OUTBOXES, old_outboxes
    from ganforge.tracking.outbox.resend import Sent, Target, resend
    from ganforge.tracking.runs import close_orphans

    to = Target(resolve_uri(tracking_uri), only_its_own=tracking_uri is None)
    found: list[Sent] = resend(path, to)
    for own in (cache_directory() / OUTBOXES, cache_directory() / "searches", old_outboxes()):
        # runs whose states lie in an object store have their outboxes here
        with contextlib.suppress(SettingsError):
            found += resend(str(own), to)
    for sent in found:
        for run, entries in sent.entries.items():
            state = f"not sent: {sent.error}" if sent.error else "sent"
            show(f"{shown(run)}  {entries} entries  {state}")
        if not sent.entries:
            show(f"{shown(sent.path)}  not sent: {sent.error}")
        for why in sent.refused:
            show(f"{shown(sent.path)}  an entry is refused and set aside in refused.jsonl: {why}")
    unsent, refused = [s for s in found if s.error], [s for s in found if s.refused]
    if unsent:
        complain("not everything was sent; the lines above say why")
        sys.exit(1)
    for store, experiment in sorted({e for sent in found for e in sent.experiments}):
        for run_id in close_orphans(store, experiment):
            show(f"{run_id}  ended: its driver died")
    show(f"{sum(sent.metrics for sent in found)} metrics sent; nothing is left")
    if refused:
        complain("some entries were refused; the lines above say why")
        sys.exit(1)
