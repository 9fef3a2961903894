"""The registered model: the same bytes as torch, where ganforge is installed and where not."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnxruntime
import pytest
import torch
from generators import record_run, small_model
from numpy.typing import NDArray
from rich.console import Console

from ganforge.commands.cli import main
from ganforge.commands.register import register_best
from ganforge.inference.tiles import upscale
from ganforge.metrics.image_quality import to_bytes
from ganforge.systems.base import Metric
from ganforge.tracking.client import open_client
from ganforge.tracking.queries import fetch_tags
from ganforge.tracking.registry import Registered, fetch_registered, register

# slow: making the ONNX file and starting a server take ten seconds each
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture(scope="module")
def run_id(uri) -> str:
    return record_run(uri, "faces")


@pytest.fixture(scope="module")
def registered(uri, run_id, tmp_path_factory) -> Registered:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        made = register(uri, run_id, "faces")
    assert not list(elsewhere.iterdir())  # no store of the working directory
    return made


@pytest.fixture(scope="module")
def folder(uri, run_id, registered, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("downloaded")
    found, run = fetch_registered(uri, "models:/faces@champion", target)
    assert run == run_id
    return found


def levels(count: int, height: int, width: int) -> NDArray[np.uint8]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def by_torch(given: NDArray[np.uint8]) -> NDArray[np.uint8]:
    images = torch.from_numpy(given).permute(0, 3, 1, 2).float() / 127.5 - 1
    return to_bytes(upscale(small_model().network, images)).permute(0, 2, 3, 1).numpy()


def nearly_equal(answer: Any, wanted: NDArray[np.uint8]) -> bool:
    """Another number of threads may sum in another order: a level, in a few of a million."""
    apart = np.abs(np.array(answer).astype(int) - wanted.astype(int))
    return bool(apart.max() <= 1 and (apart > 0).mean() < 1e-5)


def test_the_loaded_model_makes_the_bytes_of_torch(uri, registered):
    assert registered.version == "1" and registered.notes == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        try:
            loaded = mlflow.pyfunc.load_model("models:/faces@champion")
        finally:
            mlflow.set_tracking_uri(None)
    for size in ((1, 1, 1), (1, 16, 24), (3, 33, 20)):
        assert (loaded.predict(levels(*size)) == by_torch(levels(*size))).all()


def test_exports_agree_with_torch_on_other_sizes(folder, registered):
    program = torch.export.load(folder / "exports" / "generator.pt2").module()
    session = onnxruntime.InferenceSession(folder / "exports" / "generator.onnx")
    network = small_model().network
    for shape in ((1, 3, 128, 128), (2, 3, 21, 50), (5, 3, 8, 9)):
        images = torch.rand(shape, generator=torch.manual_seed(0)) * 2 - 1
        expected = upscale(network, images)
        (made,) = session.run(None, {"source": images.numpy()})
        assert (torch.from_numpy(made) - expected).abs().max() < 1e-5
        assert (program(images) - expected).abs().max() < 1e-5
    assert set(registered.differences) == {"onnx", "torch"}
    assert max(registered.differences.values()) < 1e-5


def test_differences_and_figures_are_recorded(uri, run_id, registered):
    client = open_client(uri)
    metrics = client.get_run(run_id).data.metrics
    assert metrics["export/onnx_max_difference"] == registered.differences["onnx"]
    version = client.get_model_version_by_alias("faces", "champion")
    assert version.run_id == run_id and version.tags["value"] == "31.0"
    assert client.get_run(run_id).info.status == "FINISHED"
    assert fetch_tags(uri, run_id)["outcome"] == "finished"


def test_it_loads_where_ganforge_is_not_installed(folder):
    """The copy of the package in the model is the one that is imported, from another folder."""
    code = (
        "import sys, numpy as np, mlflow\n"
        f"loaded = mlflow.pyfunc.load_model({str(folder)!r})\n"
        "import ganforge\n"
        "print(ganforge.__file__)\n"
        "print(loaded.predict(np.zeros((1, 5, 6, 3), np.uint8)).shape)\n"
        "print(sorted({'ray', 'optuna', 'torchvision', 'typer', 'PIL'} & set(sys.modules)))\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    where, shape, heavy = done.stdout.strip().splitlines()[-3:]
    assert Path(where).is_relative_to(folder), done.stderr
    assert shape == "(1, 10, 12, 3)" and "ray" not in heavy and "torchvision" not in heavy
    needs = (folder / "requirements.txt").read_text()
    assert "torch==" in needs and "ganforge" not in needs


OWN = """
from ganforge.systems.progressive_gan_sr import ProgressiveGANSR
from terms_of_mine import NOTHING


class Mine(ProgressiveGANSR):
    pass
"""


def test_a_system_of_ones_own_travels_with_its_model(uri, tmp_path, monkeypatch):
    """To a machine that has neither its file nor trusts it; MLflow's server there has run the code
    of the model anyway."""
    from run_files import log_files

    from ganforge.commands.models import find_model
    from ganforge.systems.trust import UntrustedCode, sources_sha256, trust
    from ganforge.tracking.queries import fetch_settings
    from ganforge.tracking.run_ref import RunRef

    own = record_run(uri, "own")
    sources = {"mine.py": OWN, "terms_of_mine.py": "NOTHING = 0\n"}
    settings = fetch_settings(uri, own) | {"system": "mine.py:Mine"}
    files = {f"source/{name}": text.encode() for name, text in sources.items()}
    log_files(RunRef(uri, own), files | {"settings.json": json.dumps(settings).encode()})
    monkeypatch.setenv("GANFORGE_TRUST", str(tmp_path / "one"))
    with pytest.raises(UntrustedCode):
        register(uri, own, "own")
    trust(sources_sha256(sources), "a test")
    register(uri, own, "own")
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "other machine"))
    monkeypatch.setenv("GANFORGE_TRUST", str(tmp_path / "two"))
    with pytest.raises(UntrustedCode, match=r"class Mine in mine\.py with terms_of_mine\.py"):
        find_model("models:/own@champion", uri)
    assert find_model("models:/own@champion", uri, trust_code=True).model.scale == 2
    folder, _ = fetch_registered(uri, "models:/own@champion", tmp_path)
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "a third machine"))
    monkeypatch.setenv("GANFORGE_TRUST", str(tmp_path / "three"))
    code = (
        "import numpy as np, mlflow\n"
        f"loaded = mlflow.pyfunc.load_model({str(folder)!r})\n"
        "print(loaded.predict(np.zeros((1, 5, 6, 3), np.uint8)).shape)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip().endswith("(1, 10, 12, 3)"), done.stderr


def test_a_search_that_ends_twice_registers_once(uri, run_id, registered):
    again = register(uri, run_id, "faces")
    assert (again.version, again.uri) == ("1", "models:/faces@champion")


def test_a_worse_run_does_not_take_the_title_and_another_measure_does(uri, registered):
    worse = register(uri, record_run(uri, "faces", psnr=20.0), "faces")
    assert (worse.version, worse.incumbent) == ("2", "1") and worse.uri == "models:/faces/2"
    other = register(uri, record_run(uri, "faces", psnr=20.0, seed=5), "faces")
    assert (other.version, other.incumbent) == ("3", None)
    open_client(uri).set_registered_model_alias("faces", "champion", "1")


def test_the_commands_take_registered_models(uri, run_id, registered, tmp_path, capsys):
    from PIL import Image

    Image.fromarray(levels(1, 40, 48)[0]).save(tmp_path / "a.png")
    for name in ("HR", "LR"):
        (tmp_path / "b" / "x2" / name).mkdir(parents=True)
    Image.fromarray(levels(1, 40, 48)[0]).save(tmp_path / "b" / "x2" / "HR" / "a.png")
    Image.fromarray(levels(1, 20, 24)[0]).save(tmp_path / "b" / "x2" / "LR" / "a.png")
    where = ["--tracking-uri", uri]
    for number, name in enumerate(("models:/faces@champion", "models:/faces/1", "models:/faces",
                                   run_id, f"runs:/{run_id}")):  # fmt: skip
        arguments = ["upscale", str(tmp_path / "a.png"), "--model", name, *where]
        with pytest.raises(SystemExit) as left:
            main([*arguments, "--output", str(tmp_path / str(number))])
        assert not left.value.code
        with Image.open(tmp_path / str(number) / "a.png") as made:
            assert (np.asarray(made) == by_torch(levels(1, 40, 48))[0]).all()
    arguments = ["evaluate", "--model", "models:/faces@champion", "--benchmark"]
    with pytest.raises(SystemExit):
        main([*arguments, str(tmp_path / "b" / "x2"), *where])
    assert "recorded as benchmark/b_x2" in capsys.readouterr().out
    client = open_client(uri)
    assert client.get_run(run_id).data.metrics["benchmark/b_x2/psnr"] > 0
    assert [f.path for f in client.list_artifacts(run_id, "benchmarks")] == ["benchmarks/b_x2.csv"]
    for name in ("models:/nobody@champion", "0" * 32):
        with pytest.raises(SystemExit) as left:
            main(["export", "--model", name, "--output", str(tmp_path / "g.onnx"), *where])
        assert left.value.code == 2
        assert re.search("unavailable from", capsys.readouterr().err)


@contextmanager
def serving(uri: str, **variables: str) -> Iterator[tuple[int, str]]:
    """The process id and the address of a server of the champion, ended afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    scripts = Path(sys.executable).parent
    environment = (
        os.environ
        | variables
        | {
            "MLFLOW_TRACKING_URI": uri,
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        }
    )
    command = [shutil.which("mlflow", path=environment["PATH"]) or "mlflow", "models", "serve"]
    command += ["--model-uri", "models:/faces@champion", "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, env=environment, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        limit = time.monotonic() + 200
        while True:
            try:
                with urllib.request.urlopen(f"{address}/ping", timeout=60):
                    break
            except OSError:
                assert server.poll() is None and time.monotonic() < limit
                time.sleep(0.5)
        yield server.pid, address
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def answer_to(address: str, given: NDArray[np.uint8]) -> tuple[int, Any]:
    """The status and the content of the answer to a request."""
    body = json.dumps({"inputs": given.tolist()}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/invocations", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=250) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def most_bytes(group: int) -> int:
    """The most memory that a process of a group has held."""
    found = [0]
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):  # a process that ended meanwhile
            if os.getpgid(int(status.parent.name)) == group:
                peak = status.read_text().partition("VmHWM:")[2].split()
                found.append(int(peak[0]) * 1024 if peak else 0)
    return max(found)


def test_serve_answers_an_image_of_128_with_one_of_256(uri, registered):
    given = levels(1, 128, 128)
    with serving(uri) as (_, address):
        status, answer = answer_to(address, given)
    made = np.array(answer["predictions"])
    assert status == 200 and made.shape == (1, 256, 256, 3)
    assert (made == by_torch(given)).all()


def test_a_request_of_27_megabytes_is_refused_in_little_memory(uri, registered):
    """Three megapixels, of which the network and the answer would take gigabytes."""
    with serving(uri, GANFORGE_SERVED_BYTES=str(2**28)) as (group, address):
        assert answer_to(address, levels(1, 16, 16))[0] == 200
        before = most_bytes(group)
        status, answer = answer_to(address, levels(1, 1600, 1600))
        assert status == 400
        assert "1 images of 1600 × 1600 pixels" in answer["message"]
        assert "more than a request may take (0.25 GiB)" in answer["message"]
        assert answer["error_code"] == "INVALID_PARAMETER_VALUE"
        # what the server makes of the request before the model sees it
        assert most_bytes(group) - before < 1.5 * 2**30
        given = levels(1, 200, 300)  # it goes on serving
        status, answer = answer_to(address, given)
        assert status == 200 and nearly_equal(answer["predictions"], by_torch(given))


def test_a_request_in_tiles_stays_within_its_memory(uri, registered):
    most = 2**31
    with serving(uri, GANFORGE_SERVED_BYTES=str(most)) as (group, address):
        answer_to(address, levels(1, 16, 16))
        before = most_bytes(group)
        given = levels(1, 1000, 1200)
        status, answer = answer_to(address, given)
        assert status == 200 and most_bytes(group) - before < most
    assert nearly_equal(answer["predictions"], by_torch(given))


def test_predict_answers_from_a_file(uri, registered, tmp_path):
    given = levels(2, 9, 12)
    (tmp_path / "in.json").write_text(json.dumps({"inputs": given.tolist()}))
    command = [str(Path(sys.executable).with_name("mlflow")), "models", "predict"]
    command += ["--model-uri", "models:/faces@champion", "--env-manager", "local"]
    command += ["--content-type", "json", "--input-path", str(tmp_path / "in.json")]
    command += ["--output-path", str(tmp_path / "out.json")]
    subprocess.run(command, env=os.environ | {"MLFLOW_TRACKING_URI": uri}, check=True)
    made = np.array(json.loads((tmp_path / "out.json").read_text())["predictions"])
    assert (made == by_torch(given)).all()


def test_registering_the_best_is_reported_and_never_fatal(uri, run_id, registered, capsys):
    console = Console(width=300)
    register_best(console, run_id, "a/search", Metric("validation/psnr", "max"), uri)
    output = capsys.readouterr().out
    assert "models:/a-search@champion" in output and "mlflow models serve" in output
    assert "torch.export: its output is the network's to" in output
    register_best(console, "0" * 32, "a/search", Metric("validation/psnr", "max"), uri)
    output = capsys.readouterr().out
    assert "was not registered" in output and "ganforge register --model 000" in output
