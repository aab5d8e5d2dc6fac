"""Defaults of pods: what each image gets, and that whoever wrote a field keeps it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.serving.rendering.leaves import leaves
from stoker.serving.rendering.pod_defaults import complete_pod, with_spread
from stoker.serving.settings import Settings


def completed(
    spec: dict[str, Any] | None = None, own: bool = False, settings: Settings | None = None, **container: Any
) -> dict[str, Any]:
    serving = {"name": "kserve-container", "image": "a"} | container
    given = {"containers": [serving]} | (spec or {})
    return complete_pod(given, settings or Settings(), {"kserve-container"} if own else set())


SIZES = [
    ({"limits": {"memory": "24Gi"}}, "12Gi"),
    ({"limits": {"memory": "3Gi"}}, "1536Mi"),
    ({"limits": {"memory": "100Mi"}}, "64Mi"),
    ({"limits": {"memory": "1e10"}}, "4768Mi"),
    ({"limits": {"memory": 8589934592}}, "4Gi"),
    ({"requests": {"memory": "24Gi"}}, "4Gi"),
    ({"limits": {"memory": "not one"}}, "4Gi"),
    ({}, "4Gi"),
]


@pytest.mark.parametrize(("resources", "size"), SIZES)
def test_shared_memory_is_half_of_the_limit(resources: dict[str, Any], size: str) -> None:
    (volume,) = completed(resources=resources)["volumes"]
    assert volume == {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": size}}


@pytest.mark.parametrize(
    ("spec", "container"),
    [
        ({"hostIPC": True}, {}),
        ({}, {"volumeMounts": [{"name": "a", "mountPath": "/dev/shm"}]}),
        ({}, {"volumeMounts": [{"name": "a", "mountPath": "/dev/"}]}),
    ],
)
def test_who_has_shared_memory_keeps_it(spec: dict[str, Any], container: dict[str, Any]) -> None:
    made = completed(spec, **container)
    assert "volumes" not in made
    assert made["containers"][0].get("volumeMounts") == container.get("volumeMounts")


def test_a_volume_of_that_name_stays_the_users() -> None:
    made = completed({"volumes": [{"name": "shm", "configMap": {"name": "a"}}]})
    assert [each["name"] for each in made["volumes"]] == ["shm", "stoker-shm"]
    assert made["containers"][0]["volumeMounts"] == [{"name": "stoker-shm", "mountPath": "/dev/shm"}]


@pytest.mark.parametrize(
    ("grace", "sleep"), [(None, 10), (600, 10), (20, 10), (7, 3), (2, 1), (1, None), (0, None)]
)
def test_the_sleep_before_the_end_is_shorter_than_the_grace_period(
    grace: int | None, sleep: int | None
) -> None:
    made = completed({} if grace is None else {"terminationGracePeriodSeconds": grace})
    hook = made["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {})
    assert hook.get("seconds") == sleep
    assert made["terminationGracePeriodSeconds"] == (145 if grace is None else grace)


def test_a_liveness_probe_does_not_end_a_container_that_loads() -> None:
    probe = {"httpGet": {"path": "/x", "port": 1}, "initialDelaySeconds": 60, "periodSeconds": 7}
    (container,) = completed(livenessProbe=probe, settings=Settings(startup_deadline=700))["containers"]
    assert container["startupProbe"] == {
        "httpGet": {"path": "/x", "port": 1},
        "periodSeconds": 7,
        "failureThreshold": 100,
    }
    assert container["livenessProbe"] == probe
    own = {"tcpSocket": {"port": 1}, "failureThreshold": 3}
    assert completed(livenessProbe=probe, startupProbe=own)["containers"][0]["startupProbe"] == own
    assert "startupProbe" not in completed()["containers"][0]


@pytest.mark.parametrize(
    ("ports", "port"),
    [
        ([], 8080),
        ([{"containerPort": 9}], 9),
        ([{"containerPort": 9}, {"containerPort": 7, "name": "http"}], 7),
    ],
)
def test_readiness_asks_the_port_of_requests(ports: list[dict[str, Any]], port: int) -> None:
    assert completed(ports=ports)["containers"][0]["readinessProbe"] == {"tcpSocket": {"port": port}}


def test_another_image_may_start_as_root() -> None:
    made = completed()
    assert made["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert "securityContext" not in made["containers"][0]


@pytest.mark.parametrize(
    ("own", "settings"), [(True, Settings()), (False, Settings(pod_security="restricted"))]
)
def test_stokers_image_is_as_restricted_demands(own: bool, settings: Settings) -> None:
    made = completed(own=own, settings=settings)
    assert made["securityContext"]["runAsNonRoot"] is True
    assert made["containers"][0]["securityContext"] == {
        "capabilities": {"drop": ["ALL"]},
        "allowPrivilegeEscalation": False,
    }


def test_a_sidecar_of_another_image_beside_it_is_not_held_to_that() -> None:
    containers = [{"name": "kserve-container"}, {"name": "side"}]
    made = complete_pod({"containers": containers}, Settings(), {"kserve-container"})
    assert "runAsNonRoot" not in made["securityContext"]
    assert ["securityContext" in each for each in made["containers"]] == [True, False]


@pytest.mark.parametrize(
    ("spec", "own", "token"),
    [
        ({}, False, False),
        ({"serviceAccountName": "a"}, False, None),
        ({"serviceAccountName": "a"}, True, False),
        ({"serviceAccountName": "a", "automountServiceAccountToken": False}, False, False),
        ({"automountServiceAccountToken": True}, True, True),
    ],
)
def test_the_token_of_a_service_account(spec: dict[str, Any], own: bool, token: bool | None) -> None:
    assert completed(spec, own=own).get("automountServiceAccountToken") is token


def test_constraints_without_selector_spread_the_predictors_pods() -> None:
    constraints = [{"topologyKey": "a"}, {"topologyKey": "b", "labelSelector": {}}]
    made = with_spread({"topologySpreadConstraints": constraints}, {"x": "y"})["topologySpreadConstraints"]
    assert [each["labelSelector"] for each in made] == [{"matchLabels": {"x": "y"}}, {}]


fields = st.fixed_dictionaries(
    {},
    optional={
        "terminationMessagePolicy": st.just("File"),
        "securityContext": st.fixed_dictionaries(
            {}, optional={"runAsUser": st.integers(0, 1), "privileged": st.booleans()}
        ),
        "lifecycle": st.sampled_from(
            [{"preStop": {"exec": {"command": ["a"]}}}, {"postStart": {"sleep": {}}}]
        ),
        "readinessProbe": st.just({"exec": {"command": ["a"]}}),
        "startupProbe": st.just({"failureThreshold": 1}),
        "livenessProbe": st.just({"periodSeconds": 3}),
        "volumeMounts": st.just([{"name": "shm", "mountPath": "/a"}]),
    },
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "enableServiceLinks": st.booleans(),
        "automountServiceAccountToken": st.booleans(),
        "terminationGracePeriodSeconds": st.integers(0, 99),
        "securityContext": st.fixed_dictionaries({}, optional={"runAsNonRoot": st.booleans()}),
        "volumes": st.just([{"name": "shm", "emptyDir": {}}]),
        "serviceAccountName": st.just("a"),
    },
)


@given(specs, fields, fields, st.booleans(), st.sampled_from(["compatible", "restricted"]))
def test_what_is_written_is_never_changed(
    spec: dict[str, Any], serving: dict[str, Any], side: dict[str, Any], own: bool, level: str
) -> None:
    given = spec | {"containers": [{"name": "kserve-container"} | serving, {"name": "side"} | side]}
    before = copy.deepcopy(given)
    made = leaves(complete_pod(given, Settings(pod_security=level), {"kserve-container"} if own else set()))
    assert given == before
    written = {path: value for path, value in leaves(before).items() if value != {}}
    assert written.items() <= {path: made.get(path) for path in written}.items()
