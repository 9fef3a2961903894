"""Ray Train's log of controllers that share a process, set up once.

Ray sets it up anew for each controller. A second one then takes logging's own lock and waits for
the lock of a handler, in which the first controller, writing its first line, waits for logging's:
both trials stood still for good. The lines of all of them carry the first one's name.
"""

import threading
from collections.abc import Callable
from typing import Any

from ray.train.v2._internal.logging.logging import LoggingManager


class Once:
    """A function that the first call alone runs; the others wait for it."""

    def __init__(self, configure: Callable[[Any], None]):
        self._configure = configure
        self._lock = threading.Lock()
        self._done = False

    def __call__(self, context: Any) -> None:
        with self._lock:
            if not self._done:
                self._configure(context)
                self._done = True


def configure_once() -> None:
    """From now on, in this process."""
    given = LoggingManager.configure_controller_logger
    if not isinstance(given, Once):
        LoggingManager.configure_controller_logger = Once(given)
