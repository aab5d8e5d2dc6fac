"""Keeping an answer within a grammar: before each choice, logits of tokens that would leave it are -inf."""

from __future__ import annotations

from typing import Any

import torch
import xgrammar


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
