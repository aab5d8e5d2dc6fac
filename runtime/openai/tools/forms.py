"""The forms in which models write calls of tools, and which of them a chat template teaches.

Hermes (also Qwen): `<tool_call>\\n{"name": ..., "arguments": {...}}\\n</tool_call>`, one after the other,
with text before. Llama 3 JSON: `{"name": ..., "parameters": {...}}` is the whole answer; several, where a
model writes them, are set apart by `;`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.openai.schemas import json_format, structural_tag

_SEVERAL = {"type": "tags_with_separator", "at_least_one": True}
_NO_BRACE_FIRST = r"([ \t\r\n]*[^{ \t\r\n][\s\S]*)?"


@dataclass(frozen=True)
class Form:
    """How a call is written. `opening` and `closing` stand around its JSON object, "" where nothing does."""

    name: str
    opening: str
    closing: str
    arguments: str
    separator: str

    def demanded(self, parameters: Mapping[str, Mapping[str, Any]], *, one: bool) -> str:
        """The grammar of answers that are calls of these functions, at least one, and nothing else."""
        return structural_tag(
            {
                **_SEVERAL,
                "tags": self._tags(parameters),
                "separator": self.separator,
                "stop_after_first": one,
            }
        )

    def free(self, parameters: Mapping[str, Mapping[str, Any]], *, one: bool) -> str:
        """The grammar of any text in which calls, where there are some, have these parameters. Where no mark
        shows a call, an answer that begins with a brace is calls and nothing else.
        """
        if not self.opening:
            calls = {**_SEVERAL, "tags": self._tags(parameters), "separator": self.separator}
            words = {"type": "regex", "pattern": _NO_BRACE_FIRST}
            return structural_tag({"type": "or", "elements": [{**calls, "stop_after_first": one}, words]})
        return structural_tag(
            {
                "type": "triggered_tags",
                "triggers": [self.opening.strip()],
                "tags": self._tags(parameters),
                "at_least_one": False,
                "stop_after_first": one,
            }
        )

    def _tags(self, parameters: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [
            {
                "type": "tag",
                "begin": f'{self.opening}{{"name": {json.dumps(name)}, "{self.arguments}": ',
                "content": json_format(schema),
                "end": "}" + self.closing,
            }
            for name, schema in parameters.items()
        ]


HERMES = Form("hermes", "<tool_call>\n", "\n</tool_call>", "arguments", "\n")
LLAMA3_JSON = Form("llama3_json", "", "", "parameters", "; ")
FORMS = {form.name: form for form in (HERMES, LLAMA3_JSON)}


def form_of(template: str | None) -> str | None:
    """The form that a chat template teaches its model; None where it knows no tools, or another form."""
    if template is None or "tools" not in template:
        return None
    if "<tool_call>" in template:
        return HERMES.name
    if '"parameters"' in template and ("python_tag" in template or "ipython" in template):
        return LLAMA3_JSON.name
    return None
