"""Requests that make no sense: answered with OpenAI's error object and the right status, never with a 5xx."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .scripted import ScriptedEngine
from .serving import Server, serve
from .test_limits import raw

POSTS = ("/v1/completions", "/openai/v1/chat/completions", "/v1/embeddings", "/v1/tokenize", "/v1/detokenize")

BODIES: list[bytes] = [
    b"", b" ", b"{", b"[]", b"null", b"1", b'"x"', b"{}", b"\x00", b"\xff\xfe{}", b"{}{}", b"{'a':1}",
    b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":1e999}', b'{"a":01}', b"[" * 100_000,
    b'{"a":' * 50_000, b'{"a":' + b"9" * 5000 + b"}", b'{"model":"m","prompt":"\\ud800"}',
    b'{"model":"m","messages":[{"role":"user","content":"\\udfff"}]}',
    b'{"model":"m","prompt":"x","\\ud800":1}',
    b'{"\\ud800":1,"\\ud800":2}', b'{"model":"m","prompt":"x","stop":"\\ud800"}',
    b'{"model":"m","prompt":"x","temperature":1e309}', b'{"model":5,"prompt":"\\u0000"}',
    '{"model":"m","prompt":"ü"}'.encode("latin-1"), '{"model":"m","prompt":"x"}'.encode("utf-16"),
    b'{"model":"m","prompt":"x","max_tokens":' + b"1" + b"0" * 4000 + b"}",
]  # fmt: skip


@pytest.mark.parametrize("path", POSTS)
async def test_bodies(echo: Server, path: str) -> None:
    headers = {"Content-Type": "application/json"}
    for body in BODIES:
        async with echo.http.post(echo.url + path, data=body, headers=headers) as answer:
            document = await answer.json()
            assert answer.status == 400, body[:60]
            assert document["error"]["type"] == "invalid_request_error"
            assert set(document["error"]) == {"message", "type", "param", "code"}
            assert len(document["error"]["message"]) < 2000


POST = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
HEADS: list[tuple[bytes, bytes]] = [
    (b"hello\r\n\r\n", b"400"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
    (b"GET /v1/models HTTP/9.9\r\n\r\n", b"400"),
    (b"GET /v1/models HTTP/1.1\r\nHost x\r\n\r\n", b"400"),
    (b"GET /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"400"),
    (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
    (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", b"400"),
    (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
    (POST + b"Expect: gold\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
     b"417"),
    (b"PUT /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"405"),
    (b"BREW /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
    (b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"404"),
    (b"GET /%ff%fe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"404"),
    (b"GET /v1/models/%ff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"404"),
    (POST + b"Content-Type: text/plain\r\nContent-Length: 2\r\n"
     b"Connection: close\r\n\r\n{}", b"415"),
    (POST + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n"
     b"Connection: close\r\n\r\n{}", b"415"),
    (POST + b"Content-Type: ;;;\r\nContent-Length: 2\r\n"
     b"Connection: close\r\n\r\n{}", b"415"),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "status"), HEADS)
async def test_heads(echo: Server, sent: bytes, status: bytes) -> None:
    answer = await raw(echo, sent)
    assert answer.split()[1] == status, answer
    error = json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]
    assert set(error) == {"message", "type", "param", "code"}


FIELDS = """
model prompt messages n stream max_tokens max_completion_tokens temperature top_p top_k min_p stop
stop_token_ids logit_bias logprobs top_logprobs seed echo presence_penalty frequency_penalty
repetition_penalty min_tokens ignore_eos stream_options response_format tools tool_choice
parallel_tool_calls best_of suffix user input tokens dimensions encoding_format metadata
return_token_strs unknown
""".split()  # noqa: SIM905
KEYS = """
role content type text function name parameters arguments schema json_schema properties items anyOf
$ref enum strict tool_calls tool_call_id id 1 a include_usage
""".split()  # noqa: SIM905
WORDS = [
    "m",
    "user",
    "assistant",
    "tool",
    "text",
    "function",
    "json_schema",
    "json_object",
    "required",
    "auto",
    "object",
    "string",
    "float",
]
WORDS += ["", "x" * 300, "\ud800", "\x00", "💥"]
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(WORDS), st.text(max_size=5),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)
SENSE: dict[str, dict[str, Any]] = {
    "/v1/completions": {"model": "m", "prompt": "hello", "max_tokens": 3},
    "/openai/v1/chat/completions": {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 3,
    },
    "/v1/embeddings": {"model": "m", "input": "x"},
    "/v1/tokenize": {"model": "m", "prompt": "x"},
    "/v1/detokenize": {"model": "m", "tokens": [65]},
}


@pytest.mark.parametrize("path", POSTS)
def test_any_fields(path: str) -> None:
    """Sense with some fields replaced by anything: an answer, or an error that names what is wrong."""
    engine = ScriptedEngine('{"a": 1}')
    if path == "/v1/embeddings":
        engine.vectors = [[0.6, 0.8]]
    with asyncio.Runner() as runner:
        serving = serve(engine=engine)
        server = runner.run(serving.__aenter__())

        @settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
        @given(st.dictionaries(st.sampled_from(FIELDS), VALUES, min_size=1, max_size=4))
        def ask(fields: dict[str, Any]) -> None:
            runner.run(_ask(server, path, {**SENSE[path], **fields}))

        try:
            ask()
            assert engine.running == 0
        finally:
            runner.run(serving.__aexit__(None, None, None))


async def _ask(server: Server, path: str, body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    async with server.http.post(server.url + path, data=data, headers=headers) as answer:
        text = await answer.text()
    if answer.status == 200:
        assert '"error"' not in text
        return
    error = json.loads(text)["error"]
    assert answer.status in (400, 404), (body, text)
    assert error["message"]
    assert error["type"] in ("invalid_request_error", "not_found_error")
