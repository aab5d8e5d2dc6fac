"""The real API server asks the real webhook."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stoker.kube.client import ApiError
from stoker.kube.resource import VALIDATING_WEBHOOK_CONFIGURATIONS, Key
from stoker.local.control_plane import ApiServer
from tests.webhook.objects import (
    BAD_FIELDS,
    Object,
    bad_inference_service,
    cluster_runtime,
    inference_service,
    namespaced_runtime,
)
from tests.webhook.program import CLUSTER_RUNTIMES, INFERENCE_SERVICES, Cluster, cluster, eventually, get
from webhook.catalogue import SERVING_RUNTIMES
from webhook.registration import NAME

pytestmark = pytest.mark.apiserver


@pytest.fixture
async def asked(api_server: ApiServer, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(api_server, tmp_path, "webhook-admission") as made:
        await made.client.apply(CLUSTER_RUNTIMES, cluster_runtime())
        await made.start()
        await eventually(lambda: knows_the_runtime(made), "the runtime does not reach the webhook")
        yield made
        await made.client.delete(CLUSTER_RUNTIMES, Key("", cluster_runtime()["metadata"]["name"]))


async def knows_the_runtime(made: Cluster) -> bool:
    try:
        await made.client.create(INFERENCE_SERVICES, inference_service("probe"), dry_run=True)
    except ApiError:
        return False
    return True


async def refused(made: Cluster, obj: Object, **options: bool) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await made.client.create(INFERENCE_SERVICES, obj, **options)
    return caught.value


async def test_what_is_refused_what_passes_and_what_needs_no_webhook(
    asked: Cluster, kubectl_path: Path, tmp_path: Path
) -> None:
    """One start of the program: the parts run in order."""
    await refusals_name_every_field(asked)
    refusals_read_well(asked, kubectl_path, tmp_path)
    await valid_objects_pass(asked)
    await runtimes_are_judged(asked)
    await a_new_runtime_counts_at_once(asked)
    await deleting_a_runtime_in_use_warns(asked, kubectl_path)
    await it_tells_how_it_does(asked)
    await without_it_only_what_it_judges_waits(asked)


async def refusals_name_every_field(asked: Cluster) -> None:
    for dry_run in (False, True):
        error = await refused(asked, bad_inference_service(), dry_run=dry_run)
        assert (error.status, error.reason) == (422, "Invalid")
        assert {cause["field"] for cause in error.details["causes"]} == BAD_FIELDS
        assert all(
            cause["message"] and cause["reason"].startswith("FieldValue") for cause in error.details["causes"]
        )
        assert error.message.startswith('admission webhook "validate.stoker.dev" denied the request: ')


def refusals_read_well(asked: Cluster, kubectl: Path, folder: Path) -> None:
    file = folder / "bad.json"
    file.write_text(json.dumps(bad_inference_service()))
    command = [str(kubectl), f"--kubeconfig={asked.server.kubeconfig}", "apply", f"--filename={file}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    for field in BAD_FIELDS:
        assert sum(field in line for line in done.stderr.splitlines()) >= 1
    assert "--model_name" in done.stderr or "model_name" in done.stderr


async def valid_objects_pass(asked: Cluster) -> None:
    made = await asked.client.create(INFERENCE_SERVICES, inference_service("good"))
    made["spec"]["predictor"]["minReplicas"] = 2
    made = await asked.client.replace(INFERENCE_SERVICES, made)
    made["spec"]["predictor"]["model"]["args"].append("--no_such_flag")
    with pytest.raises(ApiError, match="no_such_flag"):
        await asked.client.replace(INFERENCE_SERVICES, made)
    labels = {"metadata": {"labels": {"team": "a"}}}
    await asked.client.merge_patch(INFERENCE_SERVICES, Key("default", "good"), labels)


async def runtimes_are_judged(asked: Cluster) -> None:
    broken = namespaced_runtime("broken")
    broken["spec"]["containers"][0]["name"] = "main"
    with pytest.raises(ApiError, match="kserve-container") as caught:
        await asked.client.create(SERVING_RUNTIMES, broken)
    assert caught.value.details["causes"][0]["field"].startswith("spec.containers")


async def a_new_runtime_counts_at_once(asked: Cluster) -> None:
    wanted = inference_service("by-name")
    wanted["spec"]["predictor"]["model"]["runtime"] = "mine"
    error = await refused(asked, wanted)
    assert [cause["field"] for cause in error.details["causes"]] == ["spec.predictor.model.runtime"]
    await asked.client.create(SERVING_RUNTIMES, namespaced_runtime("mine"))

    async def passes() -> bool:
        try:
            return bool(await asked.client.create(INFERENCE_SERVICES, wanted, dry_run=True))
        except ApiError:
            return False

    await eventually(passes, "the new runtime is not known", seconds=5)


async def deleting_a_runtime_in_use_warns(asked: Cluster, kubectl: Path) -> None:
    used = inference_service("by-name")
    used["spec"]["predictor"]["model"]["runtime"] = "mine"
    await asked.client.create(INFERENCE_SERVICES, used)
    command = [str(kubectl), f"--kubeconfig={asked.server.kubeconfig}", "delete", "--dry-run=server"]

    async def warned() -> bool:
        done = subprocess.run(
            [*command, "servingruntime", "mine"], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        return "Warning: ServingRuntime mine is used by default/by-name;" in done.stderr

    await eventually(warned, "a deletion does not name the users", seconds=10)
    await asked.client.delete(INFERENCE_SERVICES, Key("default", "by-name"))


async def it_tells_how_it_does(asked: Cluster) -> None:
    replica = asked.replicas[0]
    metrics = await get(replica.health_port, "/metrics")
    for line in ('verdict="refused"', 'certificate="leaf"'):
        assert line in metrics
    # Other tests of the session keep runtimes on the same API server: these two are among them.
    usable = re.search(r'stoker_webhook_runtimes\{state="usable"\} (\d+)', metrics)
    assert usable is not None
    assert int(usable[1]) >= 2
    assert (await get(replica.health_port, "/healthz")).startswith("HTTP/1.1 200")


async def without_it_only_what_it_judges_waits(asked: Cluster) -> None:
    client, key = asked.client, Key("default", "good")
    patch = {"metadata": {"finalizers": ["stoker.dev/test"]}}
    await client.merge_patch(INFERENCE_SERVICES, key, patch)
    assert asked.replicas[0].stop(signal.SIGKILL) == -signal.SIGKILL
    with pytest.raises(ApiError, match="failed calling webhook"):
        await client.merge_patch(INFERENCE_SERVICES, key, {"spec": {"predictor": {"minReplicas": 3}}})
    status = {"status": {"url": "http://good.default.example.com"}}
    live = await client.merge_patch(INFERENCE_SERVICES, key, status, subresource="status")
    assert live["status"] == status["status"]
    await client.merge_patch(
        INFERENCE_SERVICES, key, {"metadata": {"finalizers": ["stoker.dev/test", "x.y/z"]}}
    )
    await client.delete(INFERENCE_SERVICES, key)
    live = await client.merge_patch(INFERENCE_SERVICES, key, {"metadata": {"finalizers": None}})
    assert "deletionTimestamp" in live["metadata"]
    with pytest.raises(ApiError) as gone:
        await client.get(INFERENCE_SERVICES, key)
    assert gone.value.is_not_found
    await client.delete(SERVING_RUNTIMES, Key("default", "mine"))
    # The documented way out.
    await client.delete(VALIDATING_WEBHOOK_CONFIGURATIONS, Key("", NAME))

    async def passes() -> bool:
        try:
            return bool(await client.create(INFERENCE_SERVICES, inference_service("free"), dry_run=True))
        except ApiError:
            return False

    await eventually(passes, "still asked", seconds=10)
