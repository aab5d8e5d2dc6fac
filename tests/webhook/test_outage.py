"""With every replica killed nothing stops but what has to be judged first."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stoker.kube.client import ApiError
from stoker.kube.resource import (
    DEPLOYMENTS,
    NAMESPACES,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    Key,
    Resource,
)
from stoker.local.control_plane import ApiServer
from tests.admission.table import security
from tests.admission.table.objects import isvc
from tests.webhook.objects import Object, cluster_runtime, inference_service, namespaced_runtime
from tests.webhook.program import CLUSTER_RUNTIMES, INFERENCE_SERVICES, Cluster, cluster, eventually
from tests.webhook.service import Service
from webhook.catalogue import SERVING_RUNTIMES
from webhook.registration import NAME

pytestmark = pytest.mark.apiserver

MANIFESTS = Path(__file__).parents[2] / "manifests"
POLICIES, POLICY_BINDINGS = (
    Resource("admissionregistration.k8s.io", "v1", plural, kind, namespaced=False)
    for plural, kind in (
        ("validatingadmissionpolicies", "ValidatingAdmissionPolicy"),
        ("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding"),
    )
)
RESOURCES = {each.kind: each for each in (INFERENCE_SERVICES, SERVING_RUNTIMES, CLUSTER_RUNTIMES)}
FINALIZER = "stoker.dev/test"
OBJECTS: list[tuple[Resource, Object]] = [
    (CLUSTER_RUNTIMES, cluster_runtime() | {"metadata": {"name": "outage"}}),
    (SERVING_RUNTIMES, namespaced_runtime("outage")),
    (INFERENCE_SERVICES, inference_service("outage")),
]
OBJECTS[2][1]["spec"]["predictor"]["model"]["runtime"] = "outage"


def key(resource: Resource) -> Key:
    return Key("default" if resource.namespaced else "", "outage")


@pytest.fixture
async def killed(api_server: ApiServer, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Two replicas, registered, asked, and gone without a word; the objects were stored before."""
    service = Service()
    async with cluster(api_server, tmp_path, "webhook-outage") as made, service.running():
        for resource, obj in OBJECTS[:2]:
            await made.client.create(resource, obj)
        url = f"--url=https://127.0.0.1:{service.port}"
        replicas = await asyncio.gather(made.start_ready(url), made.start_ready(url))
        service.ports += [replica.port for replica in replicas]
        await eventually(made.asked, "the API server does not ask")
        await made.client.create(*OBJECTS[2])
        for replica in replicas:
            assert replica.stop(signal.SIGKILL) == -signal.SIGKILL
        yield made


async def test_status_finalizers_and_deletion_need_no_webhook(killed: Cluster) -> None:
    await what_must_be_judged_waits(killed)
    for resource, obj in OBJECTS:
        await status_is_written(killed, resource, obj)
        await finalizers_come_and_go(killed, resource)
        await it_is_deleted_and_loses_its_finalizers(killed, resource)
    await pods_owe_it_nothing(killed)
    await without_the_registration_the_policy_still_refuses(killed)


async def what_must_be_judged_waits(made: Cluster) -> None:
    for resource, obj in OBJECTS:
        with pytest.raises(ApiError, match="failed calling webhook"):
            await made.client.create(resource, obj | {"metadata": obj["metadata"] | {"name": "another"}})
        change: dict[str, Any] = {"spec": {"disabled": True}}
        if resource == INFERENCE_SERVICES:
            change = {"spec": {"predictor": {"minReplicas": 3}}}
        with pytest.raises(ApiError, match="failed calling webhook"):
            await made.client.merge_patch(resource, key(resource), change)


async def without_the_registration_the_policy_still_refuses(made: Cluster) -> None:
    """The way out of an outage, and what it costs: rules, and none of those that keep tenants apart."""
    namespace = security.ROWS[0][4]["metadata"]["namespace"]
    await made.client.apply(NAMESPACES, {"metadata": {"name": namespace}})
    policy, binding = (
        yaml.safe_load((MANIFESTS / "policy" / f"{name}.yaml").read_text()) for name in ("policy", "binding")
    )
    # Other tests of the session share the API server: here only.
    only = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [namespace]}
    binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"].append(only)
    try:
        await made.client.apply(POLICIES, policy)
        await made.client.apply(POLICY_BINDINGS, binding)
        await made.client.delete(VALIDATING_WEBHOOK_CONFIGURATIONS, Key("", NAME))
        good = security.ROWS[0][5]
        await eventually(lambda: stored(made, good), "the webhook is still asked", seconds=10)
        await eventually(lambda: refused_by_policy(made, security.ROWS[0][4]), "no policy", seconds=10)
        for name, layer, *_, bad, good in security.ROWS:
            if layer != "policy":  # left to the controller: tests/controller/test_admission.py
                continue
            assert await refused_by_policy(made, bad), name
            assert await stored(made, good), name
        await the_policy_says_all_at_once(made, namespace)
    finally:
        await made.client.delete(POLICY_BINDINGS, Key("", binding["metadata"]["name"]))
        await made.client.delete(POLICIES, Key("", policy["metadata"]["name"]))


async def the_policy_says_all_at_once(made: Cluster, namespace: str) -> None:
    opens = isvc(
        model={
            "args": ["--model_id=a/b", "--trust_remote_code", "--port=1"],
            "env": [{"name": "LD_PRELOAD", "value": "x"}],
            "ports": [{"containerPort": 1, "hostPort": 1}],
            "securityContext": {
                "privileged": True,
                "procMount": "Unmasked",
                "seccompProfile": {"type": "Unconfined"},
                "capabilities": {"add": ["SYS_ADMIN"]},
            },
        },
        hostNetwork=True,
        hostPID=True,
        volumes=[{"name": "node", "hostPath": {"path": "/"}}],
    )
    assert opens["metadata"]["namespace"] == namespace
    with pytest.raises(ApiError) as refused:
        await made.client.create(INFERENCE_SERVICES, opens, dry_run=True)
    (cause,) = (refused.value.details or {})["causes"]
    said = cause["message"]
    for words in (
        "--trust-remote-code, --port",
        "LD_PRELOAD",
        "hostPort",
        "privileged",
        "procMount",
        "seccompProfile",
        "SYS_ADMIN",
        "hostNetwork, hostPID",
        "volume node",
    ):
        assert words in said
    assert said.count("stoker.dev/security: trusted") == 1


async def stored(made: Cluster, obj: Object) -> bool:
    try:
        await made.client.create(RESOURCES[obj["kind"]], obj, dry_run=True)
    except ApiError as error:
        if "webhook" in error.message:
            return False
        raise
    return True


async def refused_by_policy(made: Cluster, bad: Object) -> bool:
    try:
        await made.client.create(RESOURCES[bad["kind"]], bad, dry_run=True)
    except ApiError as error:
        return "ValidatingAdmissionPolicy" in error.message
    return False


async def status_is_written(made: Cluster, resource: Resource, obj: Object) -> None:
    # Of runtimes Stoker writes none; whoever does needs no webhook for it either.
    url = {"status": {"url": "http://outage.default.example.com"}}
    live = await made.client.merge_patch(resource, key(resource), url, subresource="status")
    assert live["status"] == url["status"]
    conditions = {"conditions": [{"type": "Ready", "status": "False", "reason": "Test"}]}
    metadata = {name: obj["metadata"][name] for name in ("name", "namespace") if name in obj["metadata"]}
    live = await made.client.apply(
        resource, {"metadata": metadata, "status": conditions}, subresource="status"
    )
    assert live["status"]["conditions"][0]["reason"] == "Test"


async def finalizers_come_and_go(made: Cluster, resource: Resource) -> None:
    for finalizers in ([FINALIZER], [FINALIZER, "x.y/z"], None, [FINALIZER]):
        patch = {"metadata": {"finalizers": finalizers}}
        live = await made.client.merge_patch(resource, key(resource), patch)
        assert live["metadata"].get("finalizers") == finalizers
    owners = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "none", "uid": "1"}]
    await made.client.merge_patch(resource, key(resource), {"metadata": {"ownerReferences": owners}})


async def it_is_deleted_and_loses_its_finalizers(made: Cluster, resource: Resource) -> None:
    await made.client.delete(resource, key(resource))
    live = await made.client.get(resource, key(resource))
    assert live["metadata"]["deletionTimestamp"]
    # Even together with a change of what is judged: an object under deletion is asked about no more.
    patch = {"metadata": {"finalizers": None, "labels": {"leaving": "yes"}}}
    await made.client.merge_patch(resource, key(resource), patch)
    with pytest.raises(ApiError) as gone:
        await made.client.get(resource, key(resource))
    assert gone.value.is_not_found


async def pods_owe_it_nothing(made: Cluster) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "x.y/z"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    metadata = {"name": "outage-predictor-00001", "namespace": "default"}
    await made.client.create(DEPLOYMENTS, {"metadata": metadata, "spec": spec}, dry_run=True)
