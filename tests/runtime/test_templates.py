"""Chat templates: the text that the library makes of them, within time and memory, whatever they try."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.engines.base import ModelFacts, Reporter
from runtime.text.templates.renderer import ChatTemplate, PromptError, Renderer
from runtime.text.tokenizer import HubTokenizer

from .scripted import ScriptedEngine
from .serving import serve
from .tiny import HERMES_TEMPLATE, LLAMA3_TEMPLATE, llama3_style_tokenizer

HI: list[Any] = [{"role": "user", "content": "Hi"}]
# What real templates use: loops with break, name spaces, JSON, the marks of training, white space control.
EVERYTHING = """
{%- if tools is not none and tools is defined %}
    {{- tools | tojson(indent=2) }}
    {%- for tool in tools %}{{ tool.function.name | upper }}{% break %}{% endfor %}
{%- endif %}
{% set ns = namespace(last=none, count=0) %}
{% macro turn(message) %}<{{ message['role'] }}>{{ message.content | trim }}{% endmacro %}
{% for message in messages %}
    {% if message.tool_calls %}
    {% for call in message.tool_calls %}{{ call.function.arguments | tojson }}{% endfor %}
    {% elif message.role == 'assistant' %}
    {% generation %}{% set inner = message.content %}{{ inner }}{{ eos_token }}{% endgeneration %}
    {% else %}
{{ turn(message) }}{{ inner is defined }}
    {% endif %}
    {% set ns.count = ns.count + 1 %}
{% endfor %}
{{ ns.count }} {{ messages[0].content.split(' ')[-1] }} {{ messages | map(attribute='role') | join(', ') }}
{{ documents is none }} {{ pad_token is defined }} {{ strftime_now('%Z') | length }}
{% if add_generation_prompt %}<assistant>{% endif %}
"""


@asynccontextmanager
async def renderer(
    template: str, *, seconds: float = 5, characters: int = 100_000
) -> AsyncIterator[Renderer]:
    chat = HubTokenizer(llama3_style_tokenizer(), vocab_size=1, chat_template=template).chat
    assert chat is not None
    made = Renderer(chat, seconds=seconds, characters=characters)
    try:
        yield made
    finally:
        await made.close()


words = st.text(max_size=12) | st.sampled_from(["Hi", " two \n", "{{ x }}", "<|begin|>", "{% raw %}", "💥"])
arguments = st.dictionaries(
    st.sampled_from(["a", "é", "<b>"]), words | st.integers() | st.booleans(), max_size=2
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "assistant", "tool"]), "content": words}
    )
    | st.builds(
        lambda given: {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "function": given}]},
        st.fixed_dictionaries({"name": words, "arguments": arguments}),
    ),
    min_size=1,
    max_size=5,
)
tools = st.lists(
    st.builds(lambda name: {"type": "function", "function": {"name": name, "parameters": {}}}, words),
    max_size=2,
)


@pytest.mark.parametrize("template", [EVERYTHING, HERMES_TEMPLATE, LLAMA3_TEMPLATE])
def test_the_text_is_the_librarys(template: str) -> None:
    tokenizer = llama3_style_tokenizer()
    with asyncio.Runner() as runner:
        opened = renderer(template)
        ours = runner.run(opened.__aenter__())

        @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(messages, tools)
        def compare(asked: list[Any], offered: list[Any]) -> None:
            expected = tokenizer.apply_chat_template(
                asked,
                tools=offered or None,
                chat_template=template,
                tokenize=False,
                add_generation_prompt=True,
            )
            assert runner.run(ours.render(asked, offered)) == expected

        try:
            compare()
        finally:
            runner.run(opened.__aexit__(None, None, None))


LOOP = "{% for each in range(99999) %}"
HOSTILE = {
    "a loop": (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "more than 0.3 s",
    ),
    "a number": ("{{ 9 ** (messages | length * 9 ** 9) }}", "more than 0.3 s"),
    "much text": ("{% for a in range(99999) %}xxxxxxxxxx{% endfor %}", "more than 1000 characters"),
    "one long text": ("{{ 'x' * 100000 }}", "more than 1000 characters"),
    "memory": ("{{ ('x' * (messages | length * 2000000000)) | length }}", "too much memory"),
    "recursion": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nested too deeply"),
    "the sandbox": ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__'"),
    "a name": ("{{ nothing.at_all }}", "'nothing' is undefined"),
    "a mistake": ("{% for %}", "line 1: "),
    "a refusal": ("{{ raise_exception('only two turns') }}", "refuses these messages: only two turns"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_template_is_refused_with_the_reason(name: str) -> None:
    template, words = HOSTILE[name]
    async with renderer(template, seconds=0.3, characters=1000) as ours:
        for _ in range(2):  # what was ended is started again
            with pytest.raises(PromptError, match=words):
                await ours.render(HI)


async def test_a_worker_that_was_killed_is_replaced() -> None:
    async with renderer("{{ messages[0].content }}") as ours:
        assert await ours.render(HI) == "Hi"
        assert ours._process is not None
        environment = Path(f"/proc/{ours._process.pid}/environ").read_bytes()
        assert not {b"PATH", b"HOME"} & {pair.split(b"=")[0] for pair in environment.split(b"\0")}
        os.kill(ours._process.pid, 9)
        await ours._process.wait()
        assert await ours.render(HI) == "Hi"


async def test_one_that_leaves_disturbs_no_other() -> None:
    async with renderer("{{ messages[0].content }}") as ours:
        await ours.render(HI)
        leaving = [asyncio.create_task(ours.render([{"role": "user", "content": str(n)}])) for n in range(20)]
        await asyncio.sleep(0)
        for each in leaving[::2]:
            each.cancel()
        staying = await asyncio.gather(*leaving[1::2])
        assert staying == [str(n) for n in range(1, 20, 2)]


async def test_one_that_ends_the_worker_takes_no_other_with_it() -> None:
    """Requests are written ahead: those behind it are answered by the next worker, in their order."""
    template = "{% if messages[0].content == 'hang' %}{{ 9 ** (messages | length * 9 ** 9) }}{% endif %}"
    async with renderer(template + "{{ messages[0].content }}", seconds=0.1) as ours:
        contents = ["first", "hang", *map(str, range(100)), "hang", "last"]  # more than are written ahead
        asked = [ours.render([{"role": "user", "content": content}]) for content in contents]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    for content, answer in zip(contents, answers, strict=True):
        if content == "hang":
            assert isinstance(answer, PromptError)
            assert "more than 0.1 s" in str(answer)
        else:
            assert answer == content


async def test_chats_larger_than_a_pipe_go_through_one_after_the_other() -> None:
    async with renderer("{{ messages[0].content }}", characters=10**7) as ours:
        texts = [str(n % 10) * 300_000 for n in range(20)]
        asked = [ours.render([{"role": "user", "content": text}]) for text in texts]
        assert await asyncio.gather(*asked) == texts


async def test_a_template_larger_than_a_pipe_goes_through() -> None:
    comment = "{# " + "long " * 50_000 + "#}"
    async with renderer(comment + "{{ messages[0].content }}") as ours:
        asked = [ours.render([{"role": "user", "content": str(n)}]) for n in range(5)]
        assert await asyncio.gather(*asked) == ["0", "1", "2", "3", "4"]


class Chatting(ScriptedEngine):
    """Its chats go through a Jinja template."""

    chat_template = ""

    async def start(self, report: Reporter) -> ModelFacts:
        facts = await super().start(report)
        self._tokenizer.chat = ChatTemplate(self.chat_template, self.chat_template, {})  # type: ignore[assignment]
        self._tokenizer.encode_rendered = self._tokenizer.encode  # type: ignore[method-assign]
        return facts


async def test_probes_are_answered_while_a_template_hangs() -> None:
    engine = Chatting("an answer")
    engine.chat_template = (
        "{% if messages[0].content == 'hang' %}{{ 9 ** (messages | length * 9 ** 9) }}{% endif %}ok"
    )
    async with serve("--template_seconds=1", engine=engine) as server:
        body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hang"}]}
        asking = asyncio.create_task(server.post("/v1/chat/completions", body))
        probes, longest = 0, 0.0
        while not asking.done():
            began = time.monotonic()
            async with server.http.get(server.url + "/live") as answer:
                assert answer.status == 200
            longest = max(longest, time.monotonic() - began)
            probes += 1
            await asyncio.sleep(0.01)
        status, refused = await asking
        assert (status, refused["error"]["param"]) == (400, "messages")  # type: ignore[index]
        assert "takes more than 1 s" in refused["error"]["message"]  # type: ignore[index]
        assert probes > 10
        assert longest < 1  # of two threads' Python one would wait for all of the other's arithmetic
        body["messages"][0]["content"] = "go on"
        assert (await server.post("/v1/chat/completions", body))[0] == 200


async def test_a_chat_that_its_template_makes_too_long_is_not_tokenised() -> None:
    engine = Chatting("an answer")
    engine.chat_template = "{% for message in messages %}{{ message.content * 40 }}{% endfor %}"
    async with serve("--max_characters_per_token=1", engine=engine) as server:
        body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x" * 102}]}
        assert (await server.post("/v1/chat/completions", body | {"max_tokens": 1}))[0] == 200
        body["messages"][0]["content"] += "x"
        status, refused = await server.post("/v1/chat/completions", body | {"max_tokens": 1})
    assert (status, refused["error"]["param"]) == (400, "messages")  # type: ignore[index]
    assert refused["error"]["code"] == "context_length_exceeded"  # type: ignore[index]


async def test_a_broken_template_is_told_before_anybody_asks() -> None:
    engine = Chatting("an answer")
    engine.chat_template = "{% endfor %}"
    async with serve(engine=engine) as server:
        assert server.service.ready  # completions need no template
        status, refused = await server.post("/v1/chat/completions", {"model": "m", "messages": HI})
        assert status == 400
        assert "line 1" in refused["error"]["message"]  # type: ignore[index]
