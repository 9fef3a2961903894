"""`ganforge sync`: send to the tracking store what it did not take while it was down."""

import contextlib
import sys

from ganforge.settings import SettingsError


def sync(place: str, tracking_uri: str | None) -> None:
    """Replay the spools in `place` and those of this machine; end runs whose driver is dead."""
    from ganforge.assets import cache_directory
    from ganforge.tracking.client import resolve_uri
    from ganforge.tracking.outbox.resend import Sent, replay
    from ganforge.tracking.runs import close_orphans

    uri = resolve_uri(tracking_uri) if tracking_uri else None
    found: list[Sent] = replay(place, uri)
    for own in ("spools", "searches"):
        # runs whose states lie in an object store keep theirs here
        with contextlib.suppress(SettingsError):
            found += replay(str(cache_directory() / own), uri)
    for sent in found:
        for run, entries in sent.entries.items():
            state = f"not sent: {sent.why}" if sent.why else "sent"
            print(f"{run}  {entries} entries  {state}")
        if not sent.entries:
            print(f"{sent.place}  not sent: {sent.why}")
    for store, experiment in sorted({e for sent in found for e in sent.experiments}):
        if not any(sent.why for sent in found):
            for run_id in close_orphans(store, experiment):
                print(f"{run_id}  ended: its driver died")
    if any(sent.why for sent in found):
        print("error: not everything was sent; once the store answers, sync again", file=sys.stderr)
        sys.exit(1)
    print(f"{sum(sent.metrics for sent in found)} metrics sent; nothing is left")
