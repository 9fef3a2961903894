"""One small Ray cluster for all tests here."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from small import SYSTEM, tiny

from ganforge.cluster.session import connect
from ganforge.training.prepare import Prepared, prepare


@pytest.fixture(scope="session")
def prepared() -> Prepared:
    return prepare(SYSTEM, tiny())


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """Two CPUs, no dashboard, a temporary folder of its own (Ray's sockets need a short path)."""
    folder = Path(tempfile.mkdtemp(prefix="gf-", dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", "local")
        connect(num_cpus=2, temporary=folder)
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
