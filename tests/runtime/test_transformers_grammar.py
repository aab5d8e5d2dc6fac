"""Grammars on the transformers backend: compiled beside the server, within limits, enforced row by row."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from runtime.engines.base import EngineBusy, EngineRefused, ModelFiles
from runtime.engines.transformers.engine import TransformersEngine
from runtime.engines.transformers.grammar.compiler import Compiler
from runtime.openai.schemas import grammar_of

from .serving import serve
from .tiny import llama3_style_tokenizer, save_tiny_llama

SMALL = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
COSTLY: dict[str, Any] = {
    "type": "object",
    "properties": {f"p{n}": {"type": "string", "maxLength": 1000} for n in range(60)},
    "required": [f"p{n}" for n in range(60)],
}
"""Far more than requests may ask for: no grammar of theirs takes this long with so small a vocabulary."""


def compiler(**limits: Any) -> Compiler:
    tokenizer = llama3_style_tokenizer()
    ends = frozenset({tokenizer.eos_token_id})
    return Compiler(tokenizer, vocab_size=len(tokenizer), ends=ends, **{"cpu_seconds": 10, **limits})


@pytest.fixture
async def usual() -> AsyncIterator[Compiler]:
    made = compiler()
    yield made
    await made.stop()


async def test_a_grammar_that_takes_too_long_is_refused_and_the_next_is_not() -> None:
    made = compiler(cpu_seconds=1)
    try:
        for _ in range(2):  # it is not kept as if it were one
            with pytest.raises(EngineRefused, match="too much time") as refused:
                await made.mask(grammar_of(COSTLY), "response_format")
            assert refused.value.param == "response_format"
            await made.mask(grammar_of(SMALL), None)
    finally:
        await made.stop()


async def test_a_grammar_that_takes_too_much_memory_is_refused_and_what_is_none_with_the_reason() -> None:
    made = compiler(room=8 << 20)
    try:
        with pytest.raises(EngineRefused, match="memory"):
            await made.mask(grammar_of(COSTLY), "tools")
        with pytest.raises(EngineRefused, match=r"cannot be enforced: .") as refused:
            await made.mask('{"type": "structural_tag", "format": {"type": "nothing"}}', "tools")
        assert refused.value.param == "tools"
    finally:
        await made.stop()


async def test_one_that_hangs_is_ended_with_its_process() -> None:
    made = compiler(seconds=0.01)
    try:
        with pytest.raises(EngineRefused, match="too much time"):
            await made.mask(grammar_of(SMALL), None)
        assert children() == []
    finally:
        await made.stop()


async def test_clients_that_leave_stop_nobody_and_many_grammars_wait_in_vain(usual: Compiler) -> None:
    grammars = [grammar_of({"type": "object", "properties": {f"p{n}": {}}}) for n in range(17)]
    left = [asyncio.create_task(usual.mask(grammar, None)) for grammar in grammars[:16]]
    beside = asyncio.create_task(usual.mask(grammars[0], None))
    await asyncio.sleep(0)
    with pytest.raises(EngineBusy):
        await usual.mask(grammars[16], None)
    for task in left:
        task.cancel()
    await beside
    await usual.mask(grammars[15], None)


async def test_the_process_ends_with_the_engine_and_the_field_is_named(tmp_path: Path) -> None:
    model = save_tiny_llama(tmp_path)
    async with serve(engine=TransformersEngine(ModelFiles(model, model))) as server:
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": SMALL}}
        ask = {
            "model": "m",
            "prompt": "x",
            "max_tokens": 20,
            "seed": 1,
            "extra_body": {"response_format": form},
        }
        answer = await server.openai.completions.create(**ask)
        assert json.loads(answer.choices[0].text)["a"] in (1, 2)
        assert len(children()) == 1
        grammars = server.engine._grammars  # type: ignore[attr-defined]
        grammars._kept.clear()
        grammars._seconds = 0.0
        with pytest.raises(openai.BadRequestError) as refused:
            await server.openai.completions.create(**ask)
        assert refused.value.param == "response_format"
        grammars._seconds = 60.0
        await server.openai.completions.create(**ask)
    assert children() == []


def children() -> list[int]:
    """Processes of this test that run the compiler."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == os.getpid() and b"grammar.program" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found
