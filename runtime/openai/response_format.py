"""`response_format`: text, any JSON object, or JSON of a schema; what is asked for is enforced."""

from __future__ import annotations

from typing import Any

from runtime.openai import schemas
from runtime.openai.fields import Fields
from runtime.openai.limits import Limits

_NAME = 64


def read_response_format(fields: Fields, limits: Limits) -> str | None:
    """The grammar that the answer must match, or None where it is free."""
    value = fields.take("response_format")
    if value is None or value == {"type": "text"}:
        return None
    if not isinstance(value, dict):
        fields.wrong("response_format", "must be an object")
        return None
    outer = Fields(value, "response_format.")
    kind = outer.text("type", 64)
    schema: Any = None
    if kind == "json_object":
        schema = {"type": "object"}
    elif kind == "json_schema":
        schema = _schema(outer, limits)
    else:
        outer.wrong("type", "must be text, json_object or json_schema")
    outer.finish()
    if not limits.structured:
        fields.wrong("response_format", "cannot be enforced: this engine has no grammars")
    fields.problems += outer.problems
    return None if schema is None or fields.problems else schemas.grammar_of(schema)


def _schema(outer: Fields, limits: Limits) -> Any:
    value = outer.take("json_schema")
    if not isinstance(value, dict):
        outer.wrong("json_schema", "must be an object with `name` and `schema`")
        return None
    inner = Fields(value, "response_format.json_schema.")
    inner.text("name", _NAME)
    if not inner.has("name"):
        inner.wrong("name", "is missing")
    inner.text("description", 16 * 1024)
    inner.truth("strict")  # what is not strict may be left; it is enforced all the same
    schema = inner.take("schema")
    inner.finish()

    def wrong(path: str, message: str) -> None:
        inner.wrong(f"schema.{path}" if path else "schema", message)

    if not isinstance(schema, dict):
        wrong("", "must be a JSON Schema: an object")
    elif schemas.check_size(schema, wrong, limits.bounds.max_schema_bytes):
        schemas.check_schema(schema, wrong)
    outer.problems += inner.problems
    return schema
