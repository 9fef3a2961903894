"""The shipped cluster files pass once they are filled in; every planted mistake is named."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import ganforge
from filled import AWS, KUBERNETES, LOCAL, ROOT, filled

from ganforge.doctor.cluster_file import check_file
from ganforge.doctor.findings import Finding
from ganforge.doctor.packages import extras, unmet

Plant = Callable[[dict[str, Any]], None]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a token and a key; the project's files lie next to the cluster file."""
    for name, mode in ((".ray/auth_token", 0o600), (".ssh/key", 0o600)):
        file = tmp_path / name
        file.parent.mkdir()
        file.write_text("secret")
        file.chmod(mode)
    monkeypatch.setenv("HOME", str(tmp_path))
    # no kubectl, whatever this machine has
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in ("platform", "search_spaces"):
        (tmp_path / name).mkdir()
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        (tmp_path / name).touch()
    return tmp_path


def errors(home: Path, config: Any) -> list[Finding]:
    file = home / "mine.yaml"
    file.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    return [finding for finding in check_file(file) if finding.verdict == "error"]


@pytest.mark.parametrize("name", [AWS, LOCAL, KUBERNETES])
def test_the_shipped_files_pass_once_they_are_filled_in(home: Path, name: str) -> None:
    assert errors(home, filled(name)) == []


@pytest.mark.parametrize("name", [AWS, LOCAL, KUBERNETES])
def test_each_empty_value_of_a_shipped_file_is_named(home: Path, name: str) -> None:
    found = "\n".join(f"{f.subject} {f.message}" for f in errors(home, (ROOT / name).read_text()))
    keys = {AWS: ["region", "metadata.image", "metadata.head_profile", "metadata.worker_profile"]}
    keys[LOCAL] = ["head_ip", "worker_ips", "metadata.ssh_user", "metadata.ssh_key", "NODES"]
    keys[KUBERNETES] = ["containers.0.image", "MLFLOW_TRACKING_URI is empty"]
    keys[name] += ["GANFORGE_STORAGE is empty", "GANFORGE_DATA is empty"]
    assert not [key for key in keys[name] if key not in found], found


def put(path: str, value: Any) -> Plant:
    """Set a/b/c of a file; lists by number, and | for the / of a name."""

    def plant(config: Any) -> None:
        *above, last = (part.replace("|", "/") for part in path.split("/"))
        for part in above:
            config = config[int(part) if part.isdigit() else part]
        config[int(last) if last.isdigit() else last] = value

    return plant


def drop(path: str) -> Plant:
    def plant(config: Any) -> None:
        *above, last = (part.replace("|", "/") for part in path.split("/"))
        for part in above:
            config = config[part]
        del config[last]

    return plant


def change(old: str, new: str) -> Plant:
    """Change the text of commands and variables."""

    def plant(config: Any) -> None:
        before = yaml.safe_dump(config, width=10000)
        assert old in before, old
        after = yaml.safe_load(before.replace(old, new))
        config.clear()
        config.update(after)

    return plant


WORKER = "available_node_types/worker"
START = "head_start_ray_commands"
GROUP = "spec/rayClusterSpec/headGroupSpec"
ENV = f"{GROUP}/template/spec/containers/0/env"
MISTAKES: list[tuple[str, Plant, str]] = [
    (AWS, put("provider/regoin", "eu-central-1"), r"provider.regoin is not a key of Ray's"),
    (LOCAL, put("provider/ssh_port", 22), r"provider.ssh_port is not a key of Ray's"),
    (AWS, put("max_wrokers", 3), r"Ray's validation .*max_wrokers"),
    (AWS, put("auth/user", "me"), r"Ray's validation .*'user' was unexpected"),
    (AWS, put("head_node_type", "haed"), r"Ray's validation .*head_node_type"),
    (AWS, put("file_mounts/~|images", "nowhere"), r"file_mounts ~/images nowhere does not"),
    (AWS, put(f"{WORKER}/max_workers", 9), r"worker max_workers 9 is above .* max_workers 8"),
    (AWS, put(f"{WORKER}/min_workers", 9), r"worker min_workers 9 is above max_workers 8"),
    (AWS, put("available_node_types/head/resources", {}), r"head the head takes trials"),
    (AWS, change("--num-cpus=0 ", ""), rf"{START} the head takes trials"),
    (AWS, change("=s3://bucket/x", "="), r"GANFORGE_STORAGE is empty"),
    (AWS, change("s3://bucket/x", "s3:///x"), r"GANFORGE_STORAGE s3:///x names no bucket"),
    (AWS, change("s3://bucket/x", "runs"), r"GANFORGE_STORAGE runs is relative"),
    (LOCAL, change("=built-in", "="), r"GANFORGE_DATA is empty"),
    (LOCAL, change("=built-in", "=photos"), r"GANFORGE_DATA photos is relative"),
    (LOCAL, change("NODES=3", "NODES=2"), r"GANFORGE_NODES 2 machines .* the file has 3"),
    (AWS, change("SECONDS=1200", "SECONDS=soon"), r"GANFORGE_WAIT_SECONDS soon is not a number"),
    (AWS, change("AUTH_MODE=token", "AUTH_MODE=disabled"), r"RAY_AUTH_MODE token .* is off"),
    (AWS, drop("file_mounts/~|.ray|auth_token"), r"token does not reach the machines"),
    (AWS, change("chmod 600 ~/.ray/auth_token", "true"), r"token is left open to other users"),
    (AWS, put("provider/region", ""), r"provider.region is empty"),
    (LOCAL, put("provider/worker_ips", []), r"provider.worker_ips is empty"),
    (LOCAL, put("provider/worker_ips/1", "10.0.0.2"), r"names 10.0.0.2 twice"),
    (LOCAL, put("provider/worker_ips/1", "10.0.0.1"), r"names the head \(10.0.0.1\)"),
    (LOCAL, put("provider/head_ip", "127.0.0.1"), r"127.0.0.1 is each machine's own"),
    (LOCAL, put("auth/ssh_private_key", "~/.ssh/none"), r"ssh_private_key .* does not exist"),
    (LOCAL, change("export RAY_enable_autoscaler_v2=0;", ""), r"not all workers would come up"),
    (
        LOCAL,
        change("--autoscaling-config=~/ray_bootstrap_config.yaml", ""),
        r"head does not know of the",
    ),
    (LOCAL, change("$RAY_HEAD_IP", "localhost"), r"workers do not know the head's address"),
    (LOCAL, change("ganforge.cluster.bootstrap --head", "json.tool"), r"no MLflow server"),
    (AWS, change("--num-gpus=0", "--dashboard-host=0.0.0.0"), r"dashboard is open to anyone"),
    (AWS, change("--num-gpus=0", "--dashboard-port=10500"), r"10500 is one of the ports"),
    (AWS, change("pip install -q", "pip check"), r"the project is not installed"),
    (AWS, drop("file_mounts/~|ganforge|platform"), r"the project does not reach the machines"),
    (KUBERNETES, put("spec/shutdownAfterJobFinishes", False), r"machines stay when the search"),
    (KUBERNETES, put("spec/rayClusterSpec/authOptions/mode", "disabled"), r"token .* is off"),
    (KUBERNETES, put(f"{GROUP}/rayStartParams", {}), r"the head takes trials"),
    (KUBERNETES, put(f"{ENV}/0/value", ""), r"GANFORGE_STORAGE is empty"),
    (KUBERNETES, put(f"{ENV}/4/value", ""), r"MLFLOW_TRACKING_URI is empty"),
    (KUBERNETES, put(f"{GROUP}/template/spec/containers/0/image", ""), r"0.image is empty"),
    (KUBERNETES, drop(GROUP), r"rayClusterSpec cannot be checked \(KeyError: 'headGroupSpec'"),
]


@pytest.mark.parametrize(("name", "plant", "named"), MISTAKES, ids=[row[2] for row in MISTAKES])
def test_a_planted_mistake_is_named_with_its_fix(
    home: Path, name: str, plant: Plant, named: str
) -> None:
    config = filled(name)
    plant(config)
    found = errors(home, config)
    lines = [f"{f.subject} {f.message}" for f in found if f.fix]
    assert [line for line in lines if re.search(named, line)], lines


def test_an_open_a_missing_and_an_empty_token_are_named(home: Path) -> None:
    token = home / ".ray/auth_token"
    token.chmod(0o644)
    (open_to_others,) = errors(home, filled(AWS))
    assert "open to others" in open_to_others.message and "chmod 600" in open_to_others.fix
    token.write_text("")
    assert "is empty" in errors(home, filled(AWS))[0].message
    token.unlink()
    assert "ray get-auth-token --generate" in errors(home, filled(AWS))[0].fix


def test_no_yaml_and_no_file_are_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not YAML" in errors(home, "a: [1\nb: 2")[0].message
    (home / "image.yaml").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "is not YAML" in check_file(home / "image.yaml")[0].message
    assert ganforge("doctor", home / "none.yaml") == 1
    assert "No such file" in capsys.readouterr().out


def test_both_clusters_share_all_that_can_be_shared() -> None:
    aws, local = (yaml.safe_load((ROOT / name).read_text()) for name in (AWS, LOCAL))
    for key in (
        "cluster_name",
        "file_mounts",
        "rsync_exclude",
        "setup_commands",
        "worker_start_ray_commands",
    ):
        mine, theirs = aws[key], local[key]
        if key == "setup_commands":  # the variables differ: what is asked for, not how
            mine, theirs = ([c for c in x if "GANFORGE_STORAGE" not in c] for x in (mine, theirs))
        assert mine == theirs, key
    only = "export RAY_enable_autoscaler_v2=0; "
    assert " ".join(aws[START]) == " ".join(local[START]).replace(only, "")
    common = {"GANFORGE_STORAGE", "GANFORGE_DATA", "GANFORGE_PYTHON", "RAY_AUTH_MODE"}
    for config in (aws, local):
        assert all(f"{name}=" in config["metadata"]["environment"] for name in common)


#: Answers as kubectl does: `version` says whether a server is reached, `apply` takes the manifest.
KUBECTL = """#!/bin/sh
echo "$@" >> {log}
case "$1" in
get) [ {reached} = yes ] || {{ echo "The connection to the server was refused" >&2; exit 1; }} ;;
apply)
    while read -r line; do
        case "$line" in *shutdownAfterJobFinished:*)
            echo 'Error from server (BadRequest): unknown field "spec.shutdownAfterJobFinished"' >&2
            exit 1 ;;
        esac
    done < "$5" ;;
esac
"""


def kubectl(home: Path, reached: str = "yes") -> Path:
    """A stand-in on PATH; the file of the commands that it was given."""
    log, file = home / "kubectl.log", home / "bin/kubectl"
    file.parent.mkdir(exist_ok=True)
    file.write_text(KUBECTL.format(log=log, reached=reached))
    file.chmod(0o755)
    return log


def rayjob(home: Path, **more: Any) -> list[Finding]:
    config = filled(KUBERNETES)
    config["spec"] |= more
    file = home / "mine.yaml"
    file.write_text(yaml.safe_dump(config))
    return check_file(file)


def test_a_rayjob_that_the_api_server_accepts_is_ok(home: Path) -> None:
    log = kubectl(home)
    assert [f for f in rayjob(home) if f.verdict != "ok"] == []
    asked = log.read_text().splitlines()[-1]
    expected = f"apply --dry-run=server --validate=strict -f {home / 'mine.yaml'} -o name"
    assert asked == expected


def test_what_the_api_server_refuses_is_an_error_with_its_message(home: Path) -> None:
    kubectl(home)
    (error,) = (f for f in rayjob(home, shutdownAfterJobFinished=True) if f.verdict == "error")
    assert 'unknown field "spec.shutdownAfterJobFinished"' in error.message and error.fix


@pytest.mark.parametrize(
    ("reached", "why"), [("no", "server was refused"), ("", "kubectl is not installed")]
)
def test_without_a_cluster_one_finding_says_what_was_not_checked(
    home: Path, reached: str, why: str
) -> None:
    if reached:
        kubectl(home, reached)
    found = rayjob(home, submissionMode="Job")
    (unchecked,) = (f for f in found if f.verdict != "ok")
    assert unchecked.verdict == "warning" and why in unchecked.message
    assert "names and types of its fields were not checked" in unchecked.message
    assert f"kubectl apply --dry-run=server --validate=strict -f {home}" in unchecked.fix


def install(folder: Path, name: str, number: str, *lines: str) -> None:
    """What a package leaves of itself where it is installed."""
    info = folder / f"{name}-{number}.dist-info"
    info.mkdir(parents=True)
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n"
    (info / "METADATA").write_text(head + "".join(f"{line}\n" for line in lines))


def test_missing_and_unfit_packages_are_named_with_what_needs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    install(
        tmp_path, "ganforge", "0.2.0",
        "Requires-Dist: torch>=2.14", "Requires-Dist: torchvision", "Requires-Dist: absent>=1",
        "Requires-Dist: elsewhere; sys_platform == 'nowhere'",
        "Requires-Dist: boto3>=1.35; extra == 'aws'", "Requires-Dist: onnx>=1; extra == 'export'",
        "Provides-Extra: aws", "Provides-Extra: export",
    )  # fmt: skip
    install(tmp_path, "torch", "2.15.0")
    # built for another torch: it would fail when an image is read
    install(tmp_path, "torchvision", "0.29.0", "Requires-Dist: torch==2.14.0")
    install(tmp_path, "boto3", "1.30", "Requires-Dist: botocore")
    assert [(u.package, u.installed, u.required, u.required_by) for u in unmet()] == [
        ("absent", "", ">=1", "ganforge"),
        ("boto3", "1.30", ">=1.35", "ganforge"),
        ("botocore", "", "any version", "boto3"),
        ("torch", "2.15.0", "==2.14.0", "torchvision"),
    ]
    assert extras() == {"aws": [], "export": ["onnx"]}
