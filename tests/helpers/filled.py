"""The shipped cluster files with the values that a person would fill in; the rest is as it is."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
AWS, LOCAL, KUBERNETES = "cluster.yaml", "cluster.local.yaml", "cluster.kubernetes.yaml"
VALUES = {
    AWS: {
        '&region ""': "&region eu-central-1",
        '&image ""': "&image ami-12c6146b",
        '&head_profile ""': "&head_profile head",
        '&worker_profile ""': "&worker_profile worker",
    },
    LOCAL: {
        '&head_ip ""': "&head_ip 10.0.0.1",
        "&worker_ips []": "&worker_ips [10.0.0.2, 10.0.0.3]",
        '&ssh_user ""': "&ssh_user me",
        '&ssh_key ""': "&ssh_key ~/.ssh/key",
    },
    KUBERNETES: {
        '&image ""': "&image registry/ganforge:1",
        '&storage ""': "&storage s3://bucket/x",
        '&data ""': "&data /images",
        '&tracking ""': "&tracking http://mlflow:5000",
    },
}
VARIABLES = {
    "GANFORGE_STORAGE=\n": "GANFORGE_STORAGE=s3://bucket/x\n",
    "GANFORGE_DATA=\n": "GANFORGE_DATA=built-in\n",
    "GANFORGE_NODES=\n": "GANFORGE_NODES=3\n",
}


def filled(name: str) -> dict[str, Any]:
    """A shipped file as Ray or Kubernetes would read it."""
    text = (ROOT / name).read_text()
    for empty, full in VALUES[name].items():
        assert text.count(empty) == 1, empty
        text = text.replace(empty, full)
    for empty, full in VARIABLES.items():
        text = text.replace(empty, full)
    return yaml.safe_load(text)
