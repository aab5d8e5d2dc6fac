"""Every limit at its value and one beyond: the one passes, the other is refused before the engine sees it."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from pathlib import Path
from typing import Any

import openai
import pytest

from runtime import lifecycle
from runtime.engines.base import ModelFiles
from runtime.engines.transformers.engine import TransformersEngine
from runtime.failures import Failure
from runtime.flags.bounds import BOUNDS
from runtime.flags.parse import parse

from .scripted import ScriptedEngine
from .serving import Server, serve

_DOC = Path(__file__).parents[2] / "docs" / "limits.md"
COMPLETION, CHAT = "/v1/completions", "/v1/chat/completions"
USER = {"role": "user", "content": "x"}


def test_the_page_has_every_limit_with_its_default() -> None:
    rows = re.findall(r"^\|.*\| `--(\w+)` \| ([^|]+) \| .+ \|$", _DOC.read_text(), re.M)
    defaults = {flag.name: flag.default for flag in BOUNDS}
    assert sorted(name for name, _ in rows) == sorted(defaults)
    for name, shown in rows:
        if defaults[name] is None:  # what the model or the device makes of it, in words
            assert not re.fullmatch(r"[\d.]+", shown), name
        else:
            assert shown == str(defaults[name]), name


def prompt(text: str = "x", **more: Any) -> dict[str, Any]:
    return {"model": "m", "prompt": text, "max_tokens": 1, **more}


def chat(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages) or [USER], "max_tokens": 1, **more}


def nested(depth: int) -> dict[str, Any]:
    """A body that is `depth` deep and otherwise wrong only by an unknown field."""
    value: Any = 1
    for _ in range(depth - 1):
        value = [value]
    return prompt(logit_bias=value)


def tool(name: str, size: int = 0) -> dict[str, Any]:
    schema = {"type": "object", "description": "x" * size}
    return {"type": "function", "function": {"name": name, "parameters": schema, "strict": bool(size)}}


SCHEMA = json.dumps({"type": "object", "description": ""})
# flag and value, the endpoint, a request at the limit, one over it, the field that is named.
SHAPES: list[tuple[str, int, str, Any, Any, str | None]] = [
    ("max_json_keys", 5, COMPLETION, prompt(logit_bias={"1": 1}), prompt(logit_bias={"1": 1, "2": 1}), None),
    ("max_messages", 2, CHAT, chat(USER, USER), chat(USER, USER, USER), "messages"),
    ("max_content_parts", 2, CHAT, chat({"role": "user", "content": [{"type": "text", "text": "x"}] * 2}),
     chat({"role": "user", "content": [{"type": "text", "text": "x"}] * 3}), "messages[0].content"),
    ("max_prompts", 2, COMPLETION, prompt(["x"] * 2), prompt(["x"] * 3), "prompt"),  # type: ignore[arg-type]
    ("max_n", 2, COMPLETION, prompt(n=2), prompt(n=3), "n"),
    ("max_n", 2, CHAT, chat(n=2), chat(n=3), "n"),
    ("max_sequences_per_request", 3, COMPLETION, prompt(n=3), prompt(["x", "y"], n=2), "prompt"),  # type: ignore[arg-type]
    ("max_sequences_per_request", 3, CHAT, chat(n=3), chat(n=4), "n"),
    ("max_stop_strings", 2, COMPLETION, prompt(stop=["a", "b"]), prompt(stop=["a", "b", "c"]), "stop"),
    ("max_stop_bytes", 4, CHAT, chat(stop="äa1"), chat(stop="äaa1"), "stop"),
    ("max_stop_token_ids", 2, COMPLETION, prompt(stop_token_ids=[1, 2]), prompt(stop_token_ids=[1, 2, 3]),
     "stop_token_ids"),
    ("max_logit_bias", 1, CHAT, chat(logit_bias={"1": 1}), chat(logit_bias={"1": 1, "2": 1}), "logit_bias"),
    ("max_top_logprobs", 3, COMPLETION, prompt(logprobs=3), prompt(logprobs=4), "logprobs"),
    ("max_top_logprobs", 3, CHAT, chat(logprobs=True, top_logprobs=3), chat(logprobs=True, top_logprobs=4),
     "top_logprobs"),
    ("max_prompt_logprobs", 4, COMPLETION, prompt("xyz", echo=True, logprobs=0),
     prompt("xyzz", echo=True, logprobs=0), "logprobs"),
    ("max_prompt_logprobs", 8, COMPLETION, prompt("x", n=2, echo=True, logprobs=1, max_tokens=0),
     prompt("xy", n=2, echo=True, logprobs=1, max_tokens=0), "logprobs"),
    ("max_tools", 2, CHAT, chat(tools=[tool("a"), tool("b")]), chat(tools=[tool("a"), tool("b"), tool("c")]),
     "tools"),
    ("max_schema_bytes", len(SCHEMA) + 100, CHAT, chat(tools=[tool("a", 100)]), chat(tools=[tool("a", 101)]),
     "tools[0].function.parameters"),
    ("max_output_tokens", 5, COMPLETION, prompt(max_tokens=5), prompt(max_tokens=6), "max_tokens"),
    ("max_output_tokens", 5, CHAT, chat(max_tokens=5), chat(max_tokens=6), "max_completion_tokens"),
]  # fmt: skip


@pytest.mark.parametrize("row", SHAPES, ids=lambda row: f"{row[0]}-{row[2].rsplit('/')[-1]}")
async def test_shapes(row: tuple[str, int, str, Any, Any, str | None]) -> None:
    flag, value, path, good, bad, param = row
    engine = ScriptedEngine("y")
    async with serve(f"--{flag}={value}", engine=engine) as server:
        status, answer = await server.post(path, good)
        assert status == 200, answer
        seen = len(engine.asked)
        assert seen > 0
        status, answer = await server.post(path, bad)
        assert (status, answer["error"]["param"]) == (400, param)  # type: ignore[index]
        assert len(engine.asked) == seen
        assert engine.running == 0


async def test_the_defaults_hold_too() -> None:
    """The same shapes at the values of the table."""
    engine = ScriptedEngine("y")
    bounds = parse(["--backend=echo"]).bounds
    async with serve(engine=engine) as server:
        for good, bad in [
            (prompt(n=bounds.max_n), prompt(n=bounds.max_n + 1)),
            (prompt(["x"] * 16), prompt(["x"] * 17)),  # type: ignore[arg-type]
            (prompt(["x"] * 4, n=4), prompt(["x"] * 5, n=4)),  # type: ignore[arg-type]
            (prompt(stop=["a" * 256] * 4), prompt(stop=["a" * 257])),
            (prompt(stop=["a"] * 4), prompt(stop=["a"] * 5)),
            (prompt(logprobs=20), prompt(logprobs=21)),
        ]:
            assert (await server.post(COMPLETION, good))[0] == 200
            before = len(engine.asked)
            assert (await server.post(COMPLETION, bad))[0] == 400
            assert len(engine.asked) == before


async def test_a_client_can_ask_for_the_limits() -> None:
    async with serve("--max_n=3", "--max_output_tokens=50") as server:
        (model,) = (await server.openai.models.list()).data
        one = await server.openai.models.retrieve("m")
    limits = model.to_dict()["limits"]
    assert isinstance(limits, dict)
    assert limits == one.to_dict()["limits"]
    assert (limits["max_n"], limits["max_output_tokens"], limits["max_stop_strings"]) == (3, 50, 4)
    assert limits.keys() <= {flag.name for flag in BOUNDS}


def test_the_compiler_of_grammars_has_the_time_of_its_flag(tmp_path: Path) -> None:
    settings = parse(["--backend=huggingface", "--model_id=/m", "--grammar_seconds=3"])
    engine = lifecycle._transformers(settings, ModelFiles(tmp_path, tmp_path))
    assert isinstance(engine, TransformersEngine)
    assert engine._grammar_seconds == 3
    with pytest.raises(Failure, match="grammar_seconds: only with --backend=huggingface"):
        parse(["--backend=echo", "--grammar_seconds=3"])


async def test_depth() -> None:
    async with serve("--max_json_depth=4") as server:
        _, at = await server.post(COMPLETION, nested(4))
        _, over = await server.post(COMPLETION, nested(5))
    assert at["error"]["param"] == "logit_bias"  # type: ignore[index]
    assert "nested deeper than 4" in over["error"]["message"]  # type: ignore[index]


async def test_a_key_given_twice_is_refused(echo: Server) -> None:
    body = b'{"model": "m", "prompt": "x", "n": 1, "n": 2}'
    headers = {"Content-Type": "application/json"}
    async with echo.http.post(echo.url + COMPLETION, data=body, headers=headers) as answer:
        assert (answer.status, (await answer.json())["error"]["param"]) == (400, "n")


async def test_characters_before_tokens() -> None:
    engine = ScriptedEngine("y")
    async with serve("--max_characters_per_token=2", engine=engine) as server:
        for path, make in (
            (COMPLETION, prompt),
            (CHAT, lambda text: chat({"role": "user", "content": text})),
        ):
            # At the limit it is tokenised and found too long; over it the tokenizer is not asked.
            _, at = await server.post(path, make("x" * 8192))
            status, over = await server.post(path, make("x" * 8193))
            assert "maximum context length" in at["error"]["message"]  # type: ignore[index]
            assert status == 400
            assert "8193 characters" in over["error"]["message"]  # type: ignore[index]
        assert engine.asked == []


async def test_context_length() -> None:
    engine = ScriptedEngine("y")
    async with serve(engine=engine) as server:
        assert (await server.post(COMPLETION, prompt([65] * 4000, max_tokens=96)))[0] == 200  # type: ignore[arg-type]
        assert (await server.post(COMPLETION, prompt([65] * 4000, max_tokens=97)))[0] == 400  # type: ignore[arg-type]
        assert (await server.post(COMPLETION, prompt([65] * 4096, max_tokens=1)))[0] == 400  # type: ignore[arg-type]
        assert len(engine.asked) == 1


async def raw(server: Server, *parts: bytes, pause: float = 0.0) -> bytes:
    """What comes back for these bytes until the server closes."""
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


def head(*lines: str) -> bytes:
    return "\r\n".join(["GET /v1/models HTTP/1.1", "Host: x", "Connection: close", *lines, "", ""]).encode()


@pytest.mark.parametrize(
    ("flag", "good", "bad"),
    [
        ("--max_header_line_bytes=200", head("x-a: " + "a" * 195), head("x-a: " + "a" * 201)),
        ("--max_headers=20", head(*["x-a: 1"] * 17), head(*["x-a: 1"] * 21)),
        ("--max_header_bytes=500", head("x-a: " + "a" * 400), head("x-a: " + "a" * 500)),
    ],
)
async def test_heads(flag: str, good: bytes, bad: bytes) -> None:
    async with serve(flag) as server:
        assert (await raw(server, good)).startswith(b"HTTP/1.1 200")
        answer = await raw(server, bad)
    assert answer.split()[1] == b"431"
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["type"] == "invalid_request_error"
    assert b"x-request-id" in answer


@pytest.mark.parametrize("chunked", [False, True])
async def test_body_size(chunked: bool) -> None:
    engine = ScriptedEngine("y")
    async with serve("--max_body_bytes=1000", engine=engine) as server:

        async def send(size: int) -> int:
            body = json.dumps(prompt()).encode().ljust(size)

            async def parts() -> Any:
                yield body[:500]
                yield body[500:]

            headers = {"Content-Type": "application/json"}
            data = parts() if chunked else body
            async with server.http.post(server.url + COMPLETION, data=data, headers=headers) as answer:
                return answer.status

        assert await send(1000) == 200
        assert await send(1001) == 413
        assert len(engine.asked) == 1


def begun(length: int = 1000) -> bytes:
    return (
        f"POST {COMPLETION} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


async def test_a_body_that_stops_and_one_that_crawls() -> None:
    async with serve("--body_idle_seconds=0.2", "--body_read_seconds=0.5") as server:
        stopped = await raw(server, begun(), b'{"a"')
        crawling = await raw(server, begun(), *[b" "] * 8, pause=0.1)
    for answer in (stopped, crawling):
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"Connection: close" in answer


async def test_a_head_that_never_ends_is_not_waited_for() -> None:
    async with serve("--head_seconds=0.2") as server:
        assert await raw(server, b"GET /v1/models HT") == b""
        # One that asked once may take its time for the next request.
        assert (await server.http.get(server.url + "/v1/models")).status == 200
        await asyncio.sleep(0.3)
        assert (await server.http.get(server.url + "/v1/models")).status == 200


@pytest.mark.parametrize("flag", ["--max_connections=2", "--max_connections_per_address=2"])
async def test_connections(flag: str) -> None:
    async with serve(flag) as server:
        host, port = server.url.removeprefix("http://").split(":")
        held = [await asyncio.open_connection(host, int(port))]
        await asyncio.sleep(0.05)
        assert (await raw(server, head())).startswith(b"HTTP/1.1 200")
        held.append(await asyncio.open_connection(host, int(port)))
        await asyncio.sleep(0.05)
        answer = await raw(server, head())
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: 1" in answer
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        await asyncio.sleep(0.05)
        assert (await raw(server, head())).startswith(b"HTTP/1.1 200")


async def until(true: Any) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


async def test_sequences_and_waiting_tokens() -> None:
    engine = ScriptedEngine("yes")
    engine.hold.clear()
    flags = ("--max_concurrent_sequences=3", "--max_waiting_tokens=100")
    async with serve(*flags, engine=engine) as server:
        ask = server.openai.completions.create
        tasks = [asyncio.create_task(ask(model="m", prompt=[65] * 49, n=2))]
        await until(lambda: engine.running == 2)
        assert server.service.admission.waiting_tokens == 98
        status, answer = await server.post(COMPLETION, prompt([65] * 3))  # type: ignore[arg-type]
        assert (status, answer["error"]["code"]) == (429, "overloaded")  # type: ignore[index]
        tasks.append(asyncio.create_task(ask(model="m", prompt=[65] * 2)))
        await until(lambda: engine.running == 3)
        with pytest.raises(openai.RateLimitError) as refused:
            await ask(model="m", prompt="x")
        assert 1 <= int(refused.value.response.headers["Retry-After"]) <= 60
        assert len(engine.asked) == 3
        engine.hold.set()
        await asyncio.gather(*tasks)
        assert (server.service.admission.sequences, server.service.admission.waiting_tokens) == (0, 0)
        # A prompt over the limit is let in where nothing waits.
        await ask(model="m", prompt=[65] * 200)


async def test_tokens_stop_waiting_with_the_first_one() -> None:
    engine = ScriptedEngine("a long answer")
    engine.pause.clear()
    async with serve("--max_waiting_tokens=100", engine=engine) as server:
        stream = await server.openai.completions.create(model="m", prompt=[65] * 90, stream=True)
        await anext(aiter(stream))
        assert (server.service.admission.sequences, server.service.admission.waiting_tokens) == (1, 0)
        await stream.close()
        await until(lambda: engine.running == 0 and server.service.admission.sequences == 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_queues_deadline(stream: bool) -> None:
    engine = ScriptedEngine("y")
    engine.hold.clear()
    async with serve("--queue_seconds=0.1", engine=engine) as server:
        with pytest.raises(openai.InternalServerError) as refused:
            await server.openai.completions.create(model="m", prompt="x", stream=stream)
        assert (refused.value.status_code, refused.value.code) == (503, "queue_timeout")
        assert int(refused.value.response.headers["Retry-After"]) >= 1
        assert engine.running == 0


@pytest.mark.parametrize("header", [False, True])
async def test_a_whole_requests_deadline(header: bool) -> None:
    engine = ScriptedEngine("a long answer")
    engine.pause.clear()
    seconds = 0.2
    headers = {"X-Request-Timeout": str(seconds)} if header else {}
    async with serve(*([] if header else [f"--request_seconds={seconds}"]), engine=engine) as server:
        ask = server.openai.completions.create
        with pytest.raises(openai.InternalServerError) as refused:
            await ask(model="m", prompt="x", extra_headers=headers)
        assert (refused.value.status_code, refused.value.code) == (504, "deadline_exceeded")
        body = prompt(stream=True, max_tokens=9)
        async with server.http.post(server.url + COMPLETION, json=body, headers=headers) as answer:
            assert answer.status == 200
            events = [line for line in (await answer.text()).split("\n\n") if line]
        assert json.loads(events[-2].removeprefix("data: "))["error"]["code"] == "deadline_exceeded"
        assert events[-1] == "data: [DONE]"
        assert engine.running == 0
        if header:
            status, wrong = await server.post(COMPLETION, prompt(), headers={"X-Request-Timeout": "soon"})
            assert (status, wrong["error"]["param"]) == (400, "X-Request-Timeout")  # type: ignore[index]


async def test_a_silent_stream_gets_comments_and_an_error_as_an_event() -> None:
    engine = ScriptedEngine("a long answer")
    engine.hold.clear()
    async with serve("--keep_alive_seconds=0.05", "--queue_seconds=0.3", engine=engine) as server:
        body = prompt(stream=True, max_tokens=9)
        async with server.http.post(server.url + COMPLETION, json=body) as answer:
            text = await answer.text()
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        first, *_, last, done, _ = text.split("\n\n")
        assert first == ": keep-alive"
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "queue_timeout"
        assert done == "data: [DONE]"
        # OpenAI's client reads over comments.
        engine.hold.set()
        engine.pause.clear()
        stream = await server.openai.completions.create(model="m", prompt="x", max_tokens=99, stream=True)
        asyncio.get_running_loop().call_later(0.15, engine.pause.set)
        assert "".join([chunk.choices[0].text async for chunk in stream]) == "a long answer"


async def test_who_waits_for_others_prompts_is_not_to_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads make tokens: a third long prompt is told that the server is busy, and to come again."""
    release = threading.Event()
    async with serve("--tokenize_seconds=0.2", engine=ScriptedEngine("y")) as server:
        monkeypatch.setattr(server.service.facts.tokenizer, "encode", lambda text: release.wait(5) and [65])
        three = [server.post(COMPLETION, prompt("x" * 5000)) for _ in range(3)]
        answers = await asyncio.gather(*three)
        release.set()
        assert sorted(status for status, _ in answers) == [400, 400, 503]
        codes = {status: answer["error"]["code"] for status, answer in answers}  # type: ignore[index]
        assert codes == {400: "timeout", 503: "overloaded"}
        while (await server.post(COMPLETION, prompt("x" * 5000)))[0] == 503:
            await asyncio.sleep(0.05)
        assert (await server.post(COMPLETION, prompt("x" * 5000)))[0] == 200


async def test_the_role_comes_first_after_a_silence_too() -> None:
    """Here the stream has begun, with a comment, before there is anything to say."""
    engine = ScriptedEngine("a long answer")
    engine.hold.clear()
    async with serve("--keep_alive_seconds=0.05", engine=engine) as server:
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
        async with server.http.post(server.url + "/v1/chat/completions", json=body) as answer:
            assert await answer.content.readline() == b": keep-alive\n"
            engine.hold.set()
            text = await answer.text()
    events = [json.loads(each[6:]) for each in text.strip().split("\n\n") if each.startswith("data: {")]
    first, *others = [each["choices"][0]["delta"] for each in events]
    assert first == {"role": "assistant", "content": ""}
    assert "".join(each.get("content", "") for each in others) == "a long answer"
    assert not any("role" in each for each in others)


async def test_the_tokenizers_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedEngine("y")
    release = threading.Event()
    async with serve("--tokenize_seconds=0.1", engine=engine) as server:
        monkeypatch.setattr(server.service.facts.tokenizer, "encode", lambda text: release.wait(5) and [65])
        status, answer = await server.post(COMPLETION, prompt("x" * 5000))
        release.set()
    assert (status, answer["error"]["param"], answer["error"]["code"]) == (400, "prompt", "timeout")  # type: ignore[index]
    assert engine.asked == []
