"""Stores to test: a folder, and an object store on this machine's loopback."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def object_store() -> Iterator[str]:
    """http://host:port of an S3 that forgets, with a bucket `bucket`; this process speaks to it."""
    moto = pytest.importorskip("moto.server", reason="needs moto[server] to play S3")
    boto3 = pytest.importorskip("boto3", reason="needs boto3 to make a bucket")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("NO_PROXY", os.environ.get("NO_PROXY", "") + ",127.0.0.1")
        patch.setenv("no_proxy", os.environ["NO_PROXY"])
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="bucket")
        yield endpoint
    server.stop()


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
