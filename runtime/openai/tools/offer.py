"""The tools that a request offers and how far the model is free in using them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.openai import schemas
from runtime.openai.fields import Fields
from runtime.openai.limits import Limits
from runtime.openai.tools.forms import FORMS, Form

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DESCRIPTION = 16 * 1024
_ANYTHING: dict[str, Any] = {"type": "object"}


@dataclass(frozen=True)
class Offer:
    """Tools that the model may call (`documents`, as the chat template takes them), in its form.

    `grammar`: what the answer must match where calls are demanded or some tool is strict. `named`: one tool
    was demanded by name. `one`: at most one call.
    """

    documents: tuple[Mapping[str, Any], ...]
    form: Form
    grammar: str | None
    named: bool
    one: bool

    @property
    def names(self) -> frozenset[str]:
        """The names that a call may have."""
        return frozenset(each["function"]["name"] for each in self.documents)


def read_offer(fields: Fields, limits: Limits) -> Offer | None:
    """Reads `tools`, `tool_choice` and `parallel_tool_calls`; None where nothing may be called."""
    one = not fields.truth("parallel_tool_calls", default=True)
    given = fields.take("tools")
    choice = fields.take("tool_choice")
    if given is None or given == []:
        if choice not in (None, "none", "auto"):
            fields.wrong("tool_choice", "asks for a tool, and there are no `tools`")
        return None
    strict: dict[str, Mapping[str, Any]] = {}
    documents = _documents(fields, given, limits, strict)
    if not documents or choice == "none":
        _choice(fields, choice, documents)
        return None
    wanted = _choice(fields, choice, documents)
    form = FORMS.get(limits.tool_form or "")
    if form is None:
        fields.wrong("tools", limits.why_no_tools)
        return None
    called = [each["function"] for each in documents if wanted in (None, "", each["function"]["name"])]
    grammar = None
    if wanted is not None or strict:
        checked = called if wanted is not None else list(strict.values())
        _enforceable(fields, documents, checked, limits)
        parameters = {each["name"]: each["parameters"] if each in checked else _ANYTHING for each in called}
        if wanted is not None:
            grammar = form.demanded(parameters, one=one or bool(wanted))
        else:
            grammar = form.free(parameters, one=one)
    return Offer(tuple(documents), form, grammar, bool(wanted), one or bool(wanted))


def _documents(
    fields: Fields, given: Any, limits: Limits, strict: dict[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    if not isinstance(given, list) or len(given) > limits.bounds.max_tools:
        fields.wrong("tools", f"must be a list of at most {limits.bounds.max_tools} tools")
        return []
    documents: list[dict[str, Any]] = []
    size = 0
    for index, each in enumerate(given):
        document = _document(fields, f"tools[{index}]", each, strict)
        if document is None:
            continue
        size += len(json.dumps(document))
        documents.append(document)
    names = [each["function"]["name"] for each in documents]
    if len(set(names)) < len(names):
        fields.wrong("tools", "has two tools of one name")
    if size > limits.max_characters:
        fields.wrong(
            "tools", f"has {size} characters; this model's {limits.max_model_len} tokens cannot hold them"
        )
    return documents


def _document(
    fields: Fields, path: str, value: Any, strict: dict[str, Mapping[str, Any]]
) -> dict[str, Any] | None:
    if not isinstance(value, dict) or not isinstance(value.get("function"), dict):
        fields.wrong(path, 'must be of the form {"type": "function", "function": {"name": ...}}')
        return None
    outer = Fields(value, path + ".")
    outer.only("type", ("function",), 'must be "function"')
    outer.take("function")
    outer.finish()
    inner = Fields(value["function"], path + ".function.")
    name = inner.text("name", 64)
    if name is None or not _NAME.fullmatch(name):
        inner.wrong("name", "must be 1 to 64 letters, digits, `_`, `-` or `.`")
        name = ""
    description = inner.text("description", _DESCRIPTION)
    parameters = inner.take("parameters")
    if parameters is None:
        parameters = {"type": "object", "properties": {}}
    if not isinstance(parameters, dict) or not _plain(parameters):
        inner.wrong("parameters", "must be a JSON Schema: an object")
        parameters = {}
    is_strict = inner.truth("strict")
    inner.finish()
    fields.problems += outer.problems + inner.problems
    function = {"name": name, "parameters": parameters}
    if description is not None:
        function["description"] = description
    if is_strict:
        strict[name] = function
    return {"type": "function", "function": function}


def _plain(parameters: Mapping[str, Any]) -> bool:
    try:
        json.dumps(parameters, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return True


def _choice(fields: Fields, choice: Any, documents: list[dict[str, Any]]) -> str | None:
    """None: the model chooses; "": it must call some tool; else the tool that it must call."""
    names = [each["function"]["name"] for each in documents]
    match choice:
        case None | "auto" | "none":
            return None
        case "required":
            return ""
        case {"type": "function", "function": {"name": str(name), **rest}, **more} if not rest and not more:
            if name in names:
                return name
            fields.wrong("tool_choice", f"names a tool that is not among `tools`: {name[:64]}")
        case _:
            fields.wrong(
                "tool_choice",
                'must be "none", "auto", "required" or {"type": "function", "function": {"name": ...}}',
            )
    return None


def _enforceable(fields: Fields, documents: list[dict[str, Any]], checked: list[Any], limits: Limits) -> None:
    """Notes what of these functions' parameters no grammar enforces."""
    for index, document in enumerate(documents):
        function = document["function"]
        if function not in checked:
            continue
        path = f"tools[{index}].function.parameters"

        def wrong(below: str, message: str, path: str = path) -> None:
            fields.wrong(f"{path}.{below}" if below else path, message)

        if not limits.structured:
            fields.wrong("tool_choice", "cannot be enforced: this engine has no grammars")
            return
        if schemas.check_size(function["parameters"], wrong, limits.bounds.max_schema_bytes):
            schemas.check_schema(function["parameters"], wrong)
