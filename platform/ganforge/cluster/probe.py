"""Asks what may not answer, a cluster or an object store, in a process of its own.

Ray's and pyarrow's clients wait for a silent address in their own code, for minutes, where no
signal reaches Python. A process can be waited for with a limit, interrupted, and killed.

python -m ganforge.cluster.probe ray ADDRESS
python -m ganforge.cluster.probe storage URI
"""

import json
import platform
import secrets
import subprocess
import sys
from contextlib import suppress

from ganforge.console import show
from ganforge.settings import SettingsError

_SECONDS = 8.0


def check_cluster_answers(address: str) -> None:
    """SettingsError for an address at which no cluster of this version of Ray answers."""
    fix = "Fix: start it, unset RAY_ADDRESS, or set RAY_ADDRESS=local"
    answer, problem = _ask("ray", address)
    if problem:
        raise SettingsError(f"no Ray cluster answers at {address} ({problem}). {fix}")
    there = json.loads(answer)
    here = _versions()
    if there != here:
        raise SettingsError(
            f"the cluster at {address} runs {_said(there)}, this command {_said(here)}. "
            "Fix: install the same on both"
        )


def check_store_answers(uri: str) -> None:
    """SettingsError for an object store that cannot be written, read and deleted from."""
    _, problem = _ask("storage", uri)
    if problem:
        raise SettingsError(
            f"storage = {uri}: cannot be used ({problem}). Fix: name a bucket that exists and that "
            "these credentials may list, read, write and delete in"
        )


def _said(versions: dict[str, str]) -> str:
    return f"Ray {versions['ray']} on Python {versions['python']}"


def _versions() -> dict[str, str]:
    # here and not above: whether it answers is asked before Ray is needed
    from importlib.metadata import version

    return {"ray": version("ray"), "python": platform.python_version()}


def _ask(kind: str, address: str) -> tuple[str, str]:
    """What the probe prints, or why there is no answer, in one line."""
    command = [sys.executable, "-m", __name__, kind, address]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        return "", f"silent for {_SECONDS:g} s"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if done.returncode:
        return "", lines[-1][:200] if lines else f"exit code {done.returncode}"
    return done.stdout.splitlines()[-1] if done.stdout.strip() else "", ""


def _ask_ray(address: str) -> None:
    from ray._common.usage.usage_lib import get_cluster_metadata
    from ray._private.authentication.authentication_token_setup import (
        maybe_enable_token_auth_if_token_available,
    )
    from ray._raylet import GcsClient  # pyright: ignore[reportAttributeAccessIssue]

    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    found = get_cluster_metadata(GcsClient(address=address))
    show(json.dumps({"ray": found["ray_version"], "python": found["python_version"]}))


def _ask_storage(uri: str) -> None:
    from ganforge.training.files import open_folders

    name = f"probe-{secrets.token_hex(6)}"
    folders = open_folders(uri)
    try:
        folders.names()
        folders.write(name, {"probe": name.encode()})
        if folders.read(name, "probe") != name.encode():
            raise OSError("what is read is not what was written")
    finally:
        with suppress(FileNotFoundError):
            folders.delete(name)


def main(arguments: list[str]) -> int:
    """Exit code 1 with the reason as the last line of stderr."""
    kind, address = arguments
    try:
        (_ask_ray if kind == "ray" else _ask_storage)(address)
    except Exception as error:  # any of two libraries': it becomes one line
        lines = [line for line in str(error).splitlines() if line.strip()]
        show(lines[-1] if lines else type(error).__name__, errors=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
