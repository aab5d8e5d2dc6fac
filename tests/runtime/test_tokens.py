"""Tokens and back: for every model, and beside the event loop where there are many."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from .scripted import ScriptedEngine
from .serving import serve


async def test_a_model_that_embeds_has_tokens_too() -> None:
    engine = ScriptedEngine()
    engine.vectors = [[1.0]]
    async with serve("--task=text_embedding", engine=engine) as server:
        status, made = await server.post("/v1/tokenize", {"model": "m", "prompt": "Hé"})
        assert status == 200
        _, counted = await server.post("/v1/embeddings", {"model": "m", "input": "Hé"})
        usage: Any = counted["usage"]
        assert made["count"] == usage["prompt_tokens"]
        status, text = await server.post("/v1/detokenize", {"model": "m", "tokens": made["tokens"]})
        assert (status, text) == (200, {"prompt": "Hé"})


@pytest.mark.parametrize("path", ["/v1/tokenize", "/v1/detokenize"])
async def test_many_tokens_become_text_beside_the_loop(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are answered meanwhile; what takes too long, or waits too long, is answered as a prompt is."""
    release = threading.Event()
    loop = threading.get_ident()

    def slow(text: str) -> str:
        assert threading.get_ident() != loop
        release.wait(5)
        return text

    async with serve("--tokenize_seconds=0.2", engine=ScriptedEngine("y")) as server:
        tokenizer = server.service.facts.tokenizer
        monkeypatch.setattr(tokenizer, "token_text", lambda token: slow("x"))
        monkeypatch.setattr(tokenizer, "decode", lambda tokens: slow("x"))
        ours = {"prompt": "x" * 999, "return_token_strs": True}
        body = {"model": "m", **(ours if path == "/v1/tokenize" else {"tokens": [65] * 999})}
        three = [asyncio.create_task(server.post(path, body)) for _ in range(3)]
        status, _ = await server.post("/v1/tokenize", {"model": "m", "prompt": "x"})
        assert (status, release.is_set()) == (200, False)
        answers = await asyncio.gather(*three)
        release.set()
        assert sorted(status for status, _ in answers) == [400, 400, 503]
        wrong: Any = next(answer["error"] for status, answer in answers if status == 400)
        assert wrong["param"] == ("prompt" if path == "/v1/tokenize" else "tokens")
