"""What clients of the real Envoy see."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import grpc
import pytest

from tests.gateway.bench import LOOPBACK, Bench, benched, pod_of
from tests.gateway.objects import inference_service, pod
from tests.ports import free_port

pytestmark = pytest.mark.envoy

HOST = "a.default.example.com"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with benched(tmp_path) as made:
        yield made


def _error(body: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(body)["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return found


async def test_it_is_not_ready_before_it_has_a_configuration(bench: Bench) -> None:
    assert await bench.readiness() != 200
    await bench.show([inference_service("a")], [])
    await bench.serving()


async def test_hosts_in_any_case_with_or_without_port(bench: Bench) -> None:
    one, two = await bench.upstream("one"), await bench.upstream("two")
    await bench.show(
        [inference_service("a", {"a-1": 100}), inference_service("b", {"b-1": 100})],
        [pod_of(one, "a", "a-1"), pod_of(two, "b", "b-1")],
    )
    await bench.serving()
    for host in (HOST, "A.Default.EXAMPLE.com", f"{HOST}:80", f"A.DEFAULT.example.com:{30080}", f"{HOST}."):
        assert await bench.pod_for(host) == "one", host
    assert await bench.pod_for("b.default.example.com") == "two"


async def test_http_2_without_tls_on_the_same_port(bench: Bench) -> None:
    one = await bench.upstream("one")
    await bench.show([inference_service("a", {"a-1": 100})], [pod_of(one, "a", "a-1")])
    await bench.serving()
    options = [("grpc.default_authority", HOST)]
    target = f"{LOOPBACK}:{bench.options.listener_port}"
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        call = channel.unary_unary("/v1/models")
        with pytest.raises(grpc.aio.AioRpcError) as caught:  # the answer is JSON, not gRPC
            await call(b"", timeout=10)
    assert caught.value.code() == grpc.StatusCode.UNKNOWN
    assert one.requests == 1


async def test_weights_are_shares_of_requests(bench: Bench) -> None:
    old, new = await bench.upstream("old"), await bench.upstream("new")
    await bench.show(
        [inference_service("a", {"a-1": 80, "a-2": 20})],
        [pod_of(old, "a", "a-1"), pod_of(new, "a", "a-2")],
    )
    await bench.serving()
    seen = Counter([await bench.pod_for(HOST) for _ in range(500)])
    # Binomial with standard deviation 9: outside this once in 10^6 runs.
    assert 55 <= seen["new"] <= 145


async def test_the_pod_with_the_fewest_requests_is_next(tmp_path: Path) -> None:
    async with benched(tmp_path, workers=1) as bench:  # each worker of Envoy counts for itself
        pods = [await bench.upstream(name) for name in ("one", "two", "three")]
        await bench.show([inference_service("a", {"a-1": 100})], [pod_of(each, "a", "a-1") for each in pods])
        await bench.serving()
        async with aiohttp.ClientSession(bench.url, headers={"Host": HOST}) as client:
            for _ in range(6):
                await client.get("/stream")
            assert [each.requests for each in pods] == [2, 2, 2]
            for each in pods:
                each.goes_on.set()


async def test_a_stream_is_passed_on_as_it_is_made(bench: Bench) -> None:
    one = await bench.upstream("one")
    await bench.show([inference_service("a", {"a-1": 100})], [pod_of(one, "a", "a-1")])
    await bench.serving()
    async with bench.client.get(f"{bench.url}/stream", headers={"Host": HOST}) as response:
        assert await response.content.readany() == b"data: one\n\n"
        one.goes_on.set()  # only now is there a second half
        assert await response.content.read() == b"data: two\n\n"


async def test_a_stream_outlives_its_revision_in_the_table(bench: Bench) -> None:
    old, new = await bench.upstream("old"), await bench.upstream("new")
    service = inference_service("a", {"a-1": 100})
    await bench.show([service], [pod_of(old, "a", "a-1")])
    await bench.serving()
    async with bench.client.get(f"{bench.url}/stream", headers={"Host": HOST}) as response:
        assert await response.content.readany() == b"data: one\n\n"
        ending = pod_of(old, "a", "a-1", terminating=True)
        for pods in ([ending, pod_of(new, "a", "a-2")], [pod_of(new, "a", "a-2")]):
            await bench.show([inference_service("a", {"a-2": 100})], pods)
            assert await bench.pod_for(HOST) == "new"
        await bench.show([], [])
        old.goes_on.set()
        assert await response.content.read() == b"data: two\n\n"


async def test_requests_leave_a_draining_pod_for_another(bench: Bench) -> None:
    draining, well = await bench.upstream("draining"), await bench.upstream("well")
    draining.draining = True
    await bench.show(
        [inference_service("a", {"a-1": 100})], [pod_of(each, "a", "a-1") for each in (draining, well)]
    )
    await bench.serving()
    answers = [
        await bench.client.post(bench.url, headers={"Host": HOST}, data=b"x" * 9000) for _ in range(20)
    ]
    assert {answer.status for answer in answers} == {200}
    assert draining.requests > 0, "nothing was ever retried"
    assert well.requests == 20


async def test_where_all_pods_drain_their_own_refusal_comes_through(bench: Bench) -> None:
    one = await bench.upstream("one")
    one.draining = True
    await bench.show([inference_service("a", {"a-1": 100})], [pod_of(one, "a", "a-1")])
    await bench.serving()
    status, headers, _ = await bench.get(HOST)
    assert status == 503
    assert headers["x-stoker-draining"] == "1"
    assert one.requests <= 4, "retries are bounded"


async def test_a_pod_that_takes_no_connection_is_skipped(bench: Bench) -> None:
    well = await bench.upstream("well")
    gone = pod("a", "a-1", LOOPBACK, free_port())
    await bench.show([inference_service("a", {"a-1": 100})], [gone, pod_of(well, "a", "a-1")])
    await bench.serving()
    assert Counter([await bench.pod_for(HOST) for _ in range(20)]) == {"well": 20}


async def test_an_error_that_the_pod_answered_is_not_repeated(bench: Bench) -> None:
    one, two = await bench.upstream("one"), await bench.upstream("two")
    await bench.show(
        [inference_service("a", {"a-1": 100})], [pod_of(each, "a", "a-1") for each in (one, two)]
    )
    await bench.serving()
    one.status = two.status = 503
    status, _, body = await bench.get(HOST)
    assert (status, body) == (503, "busy"), "as the pod said it"
    assert one.requests + two.requests == 1


class TestAnswersOfItsOwn:
    async def test_a_host_that_names_nobody(self, bench: Bench) -> None:
        await bench.show([inference_service("secret", {})], [])
        await bench.serving()
        status, headers, body = await bench.get("b.default.example.com", "/v1/models")
        assert status == 404
        assert headers["content-type"] == "application/json"
        found = _error(body)
        assert found["code"] == "unknown_host"
        assert '"b.default.example.com"' in str(found["message"])
        assert "<name>.<namespace>.example.com" in str(found["message"])
        assert "kubectl get inferenceservices" in str(found["message"])
        assert "secret" not in body, "hosts of others are nobody's business"

    async def test_a_service_without_a_ready_pod(self, bench: Bench) -> None:
        await bench.show(
            [inference_service("a", {}, reason="ImagePullBackOff")], [pod("a", "a-1", ready=False)]
        )
        await bench.serving()
        status, headers, body = await bench.get(HOST)
        assert status == 503
        assert int(headers["retry-after"]) > 0
        assert headers["content-type"] == "application/json"
        found = _error(body)
        assert (found["type"], found["code"]) == ("server_error", "no_ready_pods")
        assert "ImagePullBackOff" in str(found["message"])

    async def test_pods_that_cannot_be_reached(self, bench: Bench) -> None:
        await bench.show([inference_service("a", {"a-1": 100})], [pod("a", "a-1", LOOPBACK, free_port())])
        await bench.serving()
        status, headers, body = await bench.get(HOST)
        assert status == 503
        assert int(headers["retry-after"]) > 0
        assert _error(body)["code"] == "upstream_unavailable"

    async def test_headers_that_are_too_large(self, bench: Bench) -> None:
        await bench.show([inference_service("a", {})], [])
        await bench.serving()
        status, headers, body = await bench.get(HOST, Padding="x" * 70_000)
        assert status == 431
        assert headers["content-type"] == "application/json"
        assert _error(body)["type"] == "invalid_request_error"


async def test_silence_ends_only_where_a_timeout_was_asked_for(bench: Bench) -> None:
    """Scaled down: the table says 0 for all others (test_snapshot), and 0 means what this shows."""
    one = await bench.upstream("one")
    one.seconds = 2.0
    pods = [pod_of(one, "a", "a-1"), pod_of(one, "b", "b-1")]
    services = [inference_service("a", {"a-1": 100}), inference_service("b", {"b-1": 100}, timeout=1)]
    await bench.show(services, pods)
    await bench.serving()
    patient, impatient = await asyncio.gather(bench.get(HOST), bench.get("b.default.example.com"))
    assert patient[0] == 200
    assert impatient[0] == 504
    assert _error(impatient[2])["code"] == "timeout"


async def test_clients_cannot_set_timeouts_or_retries(bench: Bench) -> None:
    one = await bench.upstream("one")
    one.seconds = 0.3
    await bench.show([inference_service("a", {"a-1": 100})], [pod_of(one, "a", "a-1")])
    await bench.serving()
    status, _, body = await bench.get(
        HOST, **{"x-envoy-upstream-rq-timeout-ms": "10", "x-envoy-max-retries": "9"}
    )
    assert status == 200
    assert "x-envoy-max-retries" not in json.loads(body)["headers"]


async def test_a_request_has_an_id_on_both_sides(bench: Bench) -> None:
    one = await bench.upstream("one")
    await bench.show([inference_service("a", {"a-1": 100})], [pod_of(one, "a", "a-1")])
    await bench.serving()
    _, headers, body = await bench.get(HOST)
    assert headers["x-request-id"] == json.loads(body)["headers"]["X-Request-ID"]
    _, headers, body = await bench.get(HOST, **{"x-request-id": "mine"})
    assert headers["x-request-id"] == json.loads(body)["headers"]["X-Request-ID"] == "mine"
    _, headers, body = await bench.get("nobody")
    assert headers["x-request-id"]
