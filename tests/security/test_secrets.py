"""Secrets stay where they belong: in the environment and in files of 0600.

The quick tests take a door each; the slow one trains for real and looks for the values in all
that a run leaves behind (pytest -m slow tests/security/test_secrets.py).
"""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from filled import KUBERNETES, LOCAL, filled

from ganforge.addresses import without_credentials
from ganforge.cluster import private_files
from ganforge.cluster.bootstrap import main as bootstrap
from ganforge.cluster.private_files import make_token, protect, protect_secrets
from ganforge.cluster.session import cluster_address, worker_environment
from ganforge.cluster.variables import mistakes, read_machine_file, replace
from ganforge.commands.cli import main
from ganforge.doctor.cluster_file import check_file
from ganforge.settings import SettingsError
from ganforge.tracking.run_ref import RunRef
from ganforge.training.files import open_folders

SECRET = "n0b0dy-sees-this"
NAMES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "GANFORGE_OWN",
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, with nothing in it."""
    for name in ("RAY_AUTH_TOKEN_PATH", "RAY_AUTH_TOKEN", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (f"http://me:{SECRET}@host:5000/x", "http://host:5000/x"),
        (f"https://{SECRET}@host", "https://host"),
        (f"http://me:a/{SECRET}@host", "http://host"),
        (f"s3://key:{SECRET}@bucket/x", "s3://bucket/x"),
        (f"postgresql+psycopg2://me:{SECRET}@host/db", "postgresql+psycopg2://host/db"),
        (f"postgresql://me:a/{SECRET}@host/db", "postgresql://host/db"),
        (f" http://me:{SECRET}@host", " http://host"),
        (f"http://host/?token={SECRET}", "http://host/"),
        (f"http://host/x?a=1&Auth%54oken={SECRET}&b=2#c", "http://host/x?a=1&b=2#c"),
        (f"http://host?api_key={SECRET}&a=1", "http://host?a=1"),
        (f"postgresql://me@host/db?password={SECRET}", "postgresql://me@host/db"),
        (f"mysql+pymysql://me@host/db?passwd={SECRET}", "mysql+pymysql://me@host/db"),
        (f"mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3D{SECRET}", "mssql+pyodbc:///"),
        (f"databricks://a:{SECRET}", "databricks://a"),
        (f"s3://bucket/x?secret_key={SECRET}&region=eu", "s3://bucket/x?region=eu"),
        ("postgresql://me@host/db?sslmode=verify-full&sslkey=/a.key", None),
        ("s3://bucket/x?endpoint_override=host:9000&scheme=http&region=eu", None),
        ("databricks://profile", None),
        ("/home/me/token?key=1", None),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("http://host:5000", "http://host:5000"),
        ("models:/name@champion", "models:/name@champion"),
    ],
)
def test_an_address_is_recorded_without_credentials(given: str, kept: str | None) -> None:
    kept = given if kept is None else kept
    assert without_credentials(given) == kept
    # what an older version recorded is cleaned where it is read
    assert RunRef(given, "0" * 32).entry()["uri"] == kept


@pytest.mark.parametrize("command", ["train", "tune"])
@pytest.mark.parametrize(
    ("options", "variable"),
    [
        (["--tracking-uri", f"http://me:{SECRET}@127.0.0.1:1"], ""),
        ([], f"http://me:{SECRET}@127.0.0.1:1"),
        (["--storage", f"s3://key:{SECRET}@bucket/x"], ""),
        (["--tracking-uri", f" http://me:{SECRET}@127.0.0.1:1"], ""),
        (["--tracking-uri", f"http://127.0.0.1:1/?token={SECRET}"], ""),
        ([], f"postgresql://me@127.0.0.1/db?password={SECRET}"),
        ([], f"databricks://a:{SECRET}"),
        (["--storage", f"s3://bucket/x?secret_key={SECRET}"], ""),
    ],
)
def test_credentials_in_an_address_are_refused_and_not_repeated(
    command: str,
    options: list[str],
    variable: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", variable)
    with pytest.raises(SystemExit) as left:
        main([command, *options])
    shown = "".join(capsys.readouterr())
    assert left.value.code == 2
    assert "must not hold a user name and password" in shown and "Fix: leave them out" in shown
    assert SECRET not in shown and not list(tmp_path.iterdir())


def test_a_storage_with_keys_in_its_address_is_not_opened() -> None:
    with pytest.raises(SettingsError, match="AWS_SECRET_ACCESS_KEY") as refused:
        open_folders(f"s3://key:{SECRET}@bucket/x")
    assert SECRET not in str(refused.value)
    given = {"GANFORGE_STORAGE": f"s3://key:{SECRET}@bucket/x", "GANFORGE_DATA": "built-in"}
    (mistake,) = mistakes(given)
    assert SECRET not in str(mistake)


def test_tune_gives_no_credentials_to_its_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.execution.class_cache import _ActorClassCache

    import ganforge.search.tune_adapter  # noqa: F401 - what is tested

    class Trainable:
        pass

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    remote = _ActorClassCache().get(Trainable)
    assert remote._default_options["runtime_env"]["env_vars"]
    assert "hidden" not in str(remote._default_options)


def test_no_secret_is_given_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    found = worker_environment(threads=3)
    assert SECRET not in found.values() and not set(NAMES) & found.keys()
    assert (found["OMP_NUM_THREADS"], found["NO_PROXY"]) == ("3", "127.0.0.1")


def test_a_machine_of_a_cluster_has_its_credentials_in_its_own_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"AWS_SECRET_ACCESS_KEY={SECRET}\nAWS_ACCESS_KEY_ID=other\nPATH=/nowhere\n"
    (home / ".ganforge.secrets").write_text(text)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    monkeypatch.delenv("GANFORGE_READ_MACHINE_FILE", raising=False)
    read_machine_file()  # not one of a cluster: the file is not looked at
    assert "AWS_SECRET_ACCESS_KEY" not in os.environ
    monkeypatch.setenv("GANFORGE_READ_MACHINE_FILE", "1")
    read_machine_file()
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET
    # what the machine's environment says comes first, and nothing but credentials is read
    assert os.environ["AWS_ACCESS_KEY_ID"] == "mine" and os.environ["PATH"] != "/nowhere"
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


@pytest.mark.parametrize("name", [".ganforge.env", ".ganforge.secrets", ".ray/auth_token"])
def test_a_file_with_secrets_is_closed(
    home: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = home / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(SECRET)
    file.chmod(0o644)
    protect_secrets()
    assert mode(file) == 0o600
    assert "could be read by others" in caplog.text and SECRET not in caplog.text
    caplog.clear()
    protect_secrets()
    assert not caplog.text


def test_a_file_that_cannot_be_closed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text(SECRET)
    file.chmod(0o640)

    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(private_files.os, "chmod", refuse)
    with pytest.raises(SettingsError, match=r"mode 0640.*Fix: chmod 600"):
        protect(file)


def test_rays_token_is_made_for_its_owner_alone(home: Path) -> None:
    make_token()
    token = home / ".ray" / "auth_token"
    assert mode(token) == 0o600 and len(token.read_text()) == 64
    before = token.read_text()
    make_token()
    assert token.read_text() == before


def test_the_bootstrap_closes_the_variables_and_keeps_them_closed(home: Path) -> None:
    file = home / ".ganforge.env"
    file.write_text("GANFORGE_STORAGE=s3://b/x\nGANFORGE_DATA=built-in\n")
    file.chmod(0o644)
    assert bootstrap([]) == 0
    assert mode(file) == 0o600
    replace(file, {"GANFORGE_DATA": "/images"})
    assert mode(file) == 0o600 and "GANFORGE_DATA=/images" in file.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to another user")
def test_the_cluster_of_another_user_is_not_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr("ganforge.cluster.session._listens", lambda address: True)
    file = tmp_path / "ray" / "ray_current_cluster"
    file.parent.mkdir()
    file.write_text("127.0.0.1:4242")
    assert cluster_address() == "127.0.0.1:4242"
    os.chown(file, 12345, 12345)
    assert cluster_address() != "127.0.0.1:4242"


def test_keys_in_a_cluster_file_are_an_error(home: Path) -> None:
    config = filled(LOCAL)
    added = f"AWS_SECRET_ACCESS_KEY={SECRET}\nGANFORGE_PYTHON="
    block = config["metadata"]["environment"].replace("GANFORGE_PYTHON=", added)
    config["metadata"]["environment"] = block
    assert "AWS_SECRET_ACCESS_KEY" in errors(home, config)
    job = filled(KUBERNETES)
    group = job["spec"]["rayClusterSpec"]["headGroupSpec"]
    group["template"]["spec"]["containers"][0]["env"] = [
        {"name": "MLFLOW_TRACKING_PASSWORD", "value": SECRET}
    ]
    assert "head: MLFLOW_TRACKING_PASSWORD" in errors(home, job)


def errors(home: Path, config: object) -> set[str]:
    import yaml

    file = home / "mine.yaml"
    file.write_text(yaml.safe_dump(config))
    found = [finding for finding in check_file(file) if finding.verdict == "error"]
    assert not [finding for finding in found if SECRET in finding.message + finding.fix]
    return {finding.subject for finding in found}


@pytest.fixture
def short() -> Iterator[Path]:
    """A temporary folder with a path short enough for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="gf-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(400)
def test_nothing_that_a_run_leaves_behind_holds_a_secret(short: Path) -> None:
    """T17: database, artifacts, storage, outboxes, Ray's session with its logs, and what is shown;
    with a fault-free partner: a value that is no secret is found where it is looked for."""
    small = "quick --start 8 --target 16 --set width=8 --set batch_size=8 --set images_per_epoch=16"
    small += " --set shards=4 --set validation.images=2 --set validation.max_side=64"
    small += " --set perceptual.network=none --set data.max_side=128 --set validation.samples=1"
    command = [sys.executable, "-m", "ganforge", "train", "--preset", *small.split()]
    given = {name: SECRET for name in NAMES}
    given |= {"RAY_ADDRESS": "local", "RAY_TMPDIR": str(short), "HOME": str(short)}
    given |= {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_URI": ""}
    command += ["--experiment", "can-be-seen"]
    done = subprocess.run(
        command, cwd=short, env=os.environ | given, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert (short / "ray").is_dir() and (short / "mlflow.db").is_file()
    files = [path for path in short.rglob("*") if path.is_file()]
    assert [path for path in files if b"can-be-seen" in path.read_bytes()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert mode(short / ".ray" / "auth_token") == 0o600
