"""Controllers in threads of one process set their log up once."""

import logging.config
import threading
from types import SimpleNamespace

from ray.train.v2._internal.logging.logging import LoggingManager

from ganforge.cluster.controller_logging import Once, configure_once


def test_the_log_of_controllers_is_set_up_once(monkeypatch):
    monkeypatch.setattr(
        LoggingManager,
        "configure_controller_logger",
        staticmethod(LoggingManager.configure_controller_logger),
    )
    monkeypatch.setattr(
        LoggingManager, "_get_controller_logger_config_dict", lambda context: {"of": context.name}
    )
    given: list[dict] = []
    monkeypatch.setattr(logging.config, "dictConfig", given.append)
    configure_once()
    configure_once()
    assert isinstance(LoggingManager.configure_controller_logger, Once)
    threads = [
        threading.Thread(
            target=LoggingManager.configure_controller_logger,
            args=(SimpleNamespace(name=str(number)),),
        )
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given) == 1
