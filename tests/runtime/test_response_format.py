"""response_format: what reaches the engine, what is refused, and that every word taken is enforced."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.openai import schemas

from .scripted import ScriptedEngine
from .serving import Server, serve

ASK: list[Any] = [{"role": "user", "content": "x"}]


def of(schema: object) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


async def test_the_grammar_reaches_the_engine_for_chats_and_completions() -> None:
    engine = ScriptedEngine('{"a": 1}')
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    async with serve(engine=engine) as server:
        for form in ({"type": "json_object"}, of(schema)):
            await server.openai.chat.completions.create(model="m", messages=ASK, response_format=form)  # type: ignore[call-overload]
            await server.openai.completions.create(
                model="m", prompt="x", extra_body={"response_format": form}
            )
        await server.openai.chat.completions.create(model="m", messages=ASK, response_format={"type": "text"})
    grammars = [sampling.grammar for _, sampling in engine.asked]
    assert grammars[0] == grammars[1]
    assert grammars[2] == grammars[3]
    assert json.loads(grammars[0] or "")["format"]["json_schema"] == {"type": "object"}
    assert json.loads(grammars[2] or "")["format"]["json_schema"] == schema
    assert grammars[4] is None


DEEP: dict[str, Any] = {"type": "object"}
for _ in range(40):
    DEEP = {"type": "object", "properties": {"a": DEEP}}
STRING = {"type": "string", "maxLength": 5}
# A schema, and the path of what is wrong with it.
REFUSED: list[tuple[Any, str]] = [
    ([], ""),
    ("string", ""),
    (True, ""),
    ({"type": "text"}, "type"),
    ({"type": []}, "type"),
    ({"type": "string", "pattern": "(a+)+b"}, "pattern"),
    ({"type": "string", "format": "date"}, "format"),
    ({"allOf": [{"type": "string"}]}, "allOf"),
    ({"oneOf": [{"type": "string"}]}, "oneOf"),
    ({"not": {}}, "not"),
    ({"type": "array", "uniqueItems": True}, "uniqueItems"),
    ({"type": "integer", "multipleOf": 2}, "multipleOf"),
    ({"type": "object", "patternProperties": {}}, "patternProperties"),
    ({"type": "object", "minProperties": 1}, "minProperties"),
    ({"type": "object", "properties": {"a": False}}, "properties.a"),
    ({"type": "object", "properties": []}, "properties"),
    ({"type": "object", "properties": {"a": {"type": "x"}}}, "properties.a.type"),
    ({"type": {"a": 1}}, "type"),
    ({"type": [["string"]], "minLength": 1}, "type"),
    ({"type": ["object", []], "properties": {}}, "type"),
    ({"type": []}, "type"),
    ({"type": "object", "properties": {"a": {}}, "required": [["a"]]}, "required"),
    ({"type": "object", "properties": {}, "required": ["a"]}, "required"),
    ({"type": "object", "required": ["a"]}, "required"),
    ({"type": "object", "required": "a"}, "required"),
    ({"properties": {}}, "properties"),
    ({"minimum": 1}, "minimum"),
    ({"type": "string", "minimum": 1}, "minimum"),
    ({"type": "integer", "minimum": "1"}, "minimum"),
    ({"type": "integer", "minimum": 1e300}, "minimum"),
    ({"type": "array", "maxItems": 1001}, "maxItems"),
    ({"type": "array", "maxItems": -1}, "maxItems"),
    ({"type": "array", "maxItems": True}, "maxItems"),
    ({"type": "array", "items": 5}, "items"),
    ({"type": "array", "prefixItems": []}, "prefixItems"),
    ({"anyOf": []}, "anyOf"),
    ({"type": "integer", "anyOf": [{"type": "string"}]}, "type"),
    ({"$ref": "#/$defs/a"}, "$ref"),
    ({"$ref": "https://example.org/schema"}, "$ref"),
    ({"$ref": "#"}, "$ref"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "$ref"),
    ({"enum": []}, "enum"),
    ({"enum": [{}]}, "enum"),
    ({"enum": list(range(1001))}, "enum"),
    ({"type": "string", "enum": [1]}, "type"),
    ({"const": "x", "type": "integer"}, "type"),
    ({"enum": ["\ud800"]}, "enum"),
    (DEEP, ".".join(["properties", "a"] * 33)[:200]),
    ({"type": "object", "properties": {str(n): {"type": "string"} for n in range(201)}}, "properties.199"),
    ({"type": "object", "properties": {str(n): STRING for n in range(9)}}, "properties.8"),
    ({"description": "x" * 33_000, "type": "string"}, ""),
]


@pytest.mark.parametrize(("schema", "path"), REFUSED)
def test_what_is_not_enforced_is_refused(schema: Any, path: str) -> None:
    noted: list[tuple[str, str]] = []
    if schemas.check_size(schema, lambda where, what: noted.append((where, what))):
        schemas.check_schema(schema, lambda where, what: noted.append((where, what)))
    assert noted
    assert noted[0][0] == path


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
_WORDS = st.sampled_from(
    ["type", "properties", "required", "additionalProperties", "items", "prefixItems", "enum", "const",
     "anyOf", "$ref", "$defs", "minLength", "minItems", "minimum", "title"]
)  # fmt: skip
_SCHEMAS = st.recursive(
    st.dictionaries(_WORDS, _ANY | st.sampled_from(["object", "string", "#/$defs/a"]), max_size=5),
    lambda inner: st.dictionaries(
        _WORDS, _ANY | inner | st.lists(inner, max_size=2) | st.dictionaries(st.just("a"), inner), max_size=5
    ),
    max_leaves=6,
)


@given(_SCHEMAS)
def test_no_schema_ends_its_own_check(schema: dict[str, Any]) -> None:
    """Whatever stands at a schema's words, it is judged: nothing is raised."""
    said: list[tuple[str, str]] = []
    schemas.check_schema(schema, lambda path, words: said.append((path, words)))
    assert all(isinstance(path, str) and words for path, words in said)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "regex"}}, "response_format.type"),
        ({"response_format": {"type": "json_object", "x": 1}}, "response_format.x"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
         "response_format.json_schema.name"),
        ({"response_format": of({"type": "object", "properties": {"a": {"pattern": "x"}}})},
         "response_format.json_schema.schema.properties.a.pattern"),
        ({"response_format": {"type": "json_object"}, "ignore_eos": True}, "ignore_eos"),
        ({"response_format": {"type": "json_object"}, "min_tokens": 5}, "min_tokens"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_named(body: dict[str, Any], param: str) -> None:
    engine = ScriptedEngine("x")
    async with serve(engine=engine) as server:
        status, answer = await server.post("/v1/chat/completions", {"model": "m", "messages": ASK, **body})
    assert (status, answer["error"]["param"]) == (400, param)  # type: ignore[index]
    assert engine.asked == []


async def test_an_engine_without_grammars_says_so(echo: Server) -> None:
    with pytest.raises(openai.BadRequestError, match="cannot be enforced") as refused:
        await echo.openai.chat.completions.create(
            model="m", messages=ASK, response_format={"type": "json_object"}
        )
    assert refused.value.param == "response_format"


async def test_what_the_engine_refuses_is_the_requests_fault() -> None:
    async with serve(engine=ScriptedEngine(refuse="The schema is too much.")) as server:
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError, match="too much") as refused:
                await server.openai.chat.completions.create(
                    model="m", messages=ASK, response_format={"type": "json_object"}, stream=stream
                )
            assert refused.value.param == "response_format"


TREE = {"$ref": "#/$defs/t", "$defs": {"t": {"type": "object", "properties": {"l": {"$ref": "#/$defs/t"}}}}}
# A schema, texts of it, texts not of it.
TAKEN: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({"type": "object"}, ["{}", '{"a": [1, null]}'], ["[]", "1", "{"]),
    ({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": ["string", "null"]}},
      "required": ["a"], "title": "T"},
     ['{"a": 1}', '{"a": 1, "b": null}', '{"a": 1, "b": "x"}'],
     ['{"b": "x"}', '{"a": "1"}', '{"a": 1, "c": 2}']),
    ({"type": "object", "properties": {}, "additionalProperties": {"type": "boolean"}},
     ['{"x": true}'], ['{"x": 1}']),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 3},
     ["[1, 2]", "[1, 2, 3]"], ["[1]", "[1, 2, 3, 4]", '[1, "a"]']),
    ({"type": "array", "prefixItems": [{"type": "integer"}], "items": False}, ["[1]"], ["[1, 2]", '["a"]']),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ['"ab"', '"Köl"'], ['"a"', '"abcd"', "ab"]),
    ({"type": "integer", "minimum": 2, "exclusiveMaximum": 10}, ["2", "9"], ["1", "10", "-5", "3.5"]),
    ({"type": "number", "exclusiveMinimum": 0, "maximum": 2.5}, ["0.5", "2.5"], ["0", "2.6"]),
    ({"enum": ["a", None, 1.5]}, ['"a"', "null", "1.5"], ['"b"', "1"]),
    ({"const": True}, ["true"], ["false"]),
    ({"anyOf": [{"type": "string"}, {"type": "array", "items": {"const": 1}}]}, ['"x"', "[1]"], ["1", "[2]"]),
    (TREE, ['{"l": {"l": {}}}'], ['{"l": 1}']),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "good", "bad"), TAKEN)
def test_what_is_taken_is_enforced(schema: dict[str, Any], good: list[str], bad: list[str]) -> None:
    """By the library that both backends use, over a vocabulary of bytes."""
    xgrammar = pytest.importorskip("xgrammar")
    noted: list[tuple[str, str]] = []
    schemas.check_schema(schema, lambda path, what: noted.append((path, what)))
    assert noted == []
    info = xgrammar.TokenizerInfo(
        [bytes([byte]) for byte in range(256)] + [b"</s>"],
        vocab_type=xgrammar.VocabType.RAW,
        stop_token_ids=[256],
    )
    compiled = xgrammar.GrammarCompiler(info, max_threads=1).compile_structural_tag(
        schemas.grammar_of(schema)
    )
    for text in good + bad:
        matcher = xgrammar.GrammarMatcher(compiled)
        assert (matcher.accept_string(text) and matcher.is_completed()) == (text in good), text
