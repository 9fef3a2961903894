"""`ganforge sync`: send to the tracking store what it did not take while it was unavailable."""

import contextlib
import sys

from ganforge.console import complain, show
from ganforge.settings import SettingsError


def sync(path: str, tracking_uri: str | None) -> None:
    """Send the outboxes in `path` and those of this machine; end runs whose driver is dead."""
    from ganforge.local_files import cache_directory
    from ganforge.tracking.client import resolve_uri
    from ganforge.tracking.outbox.log import OUTBOXES, old_outboxes
    from ganforge.tracking.outbox.resend import Sent, resend
    from ganforge.tracking.runs import close_orphans

    uri = resolve_uri(tracking_uri) if tracking_uri else None
    found: list[Sent] = resend(path, uri)
    for own in (cache_directory() / OUTBOXES, cache_directory() / "searches", old_outboxes()):
        # runs whose states lie in an object store have their outboxes here
        with contextlib.suppress(SettingsError):
            found += resend(str(own), uri)
    for sent in found:
        for run, entries in sent.entries.items():
            state = f"not sent: {sent.error}" if sent.error else "sent"
            show(f"{run}  {entries} entries  {state}")
        if not sent.entries:
            show(f"{sent.path}  not sent: {sent.error}")
    if any(sent.error for sent in found):
        complain("not everything was sent; sync again once the store answers")
        sys.exit(1)
    for store, experiment in sorted({e for sent in found for e in sent.experiments}):
        for run_id in close_orphans(store, experiment):
            show(f"{run_id}  ended: its driver died")
    show(f"{sum(sent.metrics for sent in found)} metrics sent; nothing is left")
