"""`stoker doctor` and `stoker top` on a real cluster, where things are broken for real."""

from __future__ import annotations

import json

import pytest

from e2e.cluster import STOKER, Cluster
from e2e.objects import ECHO_RUNTIME, custom, inference_service
from e2e.test_services import complete, steady_load

IMAGE = "stoker.dev/runtime:0.1.0-cpu"
PODS = {
    "noimage": custom("noimage", image="registry.invalid/none:1"),
    "crash": custom("crash", image=IMAGE, command=["python", "-c", "raise SystemExit('the pod bay doors')"]),
    # More than one node has in all; the webhook refuses none that nodes might come for.
    "nogpu": custom("nogpu", image=IMAGE, command=["true"], resources={"limits": {"cpu": "900"}}),
}
NAMED = {
    "noimage": ("ImagePullFailed: image registry.invalid/none:1", "see  kubectl describe pod noimage-"),
    "crash": ("exit code 1: the pod bay doors", "see  kubectl logs crash-predictor-00001-"),
    "nogpu": ("Unschedulable: ", "see  kubectl describe pod nogpu-"),
}


def doctor(cluster: Cluster, *args: str, sick: bool) -> str:
    """What it prints; `sick`: whether it should find something broken."""
    said = cluster.run(str(STOKER), "doctor", *args, check=not sick, timeout=60)
    marks = [line.split()[0] for line in said.splitlines() if not line.startswith(" ")]
    assert ("broken" in marks) is sick, said
    return said


@pytest.fixture
def sick(cluster: Cluster) -> Cluster:
    """One that serves, and several that cannot."""
    cluster.apply(ECHO_RUNTIME)
    cluster.apply(inference_service("well"))
    for isvc in PODS.values():
        cluster.apply(isvc)
    return cluster


@pytest.mark.timeout(120)
def test_each_breakage_is_named_with_the_command_that_shows_it(sick: Cluster) -> None:
    sick.wait_ready("well")
    fine = doctor(sick, "well", "--ask", sick=False)
    assert "answered 200" in fine.splitlines()[-1]
    for name, (words, see) in NAMED.items():

        def named(name: str = name, words: str = words, see: str = see) -> bool:
            said = doctor(sick, name, sick=True)
            return words in said and see in said

        sick.wait(f"doctor names {name}: {words}", named, timeout=60, every=1.0)
    assert "there is no InferenceService nobody" in doctor(sick, "nobody", sick=True)


@pytest.mark.timeout(90)
def test_a_controller_that_is_away_is_named_before_what_follows_from_it(cluster: Cluster) -> None:
    where = ("-n", "stoker-system")
    cluster.kubectl("scale", "deployment/stoker-controller", *where, "--replicas=0")
    try:
        said = cluster.wait(
            "doctor misses the controller",
            lambda: (found := doctor(cluster, sick=True)) and "scaled to 0" in found and found,
            timeout=30,
        )
        assert "kubectl scale deployment stoker-controller -n stoker-system --replicas=1" in said
    finally:
        cluster.kubectl("scale", "deployment/stoker-controller", *where, "--replicas=1")
        cluster.kubectl("rollout", "status", "deployment/stoker-controller", *where, "--timeout=60s")


def test_top_shows_traffic_as_it_is(cluster: Cluster) -> None:
    cluster.apply(ECHO_RUNTIME)
    cluster.apply(inference_service("busy"))
    cluster.wait_ready("busy")
    cluster.wait("the gateway routes", lambda: complete(cluster, "busy"), timeout=20)
    with steady_load(cluster, "busy") as load:
        (row,) = json.loads(cluster.stoker("top", "-o", "json", "--interval", "2"))
        table = cluster.stoker("top", "--once", "--interval", "1")
    assert not load.failures
    assert (row["name"], row["ready"], row["replicas"]) == ("busy", True, "1/1")
    assert row["tokens"] > 0
    assert row["requests"] > 0
    assert row["errors"] == 0
    assert 0 < row["first_token_p50"] <= row["first_token_p99"]
    assert table.splitlines()[0].split()[:3] == ["NAME", "READY", "TOK/S"]
    assert table.splitlines()[1].split()[:2] == ["busy", "1/1"]
