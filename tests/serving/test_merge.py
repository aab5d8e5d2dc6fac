"""The user's fields over the runtime's."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.serving.quantities import parse
from stoker.serving.rendering.merge import merge_container, merge_pod, merge_resources

CONTAINERS = [
    ("command is replaced", {"command": ["a", "b"]}, {"command": ["c"]}, {"command": ["c"]}),
    ("null takes away", {"workingDir": "/a", "tty": True}, {"workingDir": None}, {"tty": True}),
    (
        "env by name, the user's first",
        {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
        {"env": [{"name": "C", "value": "3"}, {"name": "A", "value": "4"}]},
        {"env": [{"name": "C", "value": "3"}, {"name": "A", "value": "4"}, {"name": "B", "value": "2"}]},
    ),
    (
        "a value replaces where it came from",
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
        {"env": [{"name": "A", "value": "x"}]},
        {"env": [{"name": "A", "value": "x"}]},
    ),
    (
        "mounts by path",
        {"volumeMounts": [{"name": "a", "mountPath": "/x"}, {"name": "b", "mountPath": "/y"}]},
        {"volumeMounts": [{"name": "c", "mountPath": "/x", "readOnly": True}]},
        {
            "volumeMounts": [
                {"name": "c", "mountPath": "/x", "readOnly": True},
                {"name": "b", "mountPath": "/y"},
            ]
        },
    ),
    (
        "one handler of a probe",
        {"livenessProbe": {"httpGet": {"path": "/", "port": 1}, "periodSeconds": 3}},
        {"livenessProbe": {"exec": {"command": ["true"]}}},
        {"livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 3}},
    ),
    (
        "the same handler field by field",
        {"readinessProbe": {"httpGet": {"path": "/", "port": 1}}},
        {"readinessProbe": {"httpGet": {"path": "/x"}}},
        {"readinessProbe": {"httpGet": {"path": "/x", "port": 1}}},
    ),
    (
        "one handler of a hook",
        {"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}},
        {"lifecycle": {"preStop": {"exec": {"command": ["x"]}}}},
        {"lifecycle": {"preStop": {"exec": {"command": ["x"]}}}},
    ),
    (
        "a variable's source replaces another source",
        {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]},
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
    ),
    (
        "a mount by path, with or without a slash at its end",
        {"volumeMounts": [{"name": "a", "mountPath": "/x"}]},
        {"volumeMounts": [{"name": "b", "mountPath": "/x/"}]},
        {"volumeMounts": [{"name": "b", "mountPath": "/x/"}]},
    ),
    (
        "ports by number and protocol",
        {"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 1, "protocol": "UDP"}]},
        {"ports": [{"containerPort": 1, "protocol": "TCP", "hostPort": 2}]},
        {
            "ports": [
                {"containerPort": 1, "name": "a", "protocol": "TCP", "hostPort": 2},
                {"containerPort": 1, "protocol": "UDP"},
            ]
        },
    ),
    (
        "one port of a name",
        {"ports": [{"containerPort": 8080, "name": "http"}, {"containerPort": 9000}]},
        {"ports": [{"containerPort": 8000, "name": "http"}]},
        {"ports": [{"containerPort": 8000, "name": "http"}, {"containerPort": 9000}]},
    ),
    (
        "a profile is replaced whole",
        {"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "x"}}},
        {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}},
        {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}},
    ),
    (
        "lists without a key are replaced",
        {"securityContext": {"capabilities": {"drop": ["ALL"]}, "runAsUser": 1}},
        {"securityContext": {"capabilities": {"drop": []}}},
        {"securityContext": {"capabilities": {"drop": []}, "runAsUser": 1}},
    ),
]


@pytest.mark.parametrize(
    ("base", "overlay", "merged"), [row[1:] for row in CONTAINERS], ids=[row[0] for row in CONTAINERS]
)
def test_container(base: dict[str, Any], overlay: dict[str, Any], merged: dict[str, Any]) -> None:
    before = copy.deepcopy((base, overlay))
    assert merge_container(base, overlay) == merged
    assert (base, overlay) == before


PODS = [
    ("tolerations are replaced", {"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "b"}]}, None),
    (
        "a volume of another source takes the place",
        {"volumes": [{"name": "a", "emptyDir": {"sizeLimit": 1}}]},
        {"volumes": [{"name": "a", "hostPath": {"path": "/"}}]},
        None,
    ),
    (
        "a volume of the same source is merged",
        {"volumes": [{"name": "a", "emptyDir": {"medium": "Memory"}}, {"name": "b", "emptyDir": {}}]},
        {"volumes": [{"name": "a", "emptyDir": {"sizeLimit": "2Gi"}}]},
        {
            "volumes": [
                {"name": "a", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
                {"name": "b", "emptyDir": {}},
            ]
        },
    ),
    (
        "init containers by name, the runtime's first, their arguments as flags",
        {"initContainers": [{"name": "a", "args": ["--x=1", "--y=1"]}, {"name": "b"}]},
        {"initContainers": [{"name": "c"}, {"name": "a", "args": ["--x=2"]}]},
        {"initContainers": [{"name": "a", "args": ["--y=1", "--x=2"]}, {"name": "b"}, {"name": "c"}]},
    ),
    (
        "spread constraints by key and by what is done where they fail",
        {"topologySpreadConstraints": [{"topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]},
        {"topologySpreadConstraints": [{"topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway"}]},
        {
            "topologySpreadConstraints": [
                {"topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway"},
                {"topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"},
            ]
        },
    ),
    (
        "resources of the whole pod",
        {"resources": {"limits": {"cpu": "1"}}},
        {"resources": {"requests": {"cpu": "2"}}},
        {"resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "2"}}},
    ),
    (
        "node selectors key by key, and a handler's word is no handler here",
        {"nodeSelector": {"exec": "a", "kept": "b"}},
        {"nodeSelector": {"grpc": "c"}},
        {"nodeSelector": {"exec": "a", "kept": "b", "grpc": "c"}},
    ),
]


@pytest.mark.parametrize(
    ("base", "overlay", "merged"), [row[1:] for row in PODS], ids=[row[0] for row in PODS]
)
def test_pod(base: dict[str, Any], overlay: dict[str, Any], merged: dict[str, Any] | None) -> None:
    assert merge_pod(base, overlay) == (overlay if merged is None else merged)


RESOURCES = [
    ("limit raised to the user's request", {"limits": {"cpu": "1"}}, {"requests": {"cpu": "6"}}, "6", "6"),
    ("limit above stays", {"limits": {"cpu": "8"}}, {"requests": {"cpu": "6"}}, "6", "8"),
    ("compared by value", {"limits": {"cpu": "1"}}, {"requests": {"cpu": "900m"}}, "900m", "1"),
    ("request lowered to the user's limit", {"requests": {"cpu": "3"}}, {"limits": {"cpu": "2"}}, "2", "2"),
    (
        "the user's own contradiction stays, to be refused",
        {},
        {"requests": {"cpu": "3"}, "limits": {"cpu": "2"}},
        "3",
        "2",
    ),
]


@pytest.mark.parametrize(
    ("base", "overlay", "asked", "allowed"), [row[1:] for row in RESOURCES], ids=[row[0] for row in RESOURCES]
)
def test_resources(base: dict[str, Any], overlay: dict[str, Any], asked: str, allowed: str) -> None:
    merged = merge_resources(base, overlay)
    assert (merged["requests"]["cpu"], merged["limits"]["cpu"]) == (asked, allowed)


@pytest.mark.parametrize(
    ("base", "overlay"),
    [
        ({}, {"requests": {"nvidia.com/gpu": 2}}),
        (
            {"requests": {"nvidia.com/gpu": 1}, "limits": {"nvidia.com/gpu": 1}},
            {"limits": {"nvidia.com/gpu": 2}},
        ),
        (
            {"requests": {"nvidia.com/gpu": 4}, "limits": {"nvidia.com/gpu": 4}},
            {"requests": {"nvidia.com/gpu": 2}},
        ),
    ],
)
def test_devices_have_one_number(base: dict[str, Any], overlay: dict[str, Any]) -> None:
    merged = merge_resources(base, overlay)
    assert merged["limits"]["nvidia.com/gpu"] == 2
    assert merged.get("requests", {}).get("nvidia.com/gpu", 2) == 2


amounts = st.sampled_from(["100m", "1", "1500m", "2", "1Gi", "512Mi", 1, "1e3"])
amount_maps = st.dictionaries(st.sampled_from(["cpu", "memory", "nvidia.com/gpu", "hugepages-2Mi"]), amounts)
resource_parts = st.fixed_dictionaries({}, optional={"requests": amount_maps, "limits": amount_maps})
entries = st.fixed_dictionaries(
    {"name": st.sampled_from("ABC")}, optional={"value": st.text(max_size=3), "valueFrom": st.just({"x": {}})}
).filter(lambda entry: not {"value", "valueFrom"} <= entry.keys())
probes = st.dictionaries(st.sampled_from(["periodSeconds", "timeoutSeconds"]), st.integers(1, 9)).flatmap(
    lambda numbers: st.sampled_from([{}, {"httpGet": {"path": "/"}}, {"exec": {"command": []}}]).map(
        lambda handler: numbers | handler
    )
)
containers = st.fixed_dictionaries(
    {},
    optional={
        "args": st.lists(st.sampled_from(["--a=1", "--a=2", "--b", "--no-b"]), max_size=4),
        "command": st.lists(st.text(max_size=2), max_size=2),
        "env": st.lists(entries, max_size=3, unique_by=lambda entry: entry["name"]),
        "resources": resource_parts,
        "livenessProbe": probes,
        "image": st.one_of(st.none(), st.text(max_size=3)),
    },
)


@given(containers, containers)
def test_merging_again_changes_nothing(base: dict[str, Any], overlay: dict[str, Any]) -> None:
    once = merge_container(base, overlay)
    assert merge_container(once, overlay) == once


@given(containers, containers)
def test_the_user_wins(base: dict[str, Any], overlay: dict[str, Any]) -> None:
    merged = merge_container(base, overlay)
    assert merged.get("command") == overlay.get("command", base.get("command"))
    for entry in overlay.get("env", []):
        (found,) = [each for each in merged["env"] if each["name"] == entry["name"]]
        assert entry.items() <= found.items()
        assert not {"value", "valueFrom"} <= found.keys()
    for part, numbers in overlay.get("resources", {}).items():
        for name, value in numbers.items():
            assert merged["resources"][part][name] == value


@given(resource_parts, resource_parts)
def test_only_the_users_own_numbers_can_contradict(base: dict[str, Any], overlay: dict[str, Any]) -> None:
    merged = merge_resources(base, overlay)
    for name, asked in merged.get("requests", {}).items():
        allowed = merged.get("limits", {}).get(name, asked)
        if parse(asked) <= parse(allowed):
            continue
        both = [
            name in part.get("requests", {}) and name in part.get("limits", {}) for part in (base, overlay)
        ]
        assert any(both)
