"""Object stores by their URI, through pyarrow."""

import os
from typing import Any

from ganforge.addresses import refuse_credentials
from ganforge.settings import SettingsError


def open_object_store(uri: str, name: str, fix: str) -> tuple[Any, str]:
    """The file system of a URI (s3://bucket/prefix, gs://…) and the path in it, without a slash at
    its end; SettingsError, by the setting's `name`, for one that cannot be opened.

    AWS_ENDPOINT_URL, or endpoint_override in the URI's query, names a store that is not AWS.
    """
    # an object store is an option: training on a local disk needs no pyarrow
    from pyarrow import fs

    refuse_credentials(uri, name, fix)
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    try:
        if uri.startswith("s3://") and endpoint and "?" not in uri:
            scheme, _, host = endpoint.rpartition("://")
            files: Any = fs.S3FileSystem(endpoint_override=host, scheme=scheme or "https")
            root = uri.removeprefix("s3://")
        else:
            files, root = fs.FileSystem.from_uri(uri)
        if not root.strip("/"):
            raise ValueError("it names no bucket")
    except Exception as error:
        raise SettingsError(
            f"{name} = {uri}: not a store that pyarrow can open ({error}); "
            "give a local path or s3://bucket/prefix"
        ) from None
    return files, root.rstrip("/")
