"""Tool calls are read from an answer's text, so the marks around them must be in it.

Some models have them as special tokens, which decoding leaves out. Here they become ordinary added tokens,
as they are in Qwen's own tokenizers: what is encoded stays the same, and whatever decodes with the tokenizer,
vLLM included, shows them.
"""

from __future__ import annotations

import json
from typing import Any

MARKS = ("<tool_call>", "</tool_call>")


def show_marks(tokenizer: Any) -> None:
    """Changes a tokenizer object of the transformers library, in place, where it would hide a mark."""
    fast = getattr(tokenizer, "_tokenizer", None)
    added = getattr(fast, "get_added_tokens_decoder", None)
    if fast is None or added is None:  # no tokenizer of the tokenizers library: it has no such tokens
        return
    if not any(token.special and token.content in MARKS for token in added().values()):
        return
    # The library takes a token that it has for known and leaves it special, so it is made anew.
    document = json.loads(fast.to_str())
    for token in document["added_tokens"]:
        if token["content"] in MARKS:
            token["special"] = False
    tokenizer._tokenizer = type(fast).from_str(json.dumps(document))
