"""The part of KubeRay's RayJob (ray.io/v1) that this project uses, as a JSON schema.

Written from the field reference of KubeRay 1.6 (docs.ray.io, "KubeRay CRD API reference"), as
strictly as Kubernetes itself is with `--validate=strict`: a misspelt field of a RayJob, of its
cluster or of a group is refused. Of pods only what is used here is described; Kubernetes checks
the rest.
"""

from typing import Any

Schema = dict[str, Any]
_TEXT: Schema = {"type": "string"}
_FILLED: Schema = {"type": "string", "minLength": 1}
_WHOLE: Schema = {"type": "integer", "minimum": 0}
_FLAG: Schema = {"type": "boolean"}
_ANY: Schema = {"type": "object"}
_TEXTS: Schema = {"type": "object", "additionalProperties": _TEXT}
_QUANTITY: Schema = {
    "anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^[0-9.]+([kMGTP]i?|m)?$"}]
}
_AMOUNTS: Schema = {"type": "object", "additionalProperties": _QUANTITY}


def _closed(properties: Schema, required: tuple[str, ...] = ()) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_RESOURCES = _closed({"limits": _AMOUNTS, "requests": _AMOUNTS})
_CONTAINER: Schema = {
    "type": "object",
    "properties": {
        "name": _FILLED,
        "image": _FILLED,
        "env": {
            "type": "array",
            "items": _closed({"name": _FILLED, "value": _TEXT, "valueFrom": _ANY}, ("name",)),
        },
        "resources": _RESOURCES,
    },
    "required": ["name", "image"],
}
_TEMPLATE = _closed(
    {
        "metadata": _ANY,
        "spec": {
            "type": "object",
            "properties": {"containers": {"type": "array", "items": _CONTAINER, "minItems": 1}},
            "required": ["containers"],
        },
    },
    ("spec",),
)
_GROUP: Schema = {
    "template": _TEMPLATE,
    "rayStartParams": _TEXTS,
    "resources": _TEXTS,
    "labels": _TEXTS,
}
_HEAD = _closed(
    {**_GROUP, "headService": _ANY, "enableIngress": _FLAG, "serviceType": _TEXT}, ("template",)
)
_WORKERS = _closed(
    {
        **_GROUP,
        "groupName": _FILLED,
        "replicas": _WHOLE,
        "minReplicas": _WHOLE,
        "maxReplicas": _WHOLE,
        "idleTimeoutSeconds": _WHOLE,
        "numOfHosts": _WHOLE,
        "scaleStrategy": _ANY,
        "suspend": _FLAG,
    },
    ("groupName", "maxReplicas", "minReplicas", "template"),
)
_AUTOSCALER = _closed(
    {
        "resources": _RESOURCES,
        "image": _TEXT,
        "imagePullPolicy": _TEXT,
        "securityContext": _ANY,
        "idleTimeoutSeconds": _WHOLE,
        "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
        "version": {"enum": ["v1", "v2"]},
        "env": {"type": "array"},
        "envFrom": {"type": "array"},
        "volumeMounts": {"type": "array"},
    }
)
_CLUSTER = _closed(
    {
        "rayVersion": _TEXT,
        "authOptions": _closed(
            {
                "mode": {"enum": ["disabled", "token"]},
                "secretName": _TEXT,
                "enableK8sTokenAuth": _FLAG,
            }
        ),
        "enableInTreeAutoscaling": _FLAG,
        "autoscalerOptions": _AUTOSCALER,
        "headGroupSpec": _HEAD,
        "workerGroupSpecs": {"type": "array", "items": _WORKERS},
        "gcsFaultToleranceOptions": _ANY,
        "headServiceAnnotations": _TEXTS,
        "managedBy": _TEXT,
        "suspend": _FLAG,
        "upgradeStrategy": _ANY,
    },
    ("headGroupSpec",),
)
RAYJOB = _closed(
    {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayJob"},
        "metadata": {
            "type": "object",
            "properties": {"name": _FILLED, "annotations": _TEXTS},
            "required": ["name"],
        },
        "spec": _closed(
            {
                "entrypoint": _FILLED,
                "rayClusterSpec": _CLUSTER,
                "clusterSelector": _TEXTS,
                "submissionMode": {
                    "enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]
                },
                "submitterPodTemplate": _TEMPLATE,
                "submitterConfig": _ANY,
                "shutdownAfterJobFinishes": _FLAG,
                "ttlSecondsAfterFinished": _WHOLE,
                "activeDeadlineSeconds": _WHOLE,
                "backoffLimit": _WHOLE,
                "deletionStrategy": _ANY,
                "entrypointNumCpus": {"type": "number"},
                "entrypointNumGpus": {"type": "number"},
                "entrypointResources": _TEXT,
                "jobId": _TEXT,
                "managedBy": _TEXT,
                "metadata": _TEXTS,
                "runtimeEnvYAML": _TEXT,
                "suspend": _FLAG,
            },
            ("entrypoint",),
        ),
    },
    ("apiVersion", "kind", "metadata", "spec"),
)
