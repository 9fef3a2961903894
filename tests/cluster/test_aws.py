"""cluster.yaml against a stand-in for AWS: what would be bought, and what `ray down` leaves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from filled import AWS, filled
from moto.server import ThreadedMotoServer
from ray.autoscaler._private.commands import _bootstrap_config
from ray.autoscaler._private.providers import _get_node_provider
from ray.autoscaler._private.util import prepare_config
from ray.autoscaler.tags import (
    TAG_RAY_LAUNCH_CONFIG,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_USER_NODE_TYPE,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """EC2 and IAM of an account in which the two instance profiles were made."""
    (tmp_path / ".ssh").mkdir()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    for profile in ("head", "worker"):
        boto3.client("iam").create_instance_profile(InstanceProfileName=profile)
    yield boto3.client("ec2")
    server.stop()


def instances(cloud: Any) -> dict[str, dict[str, Any]]:
    found = [i for r in cloud.describe_instances()["Reservations"] for i in r["Instances"]]
    return {next(t["Value"] for t in i["Tags"] if t["Key"] == "Name"): i for i in found}


def test_what_is_bought_and_what_stays(cloud: Any) -> None:
    config = _bootstrap_config(prepare_config(filled(AWS)), no_config_cache=True)
    types = config["available_node_types"]
    # the head takes no trial; what a worker has is known before the first one is bought
    assert types["head"]["resources"] == {"CPU": 0, "GPU": 0}
    assert (types["worker"]["resources"]["CPU"], types["worker"]["resources"]["GPU"]) == (4, 1)
    provider = _get_node_provider(config["provider"], config["cluster_name"])
    for name in ("head", "worker"):
        tags = {
            TAG_RAY_NODE_KIND: name,
            TAG_RAY_USER_NODE_TYPE: name,
            TAG_RAY_NODE_NAME: name,
            TAG_RAY_LAUNCH_CONFIG: name,
        }
        provider.create_node(types[name]["node_config"], tags, 1)
    bought = instances(cloud)
    assert bought["worker"]["InstanceLifecycle"] == "spot"
    assert "InstanceLifecycle" not in bought["head"]
    for name, instance in bought.items():
        assert instance["IamInstanceProfile"]["Arn"].endswith(f"/{name}")
    group = cloud.describe_security_groups(
        GroupIds=[bought["head"]["SecurityGroups"][0]["GroupId"]]
    )["SecurityGroups"][0]
    to_all = [rule for rule in group["IpPermissions"] if rule.get("IpRanges")]
    assert [rule["FromPort"] for rule in to_all] == [22], "only SSH is open to the world"
    # the stand-in does not tell spot instances apart here: the head alone is looked at
    provider.terminate_nodes(provider.non_terminated_nodes({}))
    assert instances(cloud)["head"]["State"]["Name"] == "stopped"
