"""OpenAI's own client against the real server, with the echo engine."""

from __future__ import annotations

import re

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .serving import Server, serve


async def test_completion(echo: Server) -> None:
    answer = await echo.openai.completions.create(model="m", prompt="Write a poem", max_tokens=30)
    assert re.fullmatch(r"cmpl-[0-9a-f]{32}", answer.id)
    assert answer.object == "text_completion"
    assert answer.model == "m"
    (choice,) = answer.choices
    assert (choice.index, choice.text, choice.finish_reason, choice.logprobs) == (
        0,
        "Write a poem",
        "stop",
        None,
    )
    assert answer.usage is not None
    # 12 bytes and the beginning of text; 12 bytes and the end of text.
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (13, 13)
    assert answer.usage.total_tokens == 26


async def test_chat(echo: Server) -> None:
    answer = await echo.openai.chat.completions.create(
        model="m", messages=[{"role": "system", "content": "be brief"}, {"role": "user", "content": "héllo"}]
    )
    assert re.fullmatch(r"chatcmpl-[0-9a-f]{32}", answer.id)
    assert answer.object == "chat.completion"
    message = answer.choices[0].message
    assert (message.role, message.content, message.tool_calls, message.function_call) == (
        "assistant",
        "héllo",
        None,
        None,
    )
    assert answer.choices[0].finish_reason == "stop"


async def test_the_null_keys_of_kserve_stay(echo: Server) -> None:
    _, text = await echo.post("/v1/completions", {"model": "m", "prompt": "x"})
    assert text["system_fingerprint"] is None
    assert text["choices"][0]["logprobs"] is None
    _, chat = await echo.post(
        "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    )
    assert chat["system_fingerprint"] is None
    assert chat["choices"][0]["logprobs"] is None
    assert {"tool_calls": None, "function_call": None}.items() <= chat["choices"][0]["message"].items()


async def test_max_tokens_ends_an_answer(echo: Server) -> None:
    answer = await echo.openai.completions.create(model="m", prompt="abcdef", max_tokens=3)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("abc", "length")
    default = await echo.openai.completions.create(model="m", prompt="x" * 40)
    assert (len(default.choices[0].text), default.choices[0].finish_reason) == (16, "length")
    chat = await echo.openai.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "abcdef"}], max_completion_tokens=2
    )
    assert chat.choices[0].message.content == "ab"


async def test_ignore_eos_goes_on(echo: Server) -> None:
    answer = await echo.openai.completions.create(
        model="m", prompt="ab", max_tokens=5, extra_body={"ignore_eos": True}
    )
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("ababa", "length")


async def test_several_prompts_and_choices(echo: Server) -> None:
    answer = await echo.openai.completions.create(model="m", prompt=["ab", "cd"], n=2, max_tokens=8)
    assert [(each.index, each.text) for each in answer.choices] == [
        (0, "ab"),
        (1, "ab"),
        (2, "cd"),
        (3, "cd"),
    ]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (6, 12)


async def test_token_ids_are_prompts(echo: Server) -> None:
    one = await echo.openai.completions.create(model="m", prompt=[104, 105])
    assert one.choices[0].text == "hi"
    assert one.usage is not None
    assert one.usage.prompt_tokens == 2
    two = await echo.openai.completions.create(model="m", prompt=[[104, 105], [106]])
    assert [each.text for each in two.choices] == ["hi", "j"]


async def test_echo_puts_the_prompt_first(echo: Server) -> None:
    answer = await echo.openai.completions.create(model="m", prompt="ab", echo=True, max_tokens=1)
    assert answer.choices[0].text == "aba"
    only = await echo.openai.completions.create(model="m", prompt="ab", echo=True, max_tokens=0)
    assert (only.choices[0].text, only.choices[0].finish_reason) == ("ab", "length")
    assert only.usage is not None
    assert only.usage.completion_tokens == 0
    nothing = await echo.openai.completions.create(model="m", prompt=["ab", "c"], max_tokens=0, n=2)
    assert [(each.text, each.finish_reason) for each in nothing.choices] == [("", "length")] * 4
    stream = await echo.openai.completions.create(
        model="m", prompt="ab", echo=True, max_tokens=1, stream=True
    )
    assert "".join([chunk.choices[0].text async for chunk in stream]) == "aba"


async def test_content_parts_are_joined(echo: Server) -> None:
    answer = await echo.openai.chat.completions.create(
        model="m",
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
        ],
    )
    assert answer.choices[0].message.content == "a\nb"


@given(
    text=st.text("abcdé", min_size=1, max_size=30),
    stop=st.lists(st.text("abcdé", min_size=1, max_size=3), min_size=1, max_size=4),
    stream=st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_stop_strings_are_cut_wherever_tokens_end(
    echo: Server, text: str, stop: list[str], stream: bool
) -> None:
    answer = await echo.openai.completions.create(
        model="m", prompt=text, stop=stop, stream=stream, max_tokens=200
    )
    if stream:
        chunks = [chunk async for chunk in answer]
        got = "".join(chunk.choices[0].text for chunk in chunks)
        reason = chunks[-1].choices[0].finish_reason
    else:
        got, reason = answer.choices[0].text, answer.choices[0].finish_reason
    ends = [text.find(each) + len(each) for each in stop if each in text]
    assert reason == "stop"
    assert not any(each in got for each in stop)
    if not ends:
        assert got == text
    else:
        assert text.startswith(got)
        assert len(got) < min(ends)


async def test_a_chat_stream(echo: Server) -> None:
    stream = await echo.openai.chat.completions.create(
        model="m",
        messages=[{"role": "user", "content": "héy"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    *parts, last = chunks
    assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1
    assert re.fullmatch(r"chatcmpl-[0-9a-f]{32}", chunks[0].id)
    assert [chunk.choices[0].delta.role for chunk in parts] == ["assistant"] + [None] * (len(parts) - 1)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in parts) == "héy"
    assert [chunk.choices[0].finish_reason for chunk in parts] == [None] * (len(parts) - 1) + ["stop"]
    assert all(chunk.usage is None for chunk in parts)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens


async def test_a_stream_of_several_choices(echo: Server) -> None:
    stream = await echo.openai.completions.create(model="m", prompt=["abc", "d"], n=2, stream=True)
    texts, ends = {}, {}
    async for chunk in stream:
        for choice in chunk.choices:
            assert choice.index not in ends  # nothing after the end
            texts[choice.index] = texts.get(choice.index, "") + choice.text
            if choice.finish_reason:
                ends[choice.index] = choice.finish_reason
    assert texts == {0: "abc", 1: "abc", 2: "d", 3: "d"}
    assert ends == dict.fromkeys(range(4), "stop")


async def test_models(echo: Server) -> None:
    models = await echo.openai.models.list()
    assert [model.id for model in models.data] == ["m"]
    model = await echo.openai.models.retrieve("m")
    assert (model.object, model.owned_by) == ("model", "stoker")


async def test_names_with_slashes_and_further_names() -> None:
    async with serve("--model_name=org/model", "--served_model_name", "short", "other") as server:
        assert (await server.openai.models.retrieve("org/model")).id == "org/model"
        for name in ("org/model", "short", "other"):
            answer = await server.openai.completions.create(model=name, prompt="x")
            assert answer.model == name


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": "x"}, "model"),
        ({"model": 7, "prompt": "x"}, "model"),
        ({"model": "m"}, "prompt"),
        ({"model": "m", "prompt": []}, "prompt"),
        ({"model": "m", "prompt": [1, "a"]}, "prompt"),
        ({"model": "m", "prompt": [259]}, "prompt"),
        ({"model": "m", "prompt": [True]}, "prompt"),
        ({"model": "m", "prompt": "\ud800"}, "prompt"),
        ({"model": "m", "prompt": "x", "max_tokens": -1}, "max_tokens"),
        ({"model": "m", "prompt": "x", "max_tokens": "9"}, "max_tokens"),
        ({"model": "m", "prompt": "x", "temperature": 2.1}, "temperature"),
        ({"model": "m", "prompt": "x", "temperature": True}, "temperature"),
        ({"model": "m", "prompt": "x", "top_p": 0}, "top_p"),
        ({"model": "m", "prompt": "x", "n": 0}, "n"),
        ({"model": "m", "prompt": ["x"] * 9, "n": 2}, "prompt"),
        ({"model": "m", "prompt": "x", "stop": ["a"] * 5}, "stop"),
        ({"model": "m", "prompt": "x", "stop": [""]}, "stop"),
        ({"model": "m", "prompt": "x", "logprobs": 1}, "logprobs"),
        ({"model": "m", "prompt": "x", "best_of": 3}, "best_of"),
        ({"model": "m", "prompt": "x", "suffix": "y"}, "suffix"),
        ({"model": "m", "prompt": "x", "logit_bias": {"999": 1}}, "logit_bias"),
        ({"model": "m", "prompt": "x", "logit_bias": {"1": 101}}, "logit_bias"),
        ({"model": "m", "prompt": "x", "stream": "yes"}, "stream"),
        ({"model": "m", "prompt": "x", "stream_options": {"include_usage": True}}, "stream_options"),
        ({"model": "m", "prompt": "x", "stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        ({"model": "m", "prompt": "x", "seed": 2**63}, "seed"),
        ({"model": "m", "prompt": "x", "temprature": 1}, "temprature"),
        ({"model": "m", "prompt": "x", "guided_json": {}}, "guided_json"),
    ],
)
async def test_completions_that_are_refused(echo: Server, body: dict[str, object], param: str) -> None:
    status, answer = await echo.post("/v1/completions", body)
    error = answer["error"]
    assert (status, error["param"], error["type"]) == (400, param, "invalid_request_error")
    assert f"`{param}`" in error["message"]


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x", "mood": "good"}]}, "messages[0].mood"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"store": True}, "store"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
    ],
)
async def test_chats_that_are_refused(echo: Server, extra: dict[str, object], param: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **extra}
    status, answer = await echo.post("/v1/chat/completions", body)
    assert (status, answer["error"]["param"]) == (400, param)


async def test_everything_that_is_wrong_is_said_at_once(echo: Server) -> None:
    _, answer = await echo.post("/v1/completions", {"prompt": 1, "n": 0, "temprature": 1})
    message = answer["error"]["message"]
    assert all(f"`{name}`" in message for name in ("model", "prompt", "n", "temprature"))
    assert "did you mean `temperature`?" in message


async def test_fields_without_effect_are_accepted(echo: Server) -> None:
    answer = await echo.openai.chat.completions.create(
        model="m",
        messages=[{"role": "developer", "content": "x", "name": "me"}, {"role": "user", "content": "y"}],
        user="someone",
        tools=[],
        tool_choice="none",
        response_format={"type": "text"},
        store=False,
        logprobs=False,
    )
    assert answer.choices[0].message.content == "y"


async def test_the_context_is_a_limit() -> None:
    async with serve("--max_model_len=32") as server:
        fits = await server.openai.completions.create(model="m", prompt="x" * 21, max_tokens=10)
        assert fits.choices[0].finish_reason == "length"
        with pytest.raises(openai.BadRequestError, match="maximum context length is 32 tokens") as over:
            await server.openai.completions.create(model="m", prompt="x" * 21, max_tokens=11)
        assert over.value.code == "context_length_exceeded"
        with pytest.raises(openai.BadRequestError) as full:
            await server.openai.completions.create(model="m", prompt="x" * 31)
        assert full.value.param == "prompt"
        with pytest.raises(openai.BadRequestError, match="cannot hold them"):
            await server.openai.completions.create(model="m", prompt="x" * 2000)
        # Without max_tokens a chat takes what is left.
        chat = await server.openai.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "y"}], extra_body={"ignore_eos": True}
        )
        assert chat.usage is not None
        assert chat.usage.total_tokens == 32


async def test_another_model_is_not_found(echo: Server) -> None:
    with pytest.raises(openai.NotFoundError) as error:
        await echo.openai.completions.create(model="gpt-4", prompt="x")
    assert (error.value.code, error.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        await echo.openai.models.retrieve("gpt-4")
