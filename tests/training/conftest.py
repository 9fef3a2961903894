"""Stores to test: a folder, and an object store on this machine's loopback."""

import pytest


@pytest.fixture(params=["local", "s3"])
def storage(request, tmp_path, monkeypatch) -> str:
    """An empty place for a store: a folder, or s3:// by AWS_ENDPOINT_URL."""
    if request.param == "local":
        return str(tmp_path / "runs" / "one")
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("object_store"))
    return f"s3://bucket/{tmp_path.name}/one"


@pytest.fixture
def storage_by_query(object_store, tmp_path, monkeypatch) -> str:
    """An empty place in the object store, whose address says where the store is."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    host = object_store.removeprefix("http://").replace(":", "%3A")
    return f"s3://bucket/{tmp_path.name}/one?scheme=http&endpoint_override={host}"
