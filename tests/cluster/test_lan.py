"""`ray submit cluster.local.yaml trainers/tune.py` on a client, a head, two workers and a store of
their own: separate disks, separate addresses, token authentication, no trial on the head.

`one` has three processors and `two` has one, so that of two trials of two workers each, one lies on
one machine and the other on both.
"""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lan import Lan, missing

ROOT = Path(__file__).parent.parent.parent
REASON = missing()
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(REASON is not None, reason=f"the throw-away LAN {REASON}"),
]
NAMES = ("client", "head", "one", "two", "store")
PROJECT = ("platform", "search_spaces", "trainers", "pyproject.toml", "constraints.txt")
# two stages, so that there is something to stop and something to resume from
WORDS = (
    "--trials 4 --workers 2 --concurrent 2 --preset quick --start 8 --target 32 --seed 3 "
    "--set width=8 --set batch_size=8 --set images_per_epoch=32 --set shards=4 "
    "--set validation.images=2 --set validation.max_side=64 --set validation.samples=2 "
    "--set perceptual.network=none --set data.max_side=128"
)
SECRETS = "AWS_ACCESS_KEY_ID=nobody\nAWS_SECRET_ACCESS_KEY=n0thing-t0-see\n"
OFFLINE = "export PIP_NO_INDEX=1 PIP_NO_BUILD_ISOLATION=0 PIP_ROOT_USER_ACTION=ignore\n"
PATH = "PATH=$HOME/ganforge/.venv/bin:$PATH\n"


@dataclass
class Site:
    """The machines, and how long each part took."""

    lan: Lan
    seconds: dict[str, float]

    def client(self, words: str, *, seconds: float = 300, expect: int | None = 0) -> str:
        """Run a line on the client in the project's folder; its output."""
        began = time.monotonic()
        done = self.lan.run("client", f"cd project && {words}", seconds=seconds, expect=expect)
        self.seconds[words.partition(" --")[0]] = time.monotonic() - began
        print(f"$ {words}\n{done.stdout[-3000:]}")
        return done.stdout

    def submit(self, experiment: str, words: str = WORDS) -> str:
        return f"ray submit cluster.yaml trainers/tune.py -- --experiment {experiment} {words}"

    @property
    def tracking(self) -> str:
        return f"http://{self.lan.address('head')}:5000"

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        words = f"python read_runs.py {self.tracking} {experiment} 2> /dev/null"
        return json.loads(self.client(words).splitlines()[-1])


def filled(lan: Lan) -> str:
    """The shipped file with its values given, and nothing else changed."""
    text = (ROOT / "cluster.local.yaml").read_text()
    store = f"http://{lan.address('store')}:5000"
    given = {
        'head_ip: &head_ip ""': f"head_ip: &head_ip {lan.address('head')}",
        "worker_ips: &worker_ips []": (
            f"worker_ips: &worker_ips [{lan.address('one')}, {lan.address('two')}]"
        ),
        'ssh_user: &ssh_user ""': "ssh_user: &ssh_user root",
        'ssh_key: &ssh_key ""': "ssh_key: &ssh_key ~/.ssh/id_ed25519",
        "GANFORGE_STORAGE=\n": (
            f"GANFORGE_STORAGE=s3://bucket/ganforge\n    AWS_ENDPOINT_URL={store}\n"
            "    AWS_DEFAULT_REGION=us-east-1\n"
        ),
        "  # ~/.ganforge.secrets: ~": "  ~/.ganforge.secrets: ~",
        "GANFORGE_DATA=\n": "GANFORGE_DATA=built-in\n",
        "GANFORGE_NODES=\n": "GANFORGE_NODES=3\n",
    }
    for empty, full in given.items():
        assert text.count(empty) == 1, empty
        text = text.replace(empty, full)
    return text


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A cluster that `ray up` has started, and that `ray down` takes down."""
    folder = tmp_path_factory.mktemp("lan")
    resources = "export RAY_OVERRIDE_RESOURCES='{\"CPU\": %d}'\n"
    profiles = {name: OFFLINE for name in NAMES}
    profiles |= {"client": OFFLINE + PATH, "store": PATH}
    profiles |= {"one": OFFLINE + resources % 3, "two": OFFLINE + resources % 1}
    with Lan(folder, NAMES, profiles) as lan:
        site = Site(lan, {})
        serving = lan.start("store", "moto_server -H 0.0.0.0 -p 5000", folder / "store.log")
        lan.put("client", ROOT, [*PROJECT, "README.md", "LICENSE"], "project")
        lan.put("client", Path(__file__).parent, ["read_runs.py"], "project")
        lan.put("client", Path(__file__).parent.parent, ["read_search.py"], "project")
        lan.write("client", "project/cluster.yaml", filled(lan))
        site.client("pip install -q --no-deps -e . && ray get-auth-token --generate > /dev/null")
        site.client("chmod 600 ~/.ray/auth_token")
        lan.write("client", ".ganforge.secrets", SECRETS)
        site.client("chmod 600 ~/.ganforge.secrets")
        bucket = "import boto3; boto3.client('s3').create_bucket(Bucket='bucket')"
        keys = "AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b AWS_DEFAULT_REGION=us-east-1"
        site.client(f"{keys} AWS_ENDPOINT_URL=http://store:5000 python -c {bucket!r}")
        site.client("ray up -y cluster.yaml", seconds=300)
        yield site
        site.client("ray down -y cluster.yaml", seconds=120)
        left = lan.run("head", "pgrep -f gcs_server", expect=None).stdout
        serving.kill()
        serving.wait()
        print("seconds:", json.dumps(site.seconds, indent=1))
        assert not left.strip(), "the head's Ray is still there after `ray down`"


@pytest.fixture(scope="module")
def undisturbed(site: Site) -> list[dict[str, Any]]:
    """A search of four trials, and what the record says of them."""
    text = site.client(site.submit("undisturbed"), seconds=480)
    assert re.search(r"best +trial \d", text)
    return site.runs("undisturbed")


def test_a_search_on_three_machines_needs_no_shared_disk(
    site: Site, undisturbed: list[dict[str, Any]]
) -> None:
    assert len(undisturbed) == 4
    assert {run["status"] for run in undisturbed} == {"FINISHED"}
    machines = [run["tags"]["machines"].split(", ") for run in undisturbed]
    assert {name for pair in machines for name in pair} == {"one", "two"}
    assert all(len(pair) == 2 for pair in machines)
    assert [pair for pair in machines if len(set(pair)) == 2], "no trial spanned two machines"
    # every run, grid and model through the head's server, from a machine that is no part of it
    print(site.client(f"python read_search.py {site.tracking} undisturbed"))
    for name in ("client", "head", "one", "two"):
        words = (
            r"find / \( -path '*/site-packages' -o -path /usr -o -path /proc -o -path /sys \) "
            r"-prune -o \( -name manifest.json -o -name '*.safetensors' -o -name '*.pt' \) -print"
        )
        assert site.lan.run(name, words, expect=None).stdout == "", name
    listed = (
        "from pyarrow import fs; s = fs.S3FileSystem(access_key='a', secret_key='b', "
        f"scheme='http', endpoint_override='{site.lan.address('store')}:5000'); "
        "print([i.path for i in s.get_file_info(fs.FileSelector('bucket', recursive=True))])"
    )
    paths = site.client(f'python -c "{listed}"')
    assert paths.count("manifest.json") >= 4 and "generator.safetensors" in paths


def test_without_the_token_nobody_comes_in(site: Site) -> None:
    address = f"ray status --address {site.lan.address('head')}:6379"
    # the machines may still be on their way: who comes in sees the list of them all the same
    assert "Total Usage" in site.client(f"RAY_AUTH_MODE=token {address}")
    for words in ("env HOME=/nowhere", "RAY_AUTH_MODE=token RAY_AUTH_TOKEN=guess"):
        told = site.client(f"{words} {address}", expect=None)
        assert "Total Usage" not in told and re.search("(?i)auth|token", told), words


def test_a_search_that_cannot_be_ends_with_an_error(site: Site) -> None:
    told = site.client(site.submit("failing", f"{WORDS} --storage /root/here"), expect=1)
    assert "give s3://bucket/prefix, or a folder that all machines share" in told
    # by hand on the head, the same: its login shell knows all that `ray submit` does
    words = WORDS.replace("--concurrent 2", "--concurrent 3")
    by_hand = site.lan.run("head", f"ganforge tune --experiment failing {words}", expect=2)
    assert "need 6 worker slots, but there are 4 CPUs on 3 machines" in by_hand.stdout


def test_the_doctor_asks_every_machine(site: Site) -> None:
    site.client("ganforge doctor cluster.yaml --running")
    # a terminal of 80 columns folds the table: the words are read on the head
    told = site.lan.run("head", "ganforge doctor").stdout
    for name in ("one", "two"):
        assert re.search(rf"✓ │ {name} .* │ software as here, clock within 5 s, storage", told), (
            told
        )


def test_no_secret_stands_in_a_log_of_any_machine(
    site: Site, undisturbed: list[dict[str, Any]]
) -> None:
    assert undisturbed
    for name in ("head", "one", "two"):
        found = site.lan.run(name, "grep -rl n0thing-t0-see /tmp/ray ~", expect=None).stdout
        assert found.split() == ["/root/.ganforge.secrets"], name
        assert site.lan.run(name, "stat -c %a ~/.ganforge.secrets").stdout.strip() == "600"


@pytest.mark.slow
def test_a_search_whose_trials_all_fail_ends_with_an_error(site: Site) -> None:
    # as a job this time, which outlives the connection
    words = WORDS.replace("--trials 4", "--trials 2") + " --set pixel_weight=1e39"
    job = "ray job submit --address http://127.0.0.1:8265 -- python -m ganforge tune"
    told = site.lan.run("head", f"{job} --experiment broken {words}", seconds=400, expect=1)
    assert "error: no trial finished a stage: " in told.stdout and "stage 0" in told.stdout
    assert [run["status"] for run in site.runs("broken")] == ["FAILED", "FAILED"]


@pytest.mark.slow
def test_the_best_trial_is_reproduced_from_the_client(
    site: Site, undisturbed: list[dict[str, Any]]
) -> None:
    best = max(undisturbed, key=lambda run: run["score"])
    words = f"ganforge reproduce --run {best['run']} --tracking-uri {site.tracking}"
    assert "identical; the verdict is run" in site.client(words)


TURNS = """
from ganforge.search.strategies.base import Begin, Continue, Nothing


class Turns:
    \"\"\"Each trial is paused after each stage, and continued in turn.\"\"\"

    pauses = True

    def next(self, seen, candidates):
        if seen.fresh:
            return Begin()
        if seen.paused:
            return Continue(min(seen.paused, key=lambda c: (c.rung, c.number)).number)
        return Nothing()

    def continues(self, seen, number, candidates):
        return False
"""
# of the later stages alone: all trials branch from one first stage
BRANCHES = """
from ray import tune

SPACE = {
    "stages.1.generator.learning_rate": tune.loguniform(1e-4, 1e-2),
    "stages.2.critic.learning_rate": tune.loguniform(1e-4, 1e-2),
}
"""


@pytest.mark.slow
def test_what_was_branched_paused_twice_and_moved_is_reproduced(site: Site) -> None:
    site.lan.write("head", "turns.py", TURNS)
    site.lan.write("head", "branches.py", BRANCHES)
    words = WORDS.replace("--target 32", "--target 64").replace("--workers 2", "--workers 1")
    words = words.replace("--trials 4 ", "--trials 5 ").replace("--concurrent 2", "--concurrent 3")
    words += " --strategy /root/turns.py:Turns --space /root/branches.py"
    site.client(site.submit("turns", words), seconds=600)
    found = site.runs("turns")
    assert {run["status"] for run in found} == {"FINISHED"} and len(found) == 5
    # one first stage, and nothing else in common
    assert len({run["states"]["0"] for run in found}) == 1
    assert len({run["states"]["2"] for run in found}) == 5
    tags = [run["tags"] for run in found]
    places = [[*t["machines_before"].split("; "), t["machines"]] for t in tags]
    assert all(len(place) == 3 for place in places), places
    moved = [run for run, place in zip(found, places, strict=True) if len(set(place)) > 1]
    assert moved, places
    best = max(found, key=lambda run: run["score"])
    # the best one, and the best of those that moved, from the record alone
    for run in {r["run"]: r for r in (best, max(moved, key=lambda run: run["score"]))}.values():
        words = f"ganforge reproduce --run {run['run']} --tracking-uri {site.tracking}"
        assert "identical; the verdict is run" in site.client(words)


def folders(site: Site) -> str:
    """What lies in the object store, as it tells anyone on this network."""
    address = "http://localhost:5000/bucket?list-type=2"
    ask = f"import urllib.request as r; print(r.urlopen('{address}').read().decode())"
    return site.lan.run("store", f'python -c "{ask}"').stdout


@pytest.mark.slow
def test_a_machine_powered_off_costs_time_and_nothing_else(site: Site, tmp_path: Path) -> None:
    # one stage: nothing is stopped, so what a trial becomes does not hang on the others' order
    words = WORDS.replace("--start 8", "--start 16").replace("epoch=32", "epoch=96")
    site.client(site.submit("steady", words), seconds=600)
    undisturbed = site.runs("steady")
    before = set(re.findall(r"ganforge/([0-9a-f-]+)/", folders(site)))
    log = tmp_path / "submit.log"
    search = site.lan.start("client", f"cd project && {site.submit('disturbed', words)}", log)
    until = time.monotonic() + 300
    while time.monotonic() < until and search.poll() is None:
        spanning = re.search(r"trial (\d)  runs on (one, two|two, one)", log.read_text())
        stored = re.findall(r"ganforge/([0-9a-f-]+)/trial-0*(\d+)/\S+?manifest", folders(site))
        if spanning and [t for s, t in stored if s not in before and t == spanning[1]]:
            break
        time.sleep(1)
    site.lan.power_off("two")
    try:
        assert search.wait(600) == 0
    finally:
        print(log.read_text()[-4000:])
    assert re.search(r"lost a worker on .*two.*goes on from image \d+", log.read_text())
    again = site.runs("disturbed")
    assert [run["states"] for run in again] == [run["states"] for run in undisturbed]
    for mine, theirs in zip(again, undisturbed, strict=True):
        assert mine["status"] == "FINISHED"
        assert mine["tags"]["outcome"] == theirs["tags"]["outcome"] == "finished"
        assert mine["points"] == theirs["points"]
    assert [run for run in again if "losses" in run["tags"]]
