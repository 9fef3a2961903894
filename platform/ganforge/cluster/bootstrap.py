"""What each machine of a cluster file does before Ray starts there.

python -m ganforge.cluster.bootstrap [--head | --end]

Every machine checks the variables and fetches the images; the head also starts the MLflow server,
by its private address, so that runs, curves and models of all machines come together there, and
`--end` ends it.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from ganforge.cluster.private_files import protect_secrets
from ganforge.cluster.variables import FILE, mistakes, read_variables, replace
from ganforge.console import complain
from ganforge.settings import SettingsError
from ganforge.training.files import ObjectFolders, join

PORT = 5000
_START_SECONDS = 90.0
_NOTE = "server.json"


def main(arguments: list[str]) -> int:
    """Exit code 1, with a reason, for a problem that would otherwise stop the search later."""
    kept = Path.home() / "ganforge-mlflow"
    if "--end" in arguments:
        _end_former(kept / _NOTE)
        return 0
    try:
        protect_secrets()
    except SettingsError as error:
        complain(str(error))
        return 1
    file = Path(FILE).expanduser()
    variables = read_variables(file.read_text() if file.is_file() else "")
    if found := mistakes(variables):
        for mistake in found:
            complain(str(mistake))
        return 1
    try:
        if "://" in variables["GANFORGE_DATA"]:
            folder = Path.home() / "ganforge-data"
            fetch(variables["GANFORGE_DATA"], folder)
            replace(file, {"GANFORGE_DATA": str(folder)})
        if "--head" in arguments:
            uri = serve(variables["GANFORGE_STORAGE"], kept)
            replace(file, {"MLFLOW_TRACKING_URI": uri})
    except SettingsError as error:
        complain(str(error))
        return 1
    return 0


def fetch(source: str, folder: Path) -> None:
    """Copy the images of an object store to this machine; files that it has already are kept."""
    # here and not above: most machines have their images, and the import takes a second
    from pyarrow import fs

    try:
        store = ObjectFolders(source)
        found = store.files.get_file_info(fs.FileSelector(store.root, recursive=True))
    except (OSError, SettingsError) as error:
        raise SettingsError(
            f"GANFORGE_DATA = {source}: cannot be read ({error}); "
            "give this machine the right to read it"
        ) from None
    here = fs.LocalFileSystem()
    for info in found:
        target = folder / Path(info.path).relative_to(store.root)
        if info.type != fs.FileType.File:
            continue
        if target.is_file() and target.stat().st_size == info.size:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        fs.copy_files(info.path, str(target), store.files, here)
    if not any(folder.rglob("*.*")):
        raise SettingsError(f"GANFORGE_DATA = {source}: no files there; give the images' address")


def serve(storage: str, folder: Path) -> str:
    """Start the MLflow server, replacing one started here before; returns its address.

    Runs are kept in `folder`; artifacts go through the server into `storage`, so that a client
    needs no rights there.
    """
    # Ray's own notion of the address by which other machines reach this one
    from ray.util import get_node_ip_address

    folder.mkdir(parents=True, exist_ok=True)
    note = folder / _NOTE
    _end_former(note)
    address = get_node_ip_address()
    artifacts = join(storage, "mlflow")
    if "?" in artifacts:  # MLflow does not accept a query in an address
        artifacts = str(folder / "artifacts")
    command = [sys.executable, "-m", "mlflow", "server", "--host", address, "--port", str(PORT)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "2"]
    command += ["--serve-artifacts", "--artifacts-destination", artifacts]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(folder / "server.log", "ab") as log:
        server = subprocess.Popen(
            command,
            env=os.environ | quiet,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    note.write_text(json.dumps({"pid": server.pid, "command": command}))
    uri = f"http://{address}:{PORT}"
    until = time.monotonic() + _START_SECONDS
    while not _answers(uri):
        if server.poll() is not None or time.monotonic() > until:
            tail = "".join((folder / "server.log").read_text().splitlines(keepends=True)[-5:])
            raise SettingsError(f"the MLflow server did not start; {folder}/server.log:\n{tail}")
        time.sleep(0.5)
    return uri


def _answers(uri: str) -> bool:
    try:
        with urllib.request.urlopen(
            f"{uri}/api/2.0/mlflow/experiments/search?max_results=1", timeout=5
        ) as answer:
            return answer.status == 200
    except OSError:
        return False


def _end_former(note: Path) -> None:
    """End the server that `note` names; a process id alone may belong to another process by now."""
    if not note.is_file():
        return
    former = json.loads(note.read_text())
    command = Path(f"/proc/{former['pid']}/cmdline")
    if not command.is_file() or "mlflow" not in command.read_text():
        return
    with suppress(ProcessLookupError):
        os.killpg(former["pid"], signal.SIGTERM)
    for _ in range(100):
        if not command.exists():
            return
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
