"""What a client of OpenAI's library may ask and must get, whatever engine answers: one function for each.

The model is SmolLM2 with the Hermes template; every case is run on vLLM and on transformers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import jsonschema
import openai
import pytest

MODEL = "smollm2"
PROMPT = "1, 2, 3, 4,"
CHAT: list[Any] = [{"role": "user", "content": "Count to five"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"place": {"enum": ["Rome", "Oslo"]}},
            "required": ["place"],
            "additionalProperties": False,
        },
    },
}
GREEDY: dict[str, Any] = {"model": MODEL, "temperature": 0}


def several_choices(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt=["a", PROMPT], n=2, max_tokens=3, temperature=0)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.choices[0].text == answer.choices[1].text
    assert answer.choices[2].text == answer.choices[3].text != answer.choices[0].text
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 12


def token_ids_and_echo(client: openai.OpenAI) -> None:
    plain = client.completions.create(**GREEDY, prompt=PROMPT, max_tokens=4)
    ids = client.post("/tokenize", body={"model": MODEL, "prompt": PROMPT}, cast_to=object)
    echoed = client.completions.create(**GREEDY, prompt=ids["tokens"], max_tokens=4, echo=True)  # type: ignore[index]
    assert echoed.choices[0].text == PROMPT + plain.choices[0].text
    assert echoed.usage == plain.usage
    alone = client.completions.create(**GREEDY, prompt=PROMPT, max_tokens=0, echo=True)
    assert (alone.choices[0].text, alone.usage.completion_tokens) == (PROMPT, 0)  # type: ignore[union-attr]


def prompts_are_scored(client: openai.OpenAI) -> None:
    """As tools that measure models ask for it: a text with an answer, its log probabilities and no more."""
    text = PROMPT + " 5, 6, 7"
    whole = client.completions.create(**GREEDY, prompt=text, max_tokens=2, echo=True, logprobs=1).choices[0]
    assert whole.logprobs is not None
    tokens, values = whole.logprobs.tokens or [], whole.logprobs.token_logprobs or []
    assert "".join(tokens) == whole.text
    assert (whole.logprobs.text_offset or [])[-1] == len(whole.text) - len(tokens[-1])
    likely = [max(each.values()) if each else None for each in whole.logprobs.top_logprobs or ()]
    assert values[0] is likely[0] is None
    assert values[-8:] == likely[-8:]  # the model counts on
    assert values[1:] != likely[1:]  # and did not foresee the beginning
    answer = client.completions.create(
        **GREEDY, prompt=[text, "A b"], n=2, max_tokens=0, echo=True, logprobs=1, seed=1
    )
    first, again, other, _ = answer.choices
    assert first.to_dict() == {**again.to_dict(), "index": 0}
    assert (first.text, other.text, first.finish_reason) == (text, "A b", "length")
    assert first.logprobs.token_logprobs[1:] == pytest.approx(values[1:-2], abs=1e-3)  # type: ignore[union-attr,index]
    assert answer.usage is not None
    assert (answer.usage.completion_tokens, answer.usage.prompt_tokens) == (0, len(tokens) - 2 + 2)
    stream = client.completions.create(
        **GREEDY, prompt=text, max_tokens=2, echo=True, logprobs=1, stream=True
    )
    choices = [chunk.choices[0] for chunk in stream]
    assert "".join(choice.text for choice in choices) == whole.text
    streamed = [choice.logprobs for choice in choices if choice.logprobs]
    assert [token for each in streamed for token in each.tokens or ()] == tokens
    assert [at for each in streamed for at in each.text_offset or ()] == whole.logprobs.text_offset


def stops_within_tokens(client: openai.OpenAI) -> None:
    whole = client.completions.create(**GREEDY, prompt=PROMPT, max_tokens=16)
    text = whole.choices[0].text
    stop = text[5:9]  # from the middle of one token into another, wherever their borders are
    cut = client.completions.create(**GREEDY, prompt=PROMPT, max_tokens=16, stop=["never", stop])
    assert (cut.choices[0].text, cut.choices[0].finish_reason) == (text[: text.index(stop)], "stop")
    stream = client.completions.create(**GREEDY, prompt=PROMPT, max_tokens=16, stop=stop, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == cut.choices[0].text


def min_tokens_and_bias(client: openai.OpenAI) -> None:
    tokens: Any = client.post("/tokenize", body={"model": MODEL, "prompt": " blue"}, cast_to=object)
    (blue,) = tokens["tokens"]
    biased = client.completions.create(**GREEDY, prompt=PROMPT, max_tokens=3, logit_bias={str(blue): 100})
    assert biased.choices[0].text == " blue" * 3
    ends: Any = client.post("/tokenize", body={"model": MODEL, "prompt": "<|im_end|>"}, cast_to=object)
    bias = {str(ends["tokens"][0]): 100}
    at_once = client.completions.create(**GREEDY, prompt=PROMPT, max_tokens=9, logit_bias=bias)
    assert (at_once.choices[0].text, at_once.choices[0].finish_reason) == ("", "stop")
    later = client.completions.create(
        **GREEDY, prompt=PROMPT, max_tokens=9, logit_bias=bias, extra_body={"min_tokens": 5}
    )
    assert later.choices[0].finish_reason == "stop"
    assert later.usage.completion_tokens == 6  # type: ignore[union-attr]
    never = client.completions.create(
        **GREEDY, prompt=PROMPT, max_tokens=9, logit_bias=bias, extra_body={"ignore_eos": True}
    )
    assert never.choices[0].finish_reason == "length"
    assert never.usage.completion_tokens == 9  # type: ignore[union-attr]


def no_more_is_needed_than_is_allowed(client: openai.OpenAI) -> None:
    """Of `max_tokens`, and of the endpoint's default where there is none."""
    for least, most in ((9, {"max_tokens": 8}), (1, {"max_tokens": 0}), (17, {})):
        with pytest.raises(openai.BadRequestError) as refused:
            client.completions.create(**GREEDY, prompt=PROMPT, **most, extra_body={"min_tokens": least})  # type: ignore[call-overload]
        assert (refused.value.param, refused.value.code) == ("min_tokens", "invalid_value")
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            **GREEDY, messages=CHAT, max_completion_tokens=2, extra_body={"min_tokens": 3}
        )
    assert refused.value.param == "min_tokens"
    answer = client.completions.create(**GREEDY, prompt=PROMPT, max_tokens=8, extra_body={"min_tokens": 8})
    assert answer.usage.completion_tokens == 8  # type: ignore[union-attr]


def what_ends_an_answer_is_not_its_text(client: openai.OpenAI) -> None:
    """A stop token is counted and not shown, with stop strings beside it and log probabilities, too."""
    tokens: Any = client.post("/tokenize", body={"model": MODEL, "prompt": " blue"}, cast_to=object)
    (blue,) = tokens["tokens"]
    options: dict[str, Any] = {**GREEDY, "prompt": PROMPT, "max_tokens": 9}
    whole = client.completions.create(**options).choices[0]
    ids: Any = client.post("/tokenize", body={"model": MODEL, "prompt": whole.text}, cast_to=object)
    last = ids["tokens"][-1]
    text = client.post("/detokenize", body={"model": MODEL, "tokens": [last]}, cast_to=object)["prompt"]  # type: ignore[index]
    before = whole.text[: whole.text.index(text)]
    for more in ({}, {"stop": "never"}, {"logprobs": 1}, {"stop": ["never"], "logprobs": 1}):
        asked: dict[str, Any] = {**options, **more}
        cut = client.completions.create(**asked, extra_body={"stop_token_ids": [last]})
        assert (cut.choices[0].text, cut.choices[0].finish_reason) == (before, "stop")
        stream = client.completions.create(**asked, extra_body={"stop_token_ids": [last]}, stream=True)
        assert "".join(chunk.choices[0].text for chunk in stream) == before
        at_once = client.completions.create(
            **asked, logit_bias={str(blue): 100}, extra_body={"stop_token_ids": [blue]}
        )
        assert (at_once.choices[0].text, at_once.choices[0].finish_reason) == ("", "stop")
        assert at_once.usage.completion_tokens == 1  # type: ignore[union-attr]


def seeds(client: openai.OpenAI) -> None:
    def ask(seed: int) -> list[str]:
        answer = client.completions.create(
            model=MODEL, prompt="Once", max_tokens=8, temperature=1.5, top_p=0.95, seed=seed, n=2,
            extra_body={"top_k": 500, "min_p": 0.0001, "repetition_penalty": 1.1},
            presence_penalty=0.1, frequency_penalty=0.1,
        )  # fmt: skip
        return [choice.text for choice in answer.choices]

    first = ask(1)
    assert ask(1) == first
    assert first[0] != first[1]
    assert ask(9) != first


def log_probabilities(client: openai.OpenAI) -> None:
    old = client.completions.create(**GREEDY, prompt=PROMPT, max_tokens=4, logprobs=2).choices[0]
    assert old.logprobs is not None
    assert "".join(old.logprobs.tokens or ()) == old.text
    assert old.logprobs.text_offset == [sum(map(len, (old.logprobs.tokens or ())[:n])) for n in range(4)]
    assert all(len(each) == 2 for each in old.logprobs.top_logprobs or ())
    new = client.chat.completions.create(**GREEDY, messages=CHAT, max_tokens=4, logprobs=True, top_logprobs=3)
    content = new.choices[0].logprobs.content  # type: ignore[union-attr]
    assert content is not None
    assert "".join(each.token for each in content) == new.choices[0].message.content
    for each in content:
        assert len(each.top_logprobs) == 3
        assert each.top_logprobs[0].logprob == each.logprob <= 0  # greedy
    whole = b"".join(bytes(each.bytes or ()) for each in content)
    assert whole.decode() == new.choices[0].message.content


def bytes_of_parts_of_a_character(client: openai.OpenAI) -> None:
    """A token that is no whole character has its own bytes, which can be joined; its text has not."""
    ids: Any = client.post("/tokenize", body={"model": MODEL, "prompt": "👋"}, cast_to=object)
    for part in ids["tokens"]:
        answer = client.chat.completions.create(
            **GREEDY, messages=CHAT, max_tokens=1, logprobs=True, top_logprobs=1, logit_bias={str(part): 100}
        )
        (token,) = answer.choices[0].logprobs.content or ()  # type: ignore[union-attr]
        assert token.token == "\N{REPLACEMENT CHARACTER}"
        assert token.bytes
        assert bytes(token.bytes) in "👋".encode()


def shape_of_a_completion_stream(client: openai.OpenAI) -> None:
    stream = client.completions.create(**GREEDY, prompt=PROMPT, max_tokens=5, stream=True)
    chunks = [chunk.to_dict() for chunk in stream]
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert re.fullmatch(r"cmpl-[0-9a-f]{32}", str(chunks[0]["id"]))
    assert not any("usage" in chunk for chunk in chunks)
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]  # type: ignore[attr-defined]
    assert reasons == [None] * (len(reasons) - 1) + ["length"]
    for chunk in chunks:
        assert (chunk["object"], chunk["model"]) == ("text_completion", MODEL)
        assert chunk["system_fingerprint"] is None
        assert all(choice["logprobs"] is None for choice in chunk["choices"])  # type: ignore[attr-defined]


def shape_of_a_chat_stream(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        **GREEDY, messages=CHAT, max_tokens=5, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = [chunk.to_dict() for chunk in stream]
    assert len({(chunk["id"], chunk["created"]) for chunk in [*chunks, last]}) == 1
    assert re.fullmatch(r"chatcmpl-[0-9a-f]{32}", str(last["id"]))
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 5  # type: ignore[index]
    choices: list[Any] = [choice for chunk in chunks for choice in chunk["choices"]]  # type: ignore[attr-defined]
    assert ["role" in choice["delta"] for choice in choices] == [True] + [False] * (len(choices) - 1)
    assert [choice["finish_reason"] for choice in choices][:-1] == [None] * (len(choices) - 1)
    assert choices[-1]["finish_reason"] == "length"
    whole = client.chat.completions.create(**GREEDY, messages=CHAT, max_completion_tokens=5).to_dict()
    message: Any = whole["choices"][0]["message"]  # type: ignore[index]
    assert "".join(choice["delta"].get("content", "") for choice in choices) == message["content"]
    assert message["tool_calls"] is message["function_call"] is whole["system_fingerprint"] is None
    assert last["usage"] == whole["usage"]


def any_json(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        **GREEDY, messages=CHAT, max_tokens=30, response_format={"type": "json_object"}
    )
    text = answer.choices[0].message.content or ""
    assert text.startswith("{")
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(text), dict)


def a_named_tool(client: openai.OpenAI) -> None:
    wanted: Any = {"type": "function", "function": {"name": "weather"}}
    options: Any = {**GREEDY, "messages": CHAT, "tools": [WEATHER], "tool_choice": wanted, "max_tokens": 40}
    whole = client.chat.completions.create(**options)
    (call,) = whole.choices[0].message.tool_calls or ()
    jsonschema.validate(json.loads(call.function.arguments), WEATHER["function"]["parameters"])
    assert whole.choices[0].finish_reason == "stop"  # as OpenAI has it for a tool that was named
    with client.chat.completions.stream(
        **{name: value for name, value in options.items() if name != "stream"}
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    (streamed,) = message.tool_calls or ()
    assert streamed.function.arguments == call.function.arguments
    assert streamed.function.name == "weather"
    assert not message.content


def models(client: openai.OpenAI) -> None:
    (listed,) = client.models.list()
    assert (listed.id, listed.object) == (MODEL, "model")
    assert client.models.retrieve(MODEL).to_dict()["ready"] is True
    for wrong in ("other", "a/b/c"):
        with pytest.raises(openai.NotFoundError) as refused:
            client.models.retrieve(wrong)
        assert refused.value.code == "model_not_found"


def embeddings_of_a_model_that_writes(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=MODEL, input="x")
    assert (refused.value.param, refused.value.code) == ("model", "model_not_supported")


CASES: tuple[Callable[[openai.OpenAI], None], ...] = (
    several_choices,
    token_ids_and_echo,
    prompts_are_scored,
    stops_within_tokens,
    min_tokens_and_bias,
    no_more_is_needed_than_is_allowed,
    what_ends_an_answer_is_not_its_text,
    seeds,
    log_probabilities,
    bytes_of_parts_of_a_character,
    shape_of_a_completion_stream,
    shape_of_a_chat_stream,
    any_json,
    a_named_tool,
    models,
    embeddings_of_a_model_that_writes,
)
