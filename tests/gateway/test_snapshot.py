"""Golden pairs in golden/: STOKER_REGENERATE=1 writes the outputs anew."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import resources
from gateway.encoding import Encoder
from gateway.snapshot import Options, Snapshot, build, weights
from stoker.serving.settings import Settings
from tests.gateway.objects import Object, inference_service, pod

_GOLDEN = Path(__file__).parent / "golden"


def _hosts(snapshot: Snapshot) -> dict[str, Any]:
    table = snapshot.by_type[resources.ROUTES]["ingress"].body["virtual_hosts"]
    return {domain: host["routes"][0] for host in table for domain in host["domains"]}


def _weights(snapshot: Snapshot, host: str) -> dict[str, int]:
    clusters = _hosts(snapshot)[host]["route"]["weighted_clusters"]["clusters"]
    return {each["name"]: each["weight"] for each in clusters}


def _addresses(snapshot: Snapshot, cluster: str) -> list[str]:
    body = snapshot.by_type[resources.ENDPOINTS][cluster].body
    return [
        f"{a['address']}:{a['port_value']}"
        for locality in body["endpoints"]
        for a in (each["endpoint"]["address"]["socket_address"] for each in locality["lb_endpoints"])
    ]


@pytest.mark.parametrize(
    ("traffic", "ready", "expected"),
    [
        ({"a": 100}, {"a": 1}, {"a": 100}),
        ({"a": 90, "b": 10}, {"a": 3, "b": 1}, {"a": 90, "b": 10}),
        ({"a": 90, "b": 10}, {"a": 3, "b": 0}, {"a": 90}),
        ({"a": 100, "b": 0}, {"a": 1, "b": 1}, {"a": 100}),
        ({"a": 100}, {"a": 0, "b": 2, "c": 1}, {"b": 2, "c": 1}),
        ({}, {"a": 2}, {"a": 2}),
        ({"a": 100}, {}, {}),
        ({}, {}, {}),
    ],
)
def test_weights(traffic: dict[str, int], ready: dict[str, int], expected: dict[str, int]) -> None:
    assert weights(traffic, ready) == expected


@given(
    traffic=st.dictionaries(st.sampled_from("abcd"), st.integers(0, 100)),
    ready=st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3)),
)
def test_weights_lead_to_pods_whenever_there_are_any(traffic: dict[str, int], ready: dict[str, int]) -> None:
    found = weights(traffic, ready)
    assert bool(found) == any(ready.values())
    assert all(weight > 0 and ready[name] > 0 for name, weight in found.items())


@pytest.mark.parametrize("case", sorted(path.name.split(".")[0] for path in _GOLDEN.glob("*.input.yaml")))
def test_golden(case: str) -> None:
    given_ = yaml.safe_load((_GOLDEN / f"{case}.input.yaml").read_text())
    settings = Settings.from_mapping(given_.get("settings", {}))
    options = Options(settings, **given_.get("options", {}))
    snapshot = build(given_["inferenceServices"], given_["pods"], options)
    made = {kind: [each.body for each in named.values()] for kind, named in snapshot.by_type.items()}
    made = json.loads(json.dumps(made)) | {"problems": list(snapshot.problems)}
    output = _GOLDEN / f"{case}.output.yaml"
    if os.environ.get("STOKER_REGENERATE"):
        output.write_text(yaml.safe_dump(made, sort_keys=False, width=110))
    assert made == yaml.safe_load(output.read_text())
    for kind, named in snapshot.by_type.items():
        for each in named.values():
            assert Encoder().encode(kind, each), "Envoy's API has no such field"


def test_no_timeout_ends_a_silent_answer() -> None:
    snapshot = build([inference_service("a", {"a-1": 100})], [pod("a", "a-1")], Options())
    route = _hosts(snapshot)["a.default.example.com"]["route"]
    assert (route["timeout"], route["idle_timeout"]) == ("0s", "0s")
    listener = snapshot.by_type[resources.LISTENER]["ingress"].body
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager["stream_idle_timeout"] == "0s"
    assert "request_timeout" not in manager, "0 by default"


def test_spec_predictor_timeout_is_the_route_s() -> None:
    snapshot = build([inference_service("a", {"a-1": 100}, timeout=90)], [pod("a", "a-1")], Options())
    assert _hosts(snapshot)["a.default.example.com"]["route"]["timeout"] == "90s"


def test_nobody_knows_a_host_that_is_being_deleted() -> None:
    snapshot = build([inference_service("a", deleting=True)], [pod("a", "a-1")], Options())
    assert set(_hosts(snapshot)) == {"*"}
    assert not snapshot.by_type[resources.CLUSTER]


def test_pods_of_another_namespace_serve_only_their_own() -> None:
    services = [inference_service("a", namespace="one"), inference_service("a", namespace="two")]
    pods = [pod("a", "a-1", "10.0.0.1", namespace="one"), pod("a", "a-1", "10.0.0.2", namespace="two")]
    snapshot = build(services, pods, Options())
    assert _addresses(snapshot, "one/a/a-1") == ["10.0.0.1:8080"]
    assert _weights(snapshot, "a.two.example.com") == {"two/a/a-1": 1}


def test_a_revision_that_is_ending_keeps_its_cluster_until_its_last_pod_is_gone() -> None:
    services = [inference_service("a", {"a-2": 100})]
    pods = [pod("a", "a-1", terminating=True), pod("a", "a-2", "10.0.0.2")]
    snapshot = build(services, pods, Options())
    assert snapshot.by_type[resources.ENDPOINTS]["default/a/a-1"].vacant
    assert _weights(snapshot, "a.default.example.com") == {"default/a/a-2": 100}
    assert "default/a/a-1" not in build(services, pods[1:], Options()).by_type[resources.CLUSTER]


def test_the_oldest_one_keeps_a_host_that_two_want() -> None:
    settings = Settings(url_template="{name}-{namespace}.{domain}")
    services = [
        inference_service("a-b", namespace="c", created="2026-02-02T00:00:00Z"),
        inference_service("a", namespace="b-c", created="2026-01-01T00:00:00Z"),
    ]
    snapshot = build(services, [], Options(settings))
    assert _hosts(snapshot)["a-b-c.example.com"]["name"] == "b-c/a"
    assert snapshot.problems == ("c/a-b: the host a-b-c.example.com belongs to b-c/a",)


@pytest.mark.parametrize(
    "template", ["{name}_{namespace}.{domain}", "*.{name}.{namespace}", "{name} {namespace}"]
)
def test_a_host_that_envoy_would_refuse_stays_out_of_the_table(template: str) -> None:
    snapshot = build([inference_service("a")], [], Options(Settings(url_template=template)))
    assert set(_hosts(snapshot)) == {"*"}
    assert "is no host name" in snapshot.problems[0]


class TestDefaultHostFallback:
    options = Options(default_host_fallback=True)

    def test_the_only_one_answers_to_hosts_outside_the_domain(self) -> None:
        snapshot = build([inference_service("a", {"a-1": 100})], [pod("a", "a-1")], self.options)
        assert _weights(snapshot, "*") == {"default/a/a-1": 100}

    def test_a_host_inside_the_domain_never_means_another_one(self) -> None:
        snapshot = build([inference_service("a", {"a-1": 100})], [pod("a", "a-1")], self.options)
        assert _hosts(snapshot)["*.example.com"]["direct_response"]["status"] == 404

    def test_none_of_several_does(self) -> None:
        snapshot = build([inference_service("a"), inference_service("b")], [], self.options)
        assert _hosts(snapshot)["*"]["direct_response"]["status"] == 404

    def test_only_where_it_is_switched_on(self) -> None:
        snapshot = build([inference_service("a")], [], Options())
        assert _hosts(snapshot)["*"]["direct_response"]["status"] == 404


def _objects(seed: int) -> tuple[list[Object], list[Object]]:
    chance = random.Random(seed)
    services = [inference_service(f"s{n}", {f"s{n}-1": 90, f"s{n}-2": 10}) for n in range(5)]
    pods = [
        pod(f"s{chance.randrange(5)}", f"s{n % 5}-{n % 3}", f"10.0.0.{n}", ready=n % 4 > 0) for n in range(30)
    ]
    return services, pods


@settings(max_examples=25)
@given(st.randoms(use_true_random=False), st.integers(0, 5))
def test_replicas_agree_whatever_order_they_see_things_in(chance: random.Random, seed: int) -> None:
    services, pods = _objects(seed)
    one = build(services, pods, Options())
    chance.shuffle(services)
    chance.shuffle(pods)
    assert build(services, pods, Options()) == one
    assert one.version == build(services, pods, Options()).version


def test_a_pod_more_changes_only_the_endpoints_of_its_revision() -> None:
    services, pods = _objects(1)
    pods.append(pod("s0", "s0-1", "10.0.1.1"))
    before = build(services, pods, Options())
    after = build(services, [*pods, pod("s0", "s0-1", "10.0.1.2")], Options())
    changed = {
        (kind, name)
        for kind, named in after.by_type.items()
        for name, each in named.items()
        if before.by_type[kind][name].version != each.version
    }
    assert changed == {(resources.ENDPOINTS, "default/s0/s0-1")}
