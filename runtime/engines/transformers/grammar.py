"""Keeping an answer within a grammar: before each choice, logits of tokens that would leave it are -inf.

The grammar is one of xgrammar's structural tags, as vLLM takes it, so that both backends enforce the same.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any

import torch
import xgrammar

from runtime.engines.base import EngineRefused

_CACHED = 128


class Grammars:
    """Compiles grammars for one tokenizer, one at a time; from any thread."""

    def __init__(self, tokenizer: Any, *, vocab_size: int, ends: frozenset[int]) -> None:
        """`tokenizer`: the transformers library's. `ends`: the tokens that end a text."""
        info = xgrammar.TokenizerInfo.from_huggingface(
            tokenizer, vocab_size=vocab_size, stop_token_ids=sorted(ends) or None
        )
        self._vocab_size = vocab_size
        self._compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
        self._compiled = lru_cache(_CACHED)(self._compile)
        self._one = threading.Lock()

    def mask(self, grammar: str) -> Mask:
        """A new answer's mask. Raises EngineRefused for what is no grammar."""
        with self._one:
            compiled = self._compiled(grammar)
        return Mask(compiled, self._vocab_size)

    def _compile(self, grammar: str) -> Any:
        try:
            return self._compiler.compile_structural_tag(grammar)
        except (RuntimeError, ValueError) as error:
            raise EngineRefused(f"The schema cannot be enforced: {_first_line(error)}") from error


class Mask:
    """One answer's place in its grammar."""

    def __init__(self, compiled: Any, vocab_size: int) -> None:
        self._matcher = xgrammar.GrammarMatcher(compiled)
        self._bits = xgrammar.allocate_token_bitmask(1, vocab_size)

    def apply(self, logits: torch.Tensor) -> None:
        """Sets the logits (shape [vocabulary], changed in place) of tokens that cannot follow to -inf."""
        if self._matcher.is_terminated():
            return
        if self._matcher.fill_next_token_bitmask(self._bits):
            xgrammar.apply_token_bitmask_inplace(logits.unsqueeze(0), self._bits.to(logits.device))

    def accept(self, token: int) -> None:
        """The token was chosen."""
        if not self._matcher.is_terminated():
            self._matcher.accept_token(token)


def _first_line(error: Exception) -> str:
    # xgrammar writes "[time] /its/source.cc:line: what is wrong".
    text = (str(error).splitlines() or [""])[0]
    return text.rsplit(".cc:", 1)[-1].split(": ", 1)[-1][:200]
