"""What reviews are judged with, from what the informers tell."""

from __future__ import annotations

from typing import Any, cast

import pytest

from stoker.kube.client import Client
from stoker.kube.resource import Key
from stoker.serving.admission.devices import counts
from stoker.serving.settings import Settings
from tests.webhook.objects import Object, cluster_runtime, inference_service, namespaced_runtime, review
from webhook import usage
from webhook.caches import Caches
from webhook.devices import Devices
from webhook.devices import keep as keep_node
from webhook.review import Rules, judge, parse_review
from webhook.usage import Usage


def node(name: str, **devices: str) -> Object:
    allocatable = {"cpu": "8", "memory": "64Gi", "kubernetes.io/batteries": "9"} | {
        f"example.com/{device}": count for device, count in devices.items()
    }
    return keep_node({"metadata": {"name": name, "uid": name}, "status": {"allocatable": allocatable}})


def test_the_largest_count_on_one_node_counts_and_not_the_sum() -> None:
    devices = Devices()
    assert devices.largest is None, "no node is known: nothing can be said"
    small, large = node("a", gpu="2", nic="1"), node("b", gpu="8")
    devices.changed(None, small)
    devices.changed(None, large)
    assert devices.largest == {"example.com/gpu": 8, "example.com/nic": 1}
    devices.changed(large, node("b", gpu="4"))
    assert devices.largest == {"example.com/gpu": 4, "example.com/nic": 1}
    devices.changed(large, None)
    assert devices.largest == {"example.com/gpu": 2, "example.com/nic": 1}
    devices.changed(small, node("a"))
    assert devices.largest == {}
    devices.changed(small, None)
    assert devices.largest is None
    assert counts({"status": {"allocatable": {"x.y/gpu": "many", "x.y/nic": 3}}}) == {"x.y/nic": 3}


def service(name: str, namespace: str = "a", *, runtime: str = "", **status: str) -> Object:
    made = inference_service(name, namespace)
    if runtime:
        made["spec"]["predictor"]["model"]["runtime"] = runtime
    return made | {"status": status}


def test_users_of_a_runtime_are_those_the_controller_reports_and_those_that_name_it() -> None:
    known = {Key("b", "shared")}
    found = Usage(lambda key: key in known)
    reported = service("reported", clusterServingRuntimeName="shared")
    for obj in (
        reported,
        service("named", runtime="shared"),
        service("named", "b", runtime="shared"),  # the namespace's own comes first
        service("own", "a", runtime="shared", servingRuntimeName="mine"),
        service("none"),
    ):
        found.changed(None, usage.keep(obj))
    assert found.users(Key("", "shared")) == [Key("a", "named"), Key("a", "reported")]
    assert found.users(Key("b", "shared")) == [Key("b", "named")]
    assert found.users(Key("a", "mine")) == [Key("a", "own")]
    assert found.users(Key("a", "shared")) == [Key("a", "named")]
    found.changed(reported, usage.keep(service("reported", clusterServingRuntimeName="other")))
    assert found.users(Key("", "shared")) == [Key("a", "named")]
    found.changed(reported, None)
    assert found.users(Key("", "other")) == []


@pytest.mark.parametrize("damage", [{"spec": 3}, {"status": []}, {"spec": {"predictor": {"model": "x"}}}])
def test_a_damaged_object_uses_nothing(damage: Object) -> None:
    found = Usage(lambda key: True)
    found.changed(None, usage.keep(inference_service("odd") | damage))
    assert found.users(Key("", "x")) == []


def judged(obj: Object | None, old: Object | None, operation: str, used_by: tuple[str, ...]) -> Any:
    import json

    asked = parse_review(json.dumps(review(obj, old, operation)).encode())
    return judge(asked, Rules(Settings(), used_by=used_by))


def test_an_edit_or_a_deletion_of_a_runtime_in_use_is_allowed_and_names_its_users() -> None:
    old, new = cluster_runtime(), cluster_runtime()
    new["spec"]["disabled"] = True
    users = tuple(f"a/service-{number}" for number in range(10))
    for obj, operation in ((new, "UPDATE"), (None, "DELETE")):
        verdict = judged(obj, old, operation, users)
        assert verdict.allowed
        assert "is used by a/service-0, a/service-1" in verdict.warnings[0]
        assert "and 2 more" in verdict.warnings[0]
        assert judged(obj, old, operation, ()).warnings == ()
    new = cluster_runtime()
    new["metadata"]["labels"] = {"team": "a"}
    assert judged(new, old, "UPDATE", users).warnings == (), "nothing of the template changed"
    assert judged(None, namespaced_runtime("x"), "DELETE", ("default/a",)).allowed


async def test_a_replica_is_not_ready_until_every_copy_is_filled() -> None:
    caches = Caches(cast(Client, None), Settings(), {}, lambda usable, unreadable: None)
    waiting = caches.unsynced()
    assert [line.split()[3] for line in waiting] == [
        "servingruntimes",
        "clusterservingruntimes",
        "inferenceservices",
        "nodes",
        "namespaces",
    ]
    for number, informer in enumerate(caches._informers):
        assert caches.unsynced() == waiting[number:]
        informer.synced.set()
    assert caches.unsynced() == []
