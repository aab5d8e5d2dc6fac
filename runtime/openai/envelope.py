"""What every answer has around its choices."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Usage:
    """Tokens of a request: each prompt counted once, every generated token of every choice."""

    prompt_tokens: int
    completion_tokens: int = 0

    def document(self) -> dict[str, int]:
        """OpenAI's usage object."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


@dataclass(frozen=True)
class Heading:
    """What all objects of one answer share."""

    id: str
    model: str
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def completion(cls, model: str) -> Heading:
        """A new text completion."""
        return cls("cmpl-" + uuid.uuid4().hex, model)

    @classmethod
    def chat(cls, model: str) -> Heading:
        """A new chat completion."""
        return cls("chatcmpl-" + uuid.uuid4().hex, model)

    def document(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """The object around some choices."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": None,
            "choices": choices,
        }
