"""What the server does around generation: bytes of streams, errors, probes, limits, leaving clients."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Sequence

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.engines.base import Delta, EngineDead, EngineRefused, FinishReason, Pulled, Sampling, Sink
from runtime.engines.echo import EchoEngine
from runtime.failures import Failure, Reason
from runtime.state import Phase, Progress

from .serving import Server, reach, serve


async def events(server: Server, path: str, body: dict[str, object]) -> list[str]:
    """The data of each server-sent event, and nothing but events in the body."""
    async with server.http.post(server.url + path, json={**body, "stream": True}) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        text = await answer.text()
    assert text.endswith("\n\n")
    lines = text[:-2].split("\n\n")
    assert all(line.startswith("data: ") and "\n" not in line for line in lines)
    return [line.removeprefix("data: ") for line in lines]


async def test_the_bytes_of_a_completion_stream(echo: Server) -> None:
    *chunks, done = await events(echo, "/v1/completions", {"model": "m", "prompt": "aé\n"})
    assert done == "[DONE]"
    made = [json.loads(chunk) for chunk in chunks]
    assert [chunk["choices"][0]["text"] for chunk in made] == ["a", "é", "\n", ""]
    assert [chunk["choices"][0]["finish_reason"] for chunk in made] == [None, None, None, "stop"]
    for chunk in made:
        assert chunk.keys() == {"id", "object", "created", "model", "system_fingerprint", "choices"}
        assert chunk["object"] == "text_completion"
        assert chunk["choices"][0]["logprobs"] is None


async def test_usage_is_null_until_the_end_only_where_it_is_asked_for(echo: Server) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    *plain, _ = await events(echo, "/v1/chat/completions", body)
    assert all("usage" not in json.loads(chunk) for chunk in plain)
    *asked, _ = await events(
        echo, "/v1/chat/completions", {**body, "stream_options": {"include_usage": True}}
    )
    usages = [json.loads(chunk)["usage"] for chunk in asked]
    assert usages[:-1] == [None] * (len(usages) - 1)
    assert usages[-1]["completion_tokens"] == 2


async def test_names_that_need_escaping_survive(echo: Server) -> None:
    async with serve('--model_name=a"b\\é/[]') as server:
        *chunks, _ = await events(server, "/v1/completions", {"model": 'a"b\\é/[]', "prompt": "x"})
        assert {json.loads(chunk)["model"] for chunk in chunks} == {'a"b\\é/[]'}


@pytest.mark.parametrize("base", ["/v1", "/openai/v1"])
async def test_both_bases(echo: Server, base: str) -> None:
    status, _ = await echo.post(f"{base}/completions", {"model": "m", "prompt": "x"})
    assert status == 200


@pytest.mark.parametrize(
    ("route", "body", "headers", "status"),
    [
        ("GET /nowhere", b"", {}, 404),
        ("GET /v1/completions", b"", {}, 405),
        ("POST /v1/completions", b"{}", {"Content-Type": "text/plain"}, 415),
        (
            "POST /v1/completions",
            b"{}",
            {"Content-Type": "application/json", "Content-Encoding": "gzip"},
            415,
        ),
        ("POST /v1/completions", b"{", {"Content-Type": "application/json"}, 400),
        ("POST /v1/completions", b"\xff", {"Content-Type": "application/json"}, 400),
        ("POST /v1/completions", b"[]", {"Content-Type": "application/json"}, 400),
        ("POST /v1/completions", b'{"model": NaN}', {"Content-Type": "application/json"}, 400),
        ("POST /v1/completions", b"[" * 100_000, {"Content-Type": "application/json"}, 400),
        ("POST /v1/completions", b"9" * 10_000, {"Content-Type": "application/json"}, 400),
    ],
)
async def test_errors_have_one_shape(
    echo: Server, route: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    method, path = route.split()
    async with echo.http.request(method, echo.url + path, data=body or None, headers=headers) as answer:
        document = await answer.json()
        assert answer.status == status
        assert document.keys() == {"error"}
        assert document["error"].keys() == {"message", "type", "param", "code"}
        assert document["error"]["message"]
        if status == 405:
            assert answer.headers["Allow"] == "POST"


async def test_a_body_over_the_limit_is_413() -> None:
    async with serve("--max_body_bytes=1000") as server:
        fits = {"model": "m", "prompt": "x" * 900, "max_tokens": 1}
        assert (await server.post("/v1/completions", fits))[0] == 200
        status, answer = await server.post("/v1/completions", {"model": "m", "prompt": "x" * 1000})
        assert (status, answer["error"]["message"]) == (413, "The body is larger than 1000 bytes.")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_FIELDS = [
    "model",
    "prompt",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "n",
    "stream",
    "stop",
    "seed",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "stream_options",
    "echo",
    "best_of",
    "suffix",
    "user",
    "tools",
    "min_tokens",
    "stop_token_ids",
]


@given(
    extra=st.dictionaries(st.sampled_from(_FIELDS), json_values, max_size=4),
    path=st.sampled_from(["/v1/completions", "/v1/chat/completions"]),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_body_makes_a_server_error(echo: Server, extra: dict[str, object], path: str) -> None:
    start = {"model": "m", "max_tokens": 3}
    start |= (
        {"prompt": "x"} if path == "/v1/completions" else {"messages": [{"role": "user", "content": "x"}]}
    )
    async with echo.http.post(echo.url + path, json={**start, **extra}) as answer:
        assert answer.status in (200, 400, 404)
        await answer.read()


async def test_the_request_id_is_echoed_or_made(echo: Server) -> None:
    for path in ("/v1/models", "/ready", "/nowhere"):
        async with echo.http.get(echo.url + path, headers={"x-request-id": "abc-1"}) as answer:
            assert answer.headers["x-request-id"] == "abc-1"
    async with echo.http.get(
        echo.url + "/v1/models", headers={"x-request-id": "no spaces\tplease"}
    ) as answer:
        assert len(answer.headers["x-request-id"]) == 32
    body = {"model": "m", "prompt": "x", "stream": True}
    async with echo.http.post(
        echo.url + "/v1/completions", json=body, headers={"x-request-id": "abc-2"}
    ) as answer:
        assert answer.headers["x-request-id"] == "abc-2"


async def status_of(server: Server, path: str) -> int:
    async with server.http.get(server.url + path) as answer:
        return answer.status


async def test_probes_while_the_model_loads() -> None:
    async with serve("--echo_load_seconds=30", wait=False) as server:
        await reach(server.service.state, Phase.LOADING)
        for path, status in {
            "/live": 200,
            "/v2/health/live": 200,
            "/ready": 503,
            "/health": 503,
            "/v2/health/ready": 503,
            "/v1/models": 200,
            "/v1/models/m": 503,
            "/v2/models/m/ready": 503,
            "/metrics": 200,
        }.items():
            assert await status_of(server, path) == status, path
        async with server.http.post(server.url + "/v1/completions", json={}) as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "5"
            assert (await answer.json())["error"]["code"] == "model_loading"
        async with server.http.get(server.url + "/stoker/v1/state") as answer:
            document = await answer.json()
        assert (document["phase"], document["backend"]["name"]) == ("Loading", "echo")
        server.service.state.progress = Progress(1, 4, "weights")
        async with server.http.get(server.url + "/ready") as answer:
            told = await answer.json()
        assert (told["ready"], told["phase"]) == (False, "Loading")
        assert told["progress"] == {"done": 1, "total": 4, "unit": "weights"}
        assert told["phases"]["Loading"] >= 0
        async with server.http.get(server.url + "/metrics") as answer:
            assert "stoker_runtime_phase_progress_ratio 0.25" in await answer.text()


async def test_ready_only_after_a_real_inference() -> None:
    release = asyncio.Event()

    class Held(EchoEngine):
        async def push(self, request_id: str, prompt: Sequence[int], sampling: Sampling, sink: Sink) -> None:
            await release.wait()
            await super().push(request_id, prompt, sampling, sink)

    async with serve(engine=Held(), wait=False) as server:
        await reach(server.service.state, Phase.WARMING)
        assert await status_of(server, "/ready") == 503
        release.set()
        await reach(server.service.state, Phase.READY)
        for path in (
            "/ready",
            "/health",
            "/v2/health/ready",
            "/v1/models/m",
            "/v2/models/m",
            "/v2/models/m/ready",
        ):
            assert await status_of(server, path) == 200, path


class Dying(Pulled, EchoEngine):
    """Dies at the third token of an answer to anything but the warm-up."""

    def __init__(self, error: Exception, after: int) -> None:
        super().__init__()
        self._error = error
        self._after = after
        self.died = False

    def problem(self) -> str | None:
        return "it broke" if self.died else None

    async def generate(
        self, request_id: str, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Delta, None]:
        if request_id == "warm-up":
            yield Delta("x", [120], FinishReason.LENGTH)
            return
        for _ in range(self._after):
            yield Delta("x", [120])
        self.died = isinstance(self._error, EngineDead)
        raise self._error


async def test_a_dead_engine_fails_live_and_ends_the_lifecycle() -> None:
    async with serve(engine=Dying(EngineDead("gone"), after=0)) as server:
        status, answer = await server.post("/v1/completions", {"model": "m", "prompt": "x"})
        assert (status, answer["error"]["code"]) == (503, "engine_failed")
        assert await status_of(server, "/live") == 503
        assert await status_of(server, "/ready") == 503
        with pytest.raises(Failure, match="The engine ended: it broke") as failure:
            await asyncio.wait_for(server.run, 10)
        assert (failure.value.reason, failure.value.exit_code) == (Reason.ENGINE_DIED, 3)


async def test_an_error_after_the_first_chunk_is_an_event() -> None:
    async with serve(engine=Dying(ValueError("secret"), after=2)) as server:
        *chunks, error, done = await events(server, "/v1/completions", {"model": "m", "prompt": "x"})
        assert len(chunks) == 2
        assert json.loads(error)["error"] == {
            "message": "Internal error.",
            "type": "internal_server_error",
            "param": None,
            "code": "internal_error",
        }
        assert done == "[DONE]"


async def test_an_error_before_the_first_chunk_is_an_ordinary_one() -> None:
    async with serve(engine=Dying(ValueError("secret"), after=0)) as server:
        status, answer = await server.post("/v1/completions", {"model": "m", "prompt": "x", "stream": True})
        assert (status, answer["error"]["message"]) == (500, "Internal error.")
    async with serve(engine=Dying(EngineRefused("too odd"), after=0)) as server:
        status, answer = await server.post("/v1/completions", {"model": "m", "prompt": "x", "stream": True})
        assert (status, answer["error"]["message"]) == (400, "too odd")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_frees_its_work(stream: bool) -> None:
    async with serve("--echo_token_seconds=0.01") as server:
        body = {
            "model": "m",
            "prompt": "x",
            "max_tokens": 20_000,
            "ignore_eos": True,
            "stream": stream,
            "n": 2,
        }
        post = asyncio.create_task(server.http.post(server.url + "/v1/completions", json=body))
        while server.engine.load().running < 2:
            await asyncio.sleep(0.01)
        if stream:
            (await post).close()
        else:
            post.cancel()
        async with asyncio.timeout(5):
            while server.engine.load().running or server.service.admission.sequences:
                await asyncio.sleep(0.01)
        text = server.service.metrics.render().decode()
        assert 'stoker_runtime_client_disconnects_total{route="/v1/completions"} 1.0' in text
        assert 'stoker_runtime_http_requests_total{route="/v1/completions",status="499"} 1.0' in text


async def test_a_reader_that_stalls_is_cut_off() -> None:
    """Noticed while the kernel would still take what is written: half a megabyte of chunks in all."""
    async with serve("--write_timeout_seconds=0.2", "--hold_seconds=0") as server:
        host, port = server.url.removeprefix("http://").split(":")
        body = json.dumps(
            {"model": "m", "prompt": "x", "max_tokens": 3000, "ignore_eos": True, "stream": True}
        ).encode()
        with socket.socket() as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.connect((host, int(port)))
            head = (
                "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            stalled.sendall(head.encode() + body)
            async with asyncio.timeout(20):
                while not (cut := _count(server, status="499")) + _count(server, status="200"):
                    await asyncio.sleep(0.05)
            assert cut == 1
            assert not server.engine.load().running


def _count(server: Server, *, status: str) -> int:
    line = f'stoker_runtime_http_requests_total{{route="/v1/completions",status="{status}"}} 1.0'
    return server.service.metrics.render().decode().count(line)


async def test_over_the_limit_is_429_at_once() -> None:
    async with serve("--max_concurrent_sequences=3", "--echo_token_seconds=0.01") as server:
        body = {"model": "m", "prompt": "x", "max_tokens": 10_000, "ignore_eos": True, "n": 3}
        post = asyncio.create_task(server.http.post(server.url + "/v1/completions", json=body))
        while server.service.admission.sequences < 3:
            await asyncio.sleep(0.01)
        async with server.http.post(
            server.url + "/v1/completions", json={"model": "m", "prompt": "x"}
        ) as answer:
            assert answer.status == 429
            assert int(answer.headers["Retry-After"]) >= 1
            assert (await answer.json())["error"]["type"] == "rate_limit_error"
        post.cancel()
        async with asyncio.timeout(5):
            while server.service.admission.sequences:
                await asyncio.sleep(0.01)
        status, _ = await server.post("/v1/completions", {"model": "m", "prompt": "x"})
        assert status == 200


async def test_metrics_have_vllms_names(echo: Server) -> None:
    await echo.openai.completions.create(model="m", prompt="abc", max_tokens=2)
    async with echo.http.get(echo.url + "/metrics") as answer:
        text = await answer.text()
        assert answer.content_type == "text/plain"
    labels = '{engine="0",model_name="m"}'
    for line in (
        f"vllm:prompt_tokens_total{labels} 4.0",
        f"vllm:generation_tokens_total{labels} 2.0",
        f"vllm:time_to_first_token_seconds_count{labels} 1.0",
        f"vllm:inter_token_latency_seconds_count{labels} 1.0",
        f"vllm:e2e_request_latency_seconds_count{labels} 1.0",
        f"vllm:num_requests_running{labels} 0.0",
        f"vllm:num_requests_waiting{labels} 0.0",
        'vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 1.0',
        'stoker_runtime_backend_info{backend="echo",reason="Requested"} 1.0',
        'stoker_runtime_phase{phase="Ready"} 1.0',
        'stoker_runtime_http_requests_total{route="/openai/v1/completions",status="200"} 1.0',
    ):
        assert line in text, line


async def test_labels_never_come_from_clients(echo: Server) -> None:
    async with echo.http.request("PROPFIND", echo.url + "/v1/whatever") as answer:
        assert answer.status == 404
    await status_of(echo, "/v1/models/some-unknown-name")
    text = echo.service.metrics.render().decode()
    assert "PROPFIND" not in text
    assert "whatever" not in text
    assert "some-unknown-name" not in text


async def test_keep_alive_connections_are_reused(echo: Server) -> None:
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(connector=connector) as http:
        for _ in range(3):
            async with http.post(
                echo.url + "/v1/completions", json={"model": "m", "prompt": "x", "stream": True}
            ) as answer:
                await answer.read()
            assert len(connector._conns) == 1
