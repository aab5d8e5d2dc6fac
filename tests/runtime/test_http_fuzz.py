"""Bytes that are nearly HTTP: whatever a client sends, the server answers below 500 and goes on serving.

STOKER_HTTP_FUZZ sets how many requests are tried (1,000 in `make test`, beside those of test_malformed.py).
"""

from __future__ import annotations

import asyncio
import json
import os
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .serving import Server, serve

COUNT = int(os.environ.get("STOKER_HTTP_FUZZ", "1000"))
AT_ONCE = 10
_STATUS = re.compile(rb"(?:^|\r\n|})HTTP/1\.[01] (\d{3}) ")

SENSE = json.dumps({"model": "m", "prompt": "hello", "max_tokens": 2}).encode()
CHAT = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}).encode()
BODIES = [
    SENSE, CHAT, b"", b"{", b"null", b"\xff\xfe", b"[" * 3000, b'{"a":' * 3000, SENSE[:-1], SENSE + SENSE,
    b'{"model":"m","prompt":"x","max_tokens":' + b"9" * 5000 + b"}", b'{"model":"m","prompt":NaN}',
    b'{"model":"m","prompt":"\\ud83d","n":1e400}', b'{"model":"m","prompt":[[],[-1],[1e9]]}',
    '{"model":"m","prompt":"é"}'.encode("utf-16"), b'\xef\xbb\xbf{"model":"m","prompt":"x"}',
    b"\x1f\x8b\x08\x00",
]  # fmt: skip
METHODS = [
    b"POST",
    b"POST",
    b"POST",
    b"GET",
    b"HEAD",
    b"OPTIONS",
    b"DELETE",
    b"TRACE",
    b"CONNECT",
    b"post",
    b"P\xc3\x96ST",
]
PATHS = [
    b"/v1/completions", b"/openai/v1/chat/completions", b"/v1/embeddings", b"/tokenize", b"/v1/models/a%2Fb",
    b"/v1/models/" + b"x" * 3000, b"/v1//completions", b"/%76%31/models", b"/v1/models?%zz=\xff", b"*", b"x",
    b"http://[::1/v1/models", b"//v1/models", b"/\x00", b"/v1/models/%00", b"/v2/models/m/ready/..",
    b"/metrics/",
    b"/v1/none", b"/none", b"/openai/none", b"/v1/models#f", b"/stoker/v1/state;x",
]  # fmt: skip
HEADERS = [
    b"Host: x", b"Host: x", b"Host: a/health?x=", b"Host:", b"Content-Type: application/json",
    b"Content-Type: application/json; charset=utf-16", b"Content-Type: text/plain", b"Content-Type: \xff",
    b"Content-Type: multipart/form-data; boundary=x", b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: gzip", b"Content-Encoding: gzip",
    b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: +5", b"Content-Length: 0x5",
    b"Content-Length: 99999999999999999999", b"Content-Length: 5, 5", b"Expect: 100-continue", b"Expect: a",
    b"X-Request-Timeout: nan", b"X-Request-Timeout: -1", b"X-Request-Timeout: 1e999", b"X-Request-Timeout: x",
    b"x-request-id: " + b"a" * 500, b"x-request-id: \xe2\x98\x83", b"traceparent: 00-x-y-z",
    b"Authorization: Bearer \xff", b"Connection: close", b"Connection: upgrade", b"Upgrade: websocket",
    b"Upgrade: h2c", b" folded", b"No colon", b"A\x00B: c", b"A: b\x00c", b"A : b", b": x",
    b"Range: bytes=9-1",
    b"Cookie: " + b"a=b; " * 200,
]  # fmt: skip
TYPES = [b"Content-Type: application/json", b"Content-Type: text/plain", b"Content-Type: \xff", b"No-Type: x"]
VERSIONS = [b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 ", b""]
# How a body travels: as it is, or in chunks that are right or not.
CHUNKED = [
    lambda body: b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
    lambda body: b"%x;ext=1\r\n%b\r\n0\r\nTrailer: 1\r\n\r\n" % (len(body), body),
    lambda body: b"%x\r\n%b\r\n" % (len(body) + 9, body),
    lambda body: b"-1\r\n" + body,
    lambda body: b"ffffffffffffffffff\r\n" + body,
    lambda body: b"1\n" + body,
    lambda body: b"0\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
]


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that makes sense, but for one or two of its parts."""
    wild = draw(
        st.sets(st.sampled_from(["method", "path", "version", "headers", "body", "way", "end"]), max_size=2)
    )

    def part(name: str, right: bytes, other: list[bytes]) -> bytes:
        return draw(st.sampled_from(other)) if name in wild else right

    method, path = part("method", b"POST", METHODS), part("path", draw(st.sampled_from(PATHS[:2])), PATHS)
    body = part("body", CHAT if b"chat" in path else SENSE, [*BODIES, draw(st.binary(max_size=30))])
    lines = [
        b" ".join([method, path, part("version", b"HTTP/1.1", VERSIONS)]),
        b"Connection: close",
        b"Host: x",
    ]
    lines += [part("headers", b"Content-Type: application/json", TYPES)]
    if "headers" in wild:
        lines += draw(st.lists(st.sampled_from(HEADERS), min_size=1, max_size=3))
    if "way" in wild:
        lines += [b"Transfer-Encoding: chunked"]
        body = draw(st.sampled_from(CHUNKED))(body)
    else:
        lines += [b"Content-Length: %d" % len(body)]
    return part("end", b"\r\n", [b"\n", b"\r", b"\r\r\n"]).join([*lines, b"", b""]) + body


async def ask(server: Server, data: bytes) -> list[int]:
    """The statuses of everything that comes back before the server closes."""
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        async with asyncio.timeout(10):
            answer = await reader.read()
    except ConnectionError:
        return []
    finally:
        writer.close()
    return [int(status) for status in _STATUS.findall(answer)]


async def ask_all(server: Server, group: list[bytes]) -> list[list[int]]:
    """Side by side, as some wait for a deadline of the server's."""
    return await asyncio.gather(*(ask(server, data) for data in group))


@pytest.mark.timeout(max(120, COUNT // 10))
def test_any_bytes() -> None:
    seen: set[int] = set()
    with asyncio.Runner() as runner:
        serving = serve("--body_idle_seconds=0.1", "--head_seconds=0.2", "--timeout_keep_alive=0.05")
        server = runner.run(serving.__aenter__())

        @settings(max_examples=COUNT // AT_ONCE, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(requests(), min_size=AT_ONCE, max_size=AT_ONCE))
        def send(group: list[bytes]) -> None:
            for data, statuses in zip(group, runner.run(ask_all(server, group)), strict=True):
                assert all(status < 500 for status in statuses), (data, statuses)
                seen.update(statuses)

        try:
            send()
            assert server.service.ready
            assert not server.service.in_flight
            text = server.service.metrics.render().decode()
            assert 'status="5' not in text
            assert runner.run(server.post("/v1/completions", json.loads(SENSE)))[0] == 200
        finally:
            runner.run(serving.__aexit__(None, None, None))
    assert {200, 400, 404, 405, 415} <= seen
