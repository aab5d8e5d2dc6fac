"""The endpoints beside completions and chats: tokens, embeddings, KServe's v2."""

from __future__ import annotations

import base64
import struct
from typing import Any

import openai
import pytest

from runtime.text.bytes_tokenizer import BEGIN, TURN

from .scripted import ScriptedEngine
from .serving import Server, serve


@pytest.mark.parametrize("base", ["/v1", "/openai/v1", ""])
async def test_tokens_there_and_back(echo: Server, base: str) -> None:
    status, made = await echo.post(
        f"{base}/tokenize", {"model": "m", "prompt": "Hé", "return_token_strs": True}
    )
    tokens = [BEGIN, 72, 0xC3, 0xA9]
    assert (status, made["tokens"], made["count"], made["max_model_len"]) == (200, tokens, 4, 32768)
    assert made["token_strs"] == ["<begin>", "H", "\ufffd", "\ufffd"]
    status, text = await echo.post(f"{base}/detokenize", {"model": "m", "tokens": tokens})
    assert (status, text) == (200, {"prompt": "Hé"})


async def test_the_tokens_of_a_chat_are_those_of_its_usage(echo: Server) -> None:
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "x"}]}]
    _, made = await echo.post("/v1/tokenize", {"model": "m", "messages": messages})
    assert made["tokens"] == [BEGIN, TURN, *b"user\nx", TURN, *b"assistant\n"]
    chat = await echo.openai.chat.completions.create(model="m", messages=messages)
    assert chat.usage is not None
    assert chat.usage.prompt_tokens == made["count"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/tokenize", {"model": "m"}, "prompt"),
        (
            "/v1/tokenize",
            {"model": "m", "prompt": "x", "messages": [{"role": "user", "content": "x"}]},
            "prompt",
        ),
        ("/v1/tokenize", {"model": "m", "prompt": 5}, "prompt"),
        ("/v1/tokenize", {"model": "m", "prompt": "x", "add_special_tokens": False}, "add_special_tokens"),
        ("/v1/tokenize", {"prompt": "x"}, "model"),
        ("/v1/detokenize", {"model": "m", "tokens": "x"}, "tokens"),
        ("/v1/detokenize", {"model": "m", "tokens": [259]}, "tokens"),
        ("/v1/detokenize", {"model": "m", "tokens": [-1]}, "tokens"),
        ("/v1/detokenize", {"model": "m", "tokens": [1] * 32769}, "tokens"),
        ("/v1/embeddings", {"model": "m", "input": "x"}, "model"),
    ],
)
async def test_what_is_wrong_is_named(echo: Server, path: str, body: Any, param: str) -> None:
    status, answer = await echo.post(path, body)
    assert (status, answer["error"]["param"]) == (400, param)  # type: ignore[index]


@pytest.fixture
def embedder() -> ScriptedEngine:
    engine = ScriptedEngine()
    engine.vectors = [[0.6, 0.0, 0.8], [0.0, 1.0, 0.0]]
    return engine


async def test_embeddings(embedder: ScriptedEngine) -> None:
    async with serve(engine=embedder) as server:
        create = server.openai.embeddings.create
        answer = await create(model="m", input=["ab", "c"])  # the client asks for base64
        assert [each.index for each in answer.data] == [0, 1]
        assert answer.data[0].embedding == pytest.approx([0.6, 0.0, 0.8])
        assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (5, 5)
        plain = await create(model="m", input=[[65, 66], [67]], encoding_format="float")
        assert [each.embedding for each in plain.data] == embedder.vectors
        assert embedder.asked[2][0] == [65, 66]
        short = await create(model="m", input="x", dimensions=2, encoding_format="float")
        assert short.data[0].embedding == [1.0, 0.0]
        _, raw = await server.post(
            "/v1/embeddings", {"model": "m", "input": "x", "encoding_format": "base64"}
        )
        data = base64.b64decode(raw["data"][0]["embedding"])  # type: ignore[index]
        assert struct.unpack("<3f", data) == pytest.approx((0.6, 0.0, 0.8))


async def test_embeddings_that_are_refused(embedder: ScriptedEngine) -> None:
    async with serve(engine=embedder) as server:
        for body, param in [
            ({}, "input"),
            ({"input": []}, "input"),
            ({"input": ["x"] * 17}, "input"),
            ({"input": [[65] * 4097]}, "input"),
            ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
            ({"input": "x", "dimensions": 0}, "dimensions"),
            ({"input": "x", "temperature": 1}, "temperature"),
        ]:
            status, answer = await server.post("/v1/embeddings", {"model": "m", **body})
            assert (status, answer["error"]["param"]) == (400, param)  # type: ignore[index]
        assert embedder.asked == []
        status, answer = await server.post("/v1/embeddings", {"model": "m", "input": "x", "dimensions": 4})
        assert (status, answer["error"]["param"]) == (400, "dimensions")  # type: ignore[index]
        with pytest.raises(openai.BadRequestError, match="embeddings endpoint"):
            await server.openai.completions.create(model="m", prompt="x")


async def test_kserves_v2() -> None:
    async with serve("--served_model_name", "org/other") as server:

        async def get(path: str) -> tuple[int, Any]:
            async with server.http.get(server.url + path) as answer:
                return answer.status, await answer.json()

        assert (await get("/v2"))[1]["name"] == "stoker"
        assert await get("/v2/models") == (200, {"models": ["m", "org/other"]})
        assert await get("/v2/models/org/other/ready") == (200, {"name": "org/other", "ready": True})
        assert (await get("/v2/models/org/other"))[1]["name"] == "org/other"
        status, answer = await get("/v2/models/none/ready")
        assert (status, answer["error"]["code"]) == (404, "model_not_found")
        assert await get("/v2/health/live") == (200, {"live": True})
        assert (await get("/v2/health/ready"))[0] == 200
