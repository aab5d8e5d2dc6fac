"""What calls make of a choice: its content, its `tool_calls`, its reason to end."""

from __future__ import annotations

from typing import Any

from runtime.engines.base import FinishReason
from runtime.openai.tools.calls import Arguments, Call, Finder
from runtime.openai.tools.offer import Offer


def found(offer: Offer, text: str) -> tuple[str, list[dict[str, Any]]]:
    """The content and the `tool_calls` of a whole answer's text."""
    finder = Finder(offer.form, offer.names, one=offer.one)
    content: list[str] = []
    calls: list[dict[str, Any]] = []
    for event in [*finder.feed(text), *finder.finish()]:
        match event:
            case str():
                content.append(event)
            case Call():
                function = {"name": event.name, "arguments": ""}
                calls.append({"id": event.id, "type": "function", "function": function})
            case Arguments():
                calls[event.index]["function"]["arguments"] += event.text
    return "".join(content), calls


def finish_reason(offer: Offer | None, reason: str | None, called: bool) -> str | None:
    """OpenAI's word for how a choice ended: "tool_calls" where the model chose to call."""
    chosen = offer is not None and called and not offer.named
    return "tool_calls" if chosen and reason == FinishReason.STOP else reason
