"""Tools: calls found in the model's text, whole and streamed, as OpenAI's client sees them."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
import xgrammar
from hypothesis import given
from hypothesis import strategies as st
from xgrammar.testing import _is_grammar_accept_string

from runtime.engines.base import FinishReason
from runtime.openai.tools.calls import Arguments, Call, Finder
from runtime.openai.tools.forms import HERMES, LLAMA3_JSON, form_of

from .scripted import ScriptedEngine
from .serving import serve
from .tiny import LLAMA3_TEMPLATE

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["place"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
LLAMA3_TOOLS = LLAMA3_TEMPLATE + '{% if tools %}{"name": n, "parameters": p}<|python_tag|>{% endif %}'
ASK: list[Any] = [{"role": "user", "content": "Weather in Köln?"}]


def heard(finder: Finder, pieces: list[str]) -> tuple[str, list[tuple[str, str]]]:
    """Content, and (name, arguments) of each call."""
    text, calls = "", {}
    for event in [*(event for piece in pieces for event in finder.feed(piece)), *finder.finish()]:
        match event:
            case str():
                text += event
            case Call():
                assert event.index == len(calls)
                calls[event.index] = (event.name, "")
            case Arguments():
                name, before = calls[event.index]
                calls[event.index] = (name, before + event.text)
    return text, list(calls.values())


CALL = '<tool_call>\n{"name": "weather", "arguments": {"place": "K\\u00f6ln }"}}\n</tool_call>'
HEARD = [
    ("no call at all", "no call at all", []),
    ("  spaces stay \n", "  spaces stay \n", []),
    ("<tool", "<tool", []),
    (CALL, "", [("weather", '{"place": "K\\u00f6ln }"}')]),
    (f"I look.\n\n{CALL}\n", "I look.", [("weather", '{"place": "K\\u00f6ln }"}')]),
    (f"{CALL}\n{CALL}", "", [("weather", '{"place": "K\\u00f6ln }"}')] * 2),
    (f"{CALL} and so on", " and so on", [("weather", '{"place": "K\\u00f6ln }"}')]),
    ('<tool_call>{"name":"clock"}</tool_call>', "", [("clock", "{}")]),
    ('<tool_call>{"arguments": {"a": [1, {"b": "}"}]}, "name": "clock"}</tool_call>', "",
     [("clock", '{"a": [1, {"b": "}"}]}')]),
    ('<tool_call>{"name": "clock", "arguments": "{\\"a\\": 1}"}</tool_call>', "", [("clock", '{"a": 1}')]),
    ('<tool_call>{"name": "clock", "arguments": {"a": "\\"}", "b": "\\\\"}}</tool_call>x', "x",
     [("clock", '{"a": "\\"}", "b": "\\\\"}')]),
    # What is no call stays text: another name, broken JSON, another type.
    ('<tool_call>{"name": "rm", "arguments": {}}</tool_call>',
     '<tool_call>{"name": "rm", "arguments": {}}</tool_call>', []),
    ("<tool_call>{broken</tool_call> x", "<tool_call>{broken</tool_call> x", []),
    ("a \n<tool_call>no</tool_call>\n <tool_call>", "a \n<tool_call>no</tool_call>\n <tool_call>", []),
    ('<tool_call>{"name": "clock", "arguments": 5}</tool_call>',
     '<tool_call>{"name": "clock", "arguments": 5}</tool_call>', []),
    # Cut off by the token limit: as far as it came.
    ('<tool_call>\n{"name": "weather", "arguments": {"place": "K', "", [("weather", '{"place": "K')]),
    ('<tool_call>\n{"na', '<tool_call>\n{"na', []),
    ('<tool_call>\n{"name": "weather", "arguments": {"a": "\\', "", [("weather", '{"a": "\\')]),
]  # fmt: skip
LLAMA3 = [
    ("just text", "just text", []),
    ('{"name": "clock", "parameters": {}}', "", [("clock", "{}")]),
    ('\n{"name": "clock", "parameters": {"a": {"b": 1}}}', "", [("clock", '{"a": {"b": 1}}')]),
    ('{"type": "function", "name": "clock", "parameters": {"a": 1}}', "", [("clock", '{"a": 1}')]),
    ('{"name": "clock", "parameters": {}}; {"name": "weather", "parameters": {"x": 2}}', "",
     [("clock", "{}"), ("weather", '{"x": 2}')]),
    ('{"answer": 42}', '{"answer": 42}', []),
    ('{"name": "Ada", "born": 1815}', '{"name": "Ada", "born": 1815}', []),
    ('{"name": "clock", "parameters": {}} done', "done", [("clock", "{}")]),
    ('{"name": "clock", "parameters": {}, "note": {"y": [2, "}"]}} tail', "tail", [("clock", "{}")]),
    (' {"a": 1}\n{"b": 2}\n', ' {"a": 1}\n{"b": 2}\n', []),
    ('see {"name": "clock", "parameters": {}}', 'see {"name": "clock", "parameters": {}}', []),
]  # fmt: skip
NAMES = frozenset({"weather", "clock"})
CASES = [(HERMES, *case) for case in HEARD] + [(LLAMA3_JSON, *case) for case in LLAMA3]


@pytest.mark.parametrize(("form", "said", "text", "calls"), CASES)
def test_calls_are_found_wherever_the_pieces_break(form: Any, said: str, text: str, calls: Any) -> None:
    pieces = [[said], list(said), [said[:7], said[7:]], *([said[:n], said[n:]] for n in range(len(said)))]
    for each in pieces:
        found_text, found_calls = heard(Finder(form, NAMES, one=False), each)
        assert (found_text.strip() if calls else found_text, found_calls) == (
            text.strip() if calls else text,
            calls,
        )


WORDS = ["<tool_call>", "</tool_call>", '{"name": "clock"', ', "arguments": ', "{", "}", '"', "\\", "\n", "a"]


@given(st.lists(st.sampled_from(WORDS), max_size=14), st.data())
def test_any_text_gives_the_same_however_it_arrives(words: list[str], data: st.DataObject) -> None:
    said = "".join(words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(said)), max_size=6)))
    pieces = [said[a:b] for a, b in zip([0, *cuts], [*cuts, len(said)], strict=True)]
    for form in (HERMES, LLAMA3_JSON):
        text, calls = heard(Finder(form, NAMES, one=False), pieces)
        assert (text, calls) == heard(Finder(form, NAMES, one=False), [said])
        assert calls or text == said, "where nothing is called, no letter is lost"


def test_templates_show_their_form() -> None:
    assert form_of(None) is None
    assert form_of(LLAMA3_TEMPLATE) is None
    assert form_of(LLAMA3_TOOLS) == "llama3_json"
    assert form_of("{% if tools %}<tool_call>{% endif %}") == "hermes"
    assert form_of("{{ tools }} in a form of its own") is None


@pytest.mark.parametrize("n", [1, 2])
async def test_a_call_whole_and_streamed(n: int) -> None:
    engine = ScriptedEngine(f"I look.\n{CALL}")
    async with serve(engine=engine) as server:
        options: dict[str, Any] = {"model": "m", "messages": ASK, "tools": [WEATHER, CLOCK], "n": n}
        whole = await server.openai.chat.completions.create(**options)
        streamed = await server.openai.chat.completions.create(**options, stream=True)
        chunks = [chunk async for chunk in streamed]
    assert len(whole.choices) == n
    for choice in whole.choices:
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content == "I look."
        (call,) = choice.message.tool_calls or []
        assert call.type == "function"
        assert call.id.startswith("call_")
        assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"place": "Köln }"})
    for index in range(n):
        deltas = [(c.delta, c.finish_reason) for chunk in chunks for c in chunk.choices if c.index == index]
        assert [delta.role for delta, _ in deltas if delta.role] == ["assistant"]
        assert "".join(delta.content or "" for delta, _ in deltas) == "I look."
        calls = [call for delta, _ in deltas for call in delta.tool_calls or ()]
        assert [(call.index, call.type, bool(call.id), call.function.name) for call in calls][:1] == [
            (0, "function", True, "weather")
        ]
        assert all(call.id is None and call.function.name is None for call in calls[1:])
        assert len(calls) > 3  # the arguments came piece by piece
        assert json.loads("".join(call.function.arguments or "" for call in calls)) == {"place": "Köln }"}
        assert [reason for _, reason in deltas if reason] == ["tool_calls"]
        assert deltas[-1][1] == "tool_calls"


async def test_the_client_library_assembles_the_stream() -> None:
    async with (
        serve(engine=ScriptedEngine(f"{CALL}\n{CALL}")) as server,
        server.openai.chat.completions.stream(model="m", messages=ASK, tools=[WEATHER]) as stream,
    ):
        message = (await stream.get_final_completion()).choices[0].message
    assert [call.function.name for call in message.tool_calls or []] == ["weather", "weather"]
    assert len({call.id for call in message.tool_calls or []}) == 2


@pytest.mark.parametrize(
    ("choice", "parallel", "text", "finish", "calls"),
    [
        ("none", None, CALL, "stop", 0),
        ("auto", None, "Nothing to look up.", "stop", 0),
        ("auto", None, CALL + CALL, "tool_calls", 2),
        ("auto", False, CALL + CALL, "tool_calls", 1),
        ("required", None, CALL + "\n" + CALL, "tool_calls", 2),
        ("required", False, CALL, "tool_calls", 1),
        ({"type": "function", "function": {"name": "weather"}}, None, CALL, "stop", 1),
    ],
)
async def test_choices(choice: Any, parallel: bool | None, text: str, finish: str, calls: int) -> None:
    engine = ScriptedEngine(text)
    more = {} if parallel is None else {"parallel_tool_calls": parallel}
    async with serve(engine=engine) as server:
        answer = await server.openai.chat.completions.create(
            model="m", messages=ASK, tools=[WEATHER, CLOCK], tool_choice=choice, **more
        )
    assert (answer.choices[0].finish_reason, len(answer.choices[0].message.tool_calls or ())) == (
        finish,
        calls,
    )
    prompt, sampling = engine.asked[0]
    assert (b'"weather"' in bytes(token for token in prompt if token < 256)) == (choice != "none")
    if choice in ("none", "auto"):
        assert sampling.grammar is None
        assert sampling.stop == (("</tool_call>",) if parallel is False else ())
        return
    form = json.loads(sampling.grammar or "")["format"]
    assert form["at_least_one"] is True
    assert form["stop_after_first"] == (choice != "required" or parallel is False)
    names = ["weather"] if isinstance(choice, dict) else ["weather", "clock"]
    assert [json.loads(tag["begin"].split('"name": ')[1].split(",")[0]) for tag in form["tags"]] == names
    assert form["tags"][0]["content"]["json_schema"] == WEATHER["function"]["parameters"]  # type: ignore[index]


async def test_strict_tools_are_enforced_where_the_form_allows() -> None:
    strict: Any = {"type": "function", "function": {**WEATHER["function"], "strict": True}}  # type: ignore[dict-item]
    engine = ScriptedEngine("free text")
    async with serve(engine=engine) as server:
        await server.openai.chat.completions.create(model="m", messages=ASK, tools=[strict, CLOCK])
        form = json.loads(engine.asked[0][1].grammar or "")["format"]
        assert (form["type"], form["triggers"]) == ("triggered_tags", ["<tool_call>"])


STRICT_CALL = '{"name": "weather", "parameters": {"place": "Köln"}}'


@pytest.mark.parametrize(
    ("said", "allowed"),
    [
        ("", True),
        ("Free text, also with { and }", True),
        ("\n 💥", True),
        (STRICT_CALL, True),
        (f"{STRICT_CALL}; {STRICT_CALL}", True),
        ('{"name": "clock", "parameters": {"any": [1]}}', True),
        ('{"name": "weather", "parameters": {"place": 5}}', False),
        ('{"name": "weather", "parameters": {}}', False),
        (f"{STRICT_CALL} and text", False),
        ('{"an": "object"}', False),
    ],
)
async def test_strict_tools_in_a_form_without_marks(said: str, allowed: bool) -> None:
    """Llama 3's: what begins with a brace is a call, and what is a call has the arguments that it should."""
    strict: Any = {"type": "function", "function": {**WEATHER["function"], "strict": True}}  # type: ignore[dict-item]
    engine = ScriptedEngine("free", template=LLAMA3_TOOLS)
    async with serve(engine=engine) as server:
        await server.openai.chat.completions.create(model="m", messages=ASK, tools=[CLOCK, strict])
    grammar = xgrammar.Grammar.from_structural_tag(engine.asked[0][1].grammar or "")
    assert _is_grammar_accept_string(grammar, said) is allowed


async def test_a_call_cut_off_is_told_as_far_as_it_came() -> None:
    engine = ScriptedEngine(CALL[:60], finish=FinishReason.LENGTH)
    async with serve(engine=engine) as server:
        answer = await server.openai.chat.completions.create(model="m", messages=ASK, tools=[WEATHER])
    assert answer.choices[0].finish_reason == "length"
    assert (answer.choices[0].message.tool_calls or [])[0].function.name == "weather"


async def test_a_conversation_with_calls_reaches_the_template() -> None:
    engine = ScriptedEngine("It rains.")
    async with serve(engine=engine) as server:
        first = await server.openai.chat.completions.create(model="m", messages=ASK, tools=[WEATHER])
        call = {"id": "call_1", "type": "function",
                "function": {"name": "weather", "arguments": '{"place": "Köln"}'}}  # fmt: skip
        said: dict[str, Any] = first.choices[0].message.to_dict()  # its null fields included
        messages: list[Any] = [
            *ASK,
            {**said, "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        ]
        await server.openai.chat.completions.create(model="m", messages=messages, tools=[WEATHER])
    text = bytes(token for token in engine.asked[1][0] if token < 256).decode()
    assert "tool\nrain" in text
    assert json.dumps({"name": "weather", "arguments": {"place": "Köln"}}) in text


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tools": {}}, "tools"),
    ({"tools": [WEATHER] * 2}, "tools"),
    ({"tools": [5]}, "tools[0]"),
    ({"tools": [{**WEATHER, "type": "python"}]}, "tools[0].type"),
    ({"tools": [{**WEATHER, "x": 1}]}, "tools[0].x"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
    ({"tools": [{"type": "function", "function": {"name": "a", "parameters": []}}]},
     "tools[0].function.parameters"),
    ({"tools": [{"type": "function", "function": {"name": "a", "mood": 1}}]}, "tools[0].function.mood"),
    ({"tools": [WEATHER], "tool_choice": "sometimes"}, "tool_choice"),
    ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "rm"}}}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [WEATHER], "response_format": {"type": "json_object"}}, "response_format"),
    ({"tools": [WEATHER], "tool_choice": "required", "ignore_eos": True}, "ignore_eos"),
    ({"tools": [WEATHER], "parallel_tool_calls": 1}, "parallel_tool_calls"),
    ({"tools": [{"type": "function", "function": {
        "name": "a", "strict": True, "parameters": {"type": "object", "not": {}}}}]},
     "tools[0].function.parameters.not"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
    ({"messages": [{"role": "user", "content": "x", "tool_calls": []}]}, "messages[0].tool_calls"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]}, "messages[0].tool_calls[0]"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {
        "name": "a", "arguments": "[1]"}}]}]}, "messages[0].tool_calls[0].function.arguments"),
]  # fmt: skip


@pytest.mark.parametrize(("extra", "param"), REFUSED)
async def test_what_is_wrong_is_named(extra: dict[str, Any], param: str) -> None:
    engine = ScriptedEngine("x")
    async with serve(engine=engine) as server:
        status, answer = await server.post("/v1/chat/completions", {"model": "m", "messages": ASK, **extra})
    assert (status, answer["error"]["param"]) == (400, param)  # type: ignore[index]
    assert engine.asked == []


async def test_a_model_without_tools_says_so() -> None:
    async with serve(engine=ScriptedEngine("x", template=LLAMA3_TEMPLATE)) as server:
        with pytest.raises(openai.BadRequestError, match="--tool_call_parser") as refused:
            await server.openai.chat.completions.create(model="m", messages=ASK, tools=[WEATHER])
        assert refused.value.param == "tools"
    async with serve("--tool_call_parser=hermes", engine=ScriptedEngine(CALL, template=None)) as server:
        answer = await server.openai.chat.completions.create(model="m", messages=ASK, tools=[WEATHER])
        assert answer.choices[0].finish_reason == "tool_calls"
