"""Services come, answer, change and go."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from e2e.cluster import Cluster
from e2e.objects import ECHO_RUNTIME, inference_service

HOST = "{}.default.example.com"


@pytest.fixture
def echo(cluster: Cluster) -> Cluster:
    cluster.apply(ECHO_RUNTIME)
    return cluster


def complete(cluster: Cluster, name: str, prompt: str = "one two three", *, model: str | None = None) -> str:
    answer = cluster.client(HOST.format(name)).completions.create(
        model=model or name, prompt=prompt, max_tokens=8
    )
    return answer.choices[0].text


@dataclass
class Load:
    """Requests in a row until told to stop; what failed, and how many answers came."""

    answered: int = 0
    failures: list[str] = field(default_factory=list)


@contextmanager
def steady_load(cluster: Cluster, name: str, workers: int = 2) -> Iterator[Load]:
    load, stop = Load(), threading.Event()

    def ask() -> None:
        client = cluster.client(HOST.format(name))
        while not stop.is_set():
            try:
                stream = client.completions.create(model=name, prompt="a b c d", max_tokens=8, stream=True)
                chunks = list(stream)
                assert chunks[-1].choices[0].finish_reason, "the stream ended without a finish_reason"
                load.answered += 1
            except Exception as error:  # every failure is the finding
                load.failures.append(f"{time.strftime('%X')} {type(error).__name__}: {error}")
            time.sleep(0.02)

    threads = [threading.Thread(target=ask) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=30)


def children(cluster: Cluster, name: str) -> dict[str, list[str]]:
    selector = f"serving.kserve.io/inferenceservice={name}"
    return {
        kind: sorted(item["metadata"]["name"] for item in cluster.get(kind, selector=selector)["items"])
        for kind in ("deployments", "services", "controllerrevisions")
    }


def test_two_services_side_by_side_and_one_goes(echo: Cluster) -> None:
    echo.apply(inference_service("first"))
    echo.apply(inference_service("second"))
    first, _ = echo.wait_ready("first"), echo.wait_ready("second")

    assert first["status"]["url"] == "http://first.default.example.com"
    assert first["status"]["servingRuntimeName"] == "echo", (
        "a namespaced runtime comes before the shipped one"
    )
    assert complete(echo, "first")
    assert complete(echo, "second")

    echo.delete("first")
    echo.wait("its children are gone", lambda: not any(children(echo, "first").values()), timeout=60)
    echo.wait("its route is gone", lambda: status_of(echo, HOST.format("first"))[0] == 404)
    assert complete(echo, "second"), "the other one stays"


def status_of(cluster: Cluster, host: str) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection(
        cluster.env["INGRESS_HOST"], int(cluster.env["INGRESS_PORT"]), timeout=10
    )
    try:
        connection.request("GET", "/openai/v1/models", headers={"Host": host})
        answer = connection.getresponse()
        body = json.loads(answer.read() or b"{}")
    except ValueError:
        body = {}
    finally:
        connection.close()
    return answer.status, body


def test_host_in_any_case_with_a_port_or_unknown(echo: Cluster) -> None:
    echo.apply(inference_service("first"))
    echo.apply(inference_service("second"))
    echo.wait_ready("first")
    echo.wait_ready("second")
    for host in ("first.default.example.com", "FIRST.Default.example.COM", "first.default.example.com:30080"):
        status, body = status_of(echo, host)
        assert (status, body["data"][0]["id"]) == (200, "first"), host  # type: ignore[index]

    status, body = status_of(echo, "nobody.default.example.com")
    assert status == 404
    error = body["error"]
    assert isinstance(error, dict)
    assert {"message", "type", "param", "code"} <= error.keys()
    assert "Host" in error["message"], "it says which Host to send"

    echo.delete("second")
    echo.wait(
        "with one service left a request without a known Host goes to it",
        lambda: status_of(echo, "127.0.0.1")[0] == 200,
    )


def test_an_update_drops_no_request(echo: Cluster) -> None:
    echo.apply(inference_service("first", "--echo_token_seconds=0.01"))
    echo.wait_ready("first")
    with steady_load(echo, "first") as load:
        echo.wait("the load runs", lambda: load.answered > 20)
        echo.apply(inference_service("first", "--echo_token_seconds=0.02"))
        updated = echo.wait_ready("first")
        echo.wait(
            "the old revision's pod is gone",
            lambda: len(echo.get("pods", selector="serving.kserve.io/inferenceservice=first")["items"]) == 1,
            timeout=90,
        )
    traffic = updated["status"]["components"]["predictor"]["traffic"]
    assert traffic == [{"latestRevision": True, "percent": 100, "revisionName": "first-predictor-00002"}]
    assert load.failures == []
    assert load.answered > 50


def test_a_failed_update_leaves_the_old_revision_serving(echo: Cluster) -> None:
    echo.apply(inference_service("first"))
    echo.wait_ready("first")
    echo.apply(inference_service("first", "--backend=huggingface", "--model_id=nobody/nothing"))
    ready = echo.wait_reason("first", "HubUnreachable", "nobody/nothing")
    assert "first-predictor-00001" in ready["message"], "it says who still serves"
    assert complete(echo, "first")
    status = echo.get("inferenceservice", "first")["status"]
    assert status["components"]["predictor"]["latestReadyRevision"] == "first-predictor-00001"

    echo.apply(inference_service("first"))
    echo.wait_ready("first")
    assert children(echo, "first")["deployments"] == ["first-predictor-00001"], (
        "going back reuses the revision"
    )


def test_the_controller_killed_at_any_time(echo: Cluster) -> None:
    echo.apply(inference_service("first"))
    echo.wait_ready("first")
    with steady_load(echo, "first") as load:
        echo.apply(inference_service("first", "--echo_token_seconds=0.01"))
        for _ in range(2):
            echo.kubectl(
                "delete",
                "pod",
                "-n",
                "stoker-system",
                "-l",
                "app.kubernetes.io/name=stoker-controller",
                "--force",
                "--grace-period=0",
            )
            time.sleep(1.5)  # a while into whatever it does after its start
        echo.wait_ready("first")
    assert load.failures == []
    echo.wait(
        "one Deployment is left",
        lambda: children(echo, "first")["deployments"] == ["first-predictor-00002"],
        timeout=90,
    )
    assert children(echo, "first")["services"] == ["first-predictor"]


def test_the_service_inside_the_cluster(echo: Cluster) -> None:
    echo.apply(inference_service("first"))
    isvc = echo.wait_ready("first")
    assert isvc["status"]["address"]["url"] == "http://first-predictor.default.svc.cluster.local"
    endpoints = echo.get("endpointslices", selector="kubernetes.io/service-name=first-predictor")["items"]
    ready = [e for item in endpoints for e in item["endpoints"] or [] if e["conditions"]["ready"]]
    assert len(ready) == 1
