"""Hypothesis strategies from the CRDs' schemas.

Every field of the schema can be drawn, with values inside its bounds and at them. What the schema keeps
without describing it (probes, volumes, ...) is Kubernetes' own: for those there are shapes here, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from stoker.serving.api.objects import LEGACY_FORMATS

Object = dict[str, Any]
Path_ = tuple[str, ...]  # fields from the top; "0" for an entry of a list

CRDS = Path(__file__).parents[3] / "manifests" / "crds"
_NEAR = 4  # spec.predictor.model.args
_FILES = {
    "InferenceService": "inferenceservices.yaml",
    "ServingRuntime": "servingruntimes.yaml",
    "ClusterServingRuntime": "clusterservingruntimes.yaml",
}

WORDS = st.sampled_from(["a", "b-1", "main", "model", "x9", "kserve-container", "data", "tmp"])
QUANTITIES = st.sampled_from([0, 1, 2, "1", "500m", "2", "1Gi", "3Gi", "8Gi", "100Mi", "1e3", "0.5"])
TEXT = st.one_of(WORDS, st.text(max_size=6))


@cache
def spec_of(kind: str) -> Object:
    crd = yaml.safe_load((CRDS / _FILES[kind]).read_text())
    found: Object = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


@cache
def cel_messages(kind: str) -> frozenset[str]:
    """What the CRD's CEL rules say: only an API server can run them."""

    def messages(part: Any) -> Iterator[str]:
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        if isinstance(part, dict) and "rule" in part and "message" in part:
            yield part["message"]
        for each in inner:
            yield from messages(each)

    return frozenset(messages(yaml.safe_load((CRDS / _FILES[kind]).read_text())))


@cache
def places(kind: str) -> tuple[tuple[Path_, str], ...]:
    """Every field of a kind's spec that can be drawn, with the name that tells its shape.

    Those near the top come more often: a container's own fields are there once for each legacy framework.
    """
    found = sorted(_places(spec_of(kind), ("spec",), ""), key=lambda place: len(place[0]))
    common = [place for place in found if len(place[0]) <= _NEAR and not set(place[0]) & set(LEGACY_FORMATS)]
    return (*common * max(1, 2 * len(found) // len(common)), *found)


def _places(schema: Object, path: Path_, name: str) -> Iterator[tuple[Path_, str]]:
    if len(path) > 1:
        yield path, name
    for field, inner in schema.get("properties", {}).items():
        yield from _places(inner, (*path, field), field)
    if "items" in schema:
        yield from _places(schema["items"], (*path, "0"), name)


def at(kind: str, path: Path_) -> Object:
    schema = spec_of(kind)
    for step in path[1:]:
        schema = schema["items"] if step == "0" else schema["properties"][step]
    return schema


@cache
def value_at(kind: str, path: Path_, name: str) -> st.SearchStrategy[Any]:
    return values(at(kind, path), name)


def values(schema: Object, name: str) -> st.SearchStrategy[Any]:
    """Values that the schema takes."""
    if name in _BY_NAME:
        return st.sampled_from(_BY_NAME[name])
    if schema.get("x-kubernetes-int-or-string"):
        return QUANTITIES
    made = _BY_TYPE.get(schema.get("type", ""))
    return TEXT if made is None else made(schema, name)


def _integers(schema: Object, name: str) -> st.SearchStrategy[int]:
    low = schema.get("minimum", -3)
    high = schema.get("maximum", 2**31 - 1)
    return st.sampled_from([low, high]) | st.integers(low, min(high, low + 12))


def _strings(schema: Object, name: str) -> st.SearchStrategy[str]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    longest, shortest = schema.get("maxLength", 8), schema.get("minLength", 0)
    usual = WORDS.filter(lambda word: shortest <= len(word) <= longest)
    return usual | st.text(min_size=shortest, max_size=min(longest, 5))


def _lists(schema: Object, name: str) -> st.SearchStrategy[list[Any]]:
    keys = schema.get("x-kubernetes-list-map-keys")
    inner = values(schema["items"], name)
    if keys:
        return st.lists(inner, max_size=3, unique_by=lambda item: tuple(str(item.get(key)) for key in keys))
    return st.lists(inner, max_size=2)


def _objects(schema: Object, name: str) -> st.SearchStrategy[Object]:
    if "properties" not in schema:
        inner = schema.get("additionalProperties")
        if isinstance(inner, dict):
            keys = _RESOURCES if name in ("limits", "requests", "overhead") else WORDS
            return st.dictionaries(keys, values(inner, ""), max_size=2)
        return st.sampled_from([{}, {"key": "value"}, {"name": "a"}])
    needed = schema.get("required", [])
    every = {field: values(inner, field) for field, inner in schema["properties"].items()}
    return _drawn(every, needed)


@st.composite
def _drawn(draw: st.DrawFn, every: dict[str, st.SearchStrategy[Any]], needed: list[str]) -> Object:
    chosen = [*needed, *draw(st.lists(st.sampled_from(sorted(every)), max_size=2))]
    return {field: draw(every[field]) for field in dict.fromkeys(chosen)}


_BY_TYPE: dict[str, Callable[[Object, str], st.SearchStrategy[Any]]] = {
    "string": _strings,
    "integer": _integers,
    "boolean": lambda schema, name: st.booleans(),
    "array": _lists,
    "object": _objects,
}
_RESOURCES = st.sampled_from(["cpu", "memory", "nvidia.com/gpu", "ephemeral-storage", "amd.com/gpu"])
_PROBES = [
    {"httpGet": {"path": "/ready", "port": "http"}},
    {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 3, "failureThreshold": 2},
    {"exec": {"command": ["true"]}},
    {"tcpSocket": {"port": 8080}},
    {"httpGet": {"path": "/ready"}},
    {"periodSeconds": 5},
]
# What Kubernetes' schemas say of fields that the CRDs keep as they are: mostly right, some not.
_BY_NAME: dict[str, list[Any]] = {
    "image": ["x.y/model:1", "vllm/vllm-openai:v0.32.0", "model@sha256:" + "0" * 64],
    "runtime": ["kserve-huggingfaceserver", "mine", "kserve-huggingfacserver"],
    "runtimeVersion": ["0.1.0", "v2", "latest"],
    "storageUri": ["hf://org/model", "pvc://models/a", "s3://bucket/a", "ftp://x/y", "hf://", "pvc://../x"],
    "name": ["a", "b-1", "main", "x9"],
    "mountPath": ["/data", "/models", "/a b", "relative"],
    "volumeMounts": [[], [{"name": "tmp", "mountPath": "/t"}], [{"name": "none", "mountPath": "/n"}]],
    "startupProbe": _PROBES,
    "readinessProbe": _PROBES,
    "livenessProbe": _PROBES,
    "lifecycle": [
        {},
        {"preStop": {"exec": {"command": ["sleep", "1"]}}},
        {"preStop": {"sleep": {"seconds": 1}}},
    ],
    "securityContext": [
        {},
        {"runAsUser": 1000},
        {"runAsNonRoot": True},
        {"runAsUser": "me"},
        {"prvileged": True},
    ],
    "valueFrom": [
        {"secretKeyRef": {"name": "s", "key": "k"}},
        {"fieldRef": {"fieldPath": "metadata.name"}},
        {"secretKeyRef": {"name": "s"}},
    ],
    "envFrom": [[], [{"secretRef": {"name": "s"}}], [{"configMapRef": {"name": "c"}, "prefix": "P_"}]],
    "ports": [[{"containerPort": 8080}], [{"containerPort": 9000, "name": "http", "protocol": "TCP"}]],
    "resizePolicy": [[], [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]],
    "volumeDevices": [[]],
    "restartPolicyRules": [[]],
    "claims": [[]],
    "volumes": [
        [{"name": "data", "emptyDir": {}}],
        [{"name": "data", "persistentVolumeClaim": {"claimName": "models"}}],
        [{"name": "data", "hostPath": {"path": "/"}}],
        [{"name": "data", "emptyDri": {}}],
    ],
    "initContainers": [[{"name": "first", "image": "x.y/init:1"}], [{"name": "first"}]],
    "ephemeralContainers": [[]],
    "tolerations": [[{"operator": "Exists"}], [{"key": "gpu", "effect": "NoSchedule", "operator": "Exists"}]],
    "imagePullSecrets": [[{"name": "pull"}]],
    "hostAliases": [[{"ip": "10.0.0.1", "hostnames": ["a"]}]],
    "readinessGates": [[{"conditionType": "x.y/ready"}]],
    "topologySpreadConstraints": [
        [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}]
    ],
    "schedulingGates": [[{"name": "x.y/gate"}]],
    "resourceClaims": [[]],
    "affinity": [
        {"nodeAffinity": {}},
        {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]
                }
            }
        },
    ],
    "dnsConfig": [{"nameservers": ["10.0.0.10"]}, {"searches": ["a.b"]}],
    "dnsPolicy": ["ClusterFirst", "Default"],
    "os": [{"name": "linux"}],
    "overhead": [{}],
    "hostname": ["a"],
    "subdomain": ["a"],
    "hostnameOverride": ["a"],
    "nodeName": ["node-1"],
    "preemptionPolicy": ["Never", "PreemptLowerPriority"],
    "priority": [0, 5],
    "restartPolicy": ["Always", "Never"],
    "terminationMessagePath": ["/dev/termination-log"],
    "workingDir": ["/", "/data"],
    "nodeSelector": [{"gpu": "a100"}, {"x.y/z": ""}],
    "labels": [{"team": "a"}, {"stoker.dev/revision": "x"}, {"bad key": "x"}, {"team": "no spaces please"}],
    "annotations": [{"a.b/c": "d"}, {"bad key": "x"}],
    "deploymentStrategy": [
        {"type": "Recreate"},
        {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
        {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}},
        {"rollingUpdate": {"maxSurge": "150%"}},
    ],
    "args": [
        ["--model_id=org/model"],
        ["--model_id", "org/model", "--max-model-len=2048"],
        ["--model_id=org/model", "--max_model_len", "2048", "--dtype=float16"],
        ["--model_id=org/model", "--no-such-flag"],
        ["--model_id=org/model", "--max-model-len=many"],
        ["--model_id=org/model", "--dtype=float17"],
        ["--model_id=org/model", "--trust-remote-code"],
        ["--model_id=../x"],
        ["--model_id=org/model", "--model_id=org/other"],
        ["--model_id"],
        ["stray", "--model_id=org/model"],
        ["--model_id=org/model", "--tensor-parallel-size=2"],
        ["--model_id=org/model", "{{.Labels.team}}"],
    ],
    "command": [["serve"], []],
}
