"""Taking a request's outputs where vLLM makes them.

AsyncLLM makes two objects of each token (RequestOutput, CompletionOutput), puts them into a queue
(RequestOutputCollector) and wakes the request's task to take them out again. Here an object of ours stands in
the queue's place and passes outputs on as they are put; and where nothing but text is wanted, which is almost
always, the two objects are not made.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any

from runtime.engines.base import (
    Delta,
    EngineDead,
    FinishReason,
    NotFinite,
    Sampling,
    Sink,
    TokenLogprob,
)

Decode = Callable[[Sequence[int]], str]
"""The text of tokens, special ones left out."""

_FINISH = {each.value: each for each in FinishReason}


class Handover:
    """One request. `done` ends with the answer, or with why there is none."""

    def __init__(self, sampling: Sampling, sink: Sink, decode: Decode) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.finished = False
        """Whether vLLM is done with the request: it ended by itself, or the engine died."""
        self._logprobs = sampling.logprobs
        self._generates = sampling.max_tokens > 0
        self._stops = bool(sampling.stop)
        self._detokenizer: Any = None
        self._stats: Any = None
        self._sink = sink
        self._decode = decode

    def take_over(self, queue: Any, states: dict[str, Any]) -> None:
        """From now on outputs come here. `states`: of the requests that vLLM works on, by its own ids."""
        state = states.get(queue.request_id)
        if queue.output is not None:
            self.put(queue.output)
        if state is None:  # all of it was in the queue already
            return
        state.queue = self
        self._stats = state.stats
        if self._logprobs is None and state.stream_interval == 1:
            self._detokenizer = state.detokenizer
            state.make_request_output = self.take

    @property
    def began(self) -> float | None:
        """When vLLM's scheduler took the request up, by time.monotonic(), which all processes share."""
        return (self._stats and self._stats.scheduled_ts) or None

    def take(
        self,
        new_token_ids: list[int],
        pooling_output: Any,
        finish_reason: Any,
        stop_reason: int | str | None = None,
        *_: Any,
        **__: Any,
    ) -> None:
        """In place of vLLM's `RequestState.make_request_output`, with its arguments. Returns nothing, so that
        nothing is put.
        """
        finish = None
        try:
            if finish_reason is not None:
                self.finished = True
                finish = _finish(str(finish_reason))
            text = self._detokenizer.get_next_output_text(finish is not None, True)
            if finish is not None:
                text = self._last(text, new_token_ids, finish, stop_reason)
            if self._sink(Delta(text, new_token_ids, finish)):
                self._end(None)
        except Exception as error:
            self._end(error)

    def put(self, output: Any) -> None:
        """Called by vLLM in the event loop's thread, with an output or its last error. What goes wrong
        here is this request's affair: raised, it would end vLLM's output loop.
        """
        if isinstance(output, Exception):
            self.finished = True
            self._end(output)
            return
        if output.finished:
            self.finished = True
        try:
            complete = self._sink(self._delta(output))
        except Exception as error:
            self._end(error)
            return
        if complete:
            self._end(None)
        elif output.finished:
            self._end(EngineDead("vLLM ended the answer without a reason"))

    def _end(self, error: Exception | None) -> None:
        if self.done.done():  # an output after a cancellation
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)

    def _delta(self, output: Any) -> Delta:
        prompt = self._probabilities(output.prompt_token_ids, output.prompt_logprobs)
        made = output.outputs[0]
        finish = None if made.finish_reason is None else _finish(made.finish_reason)
        if not self._generates:  # vLLM generates one token at least
            return Delta("", (), FinishReason.LENGTH, prompt)
        text = made.text
        if finish is not None:
            text = self._last(text, made.token_ids, finish, made.stop_reason)
        return Delta(
            text, made.token_ids, finish, prompt + self._probabilities(made.token_ids, made.logprobs)
        )

    def _last(self, text: str, tokens: Sequence[int], finish: FinishReason, reason: int | str | None) -> str:
        """The last step's text without that of the token that ended the answer, if one did (`reason` is not a
        stop string). vLLM leaves it out by itself but where it is asked to leave stop strings in.
        """
        if not self._stops or finish is not FinishReason.STOP or isinstance(reason, str):
            return text
        if len(tokens) == 1:
            return ""
        end = len(self._decode(tokens)) - len(self._decode(tokens[:-1]))
        return text[: len(text) - end]

    def _probabilities(self, tokens: Sequence[int], positions: Any) -> tuple[TokenLogprob, ...]:
        if self._logprobs is None or not positions:
            return ()
        return tuple(
            _logprob(token, position, self._logprobs)
            for token, position in zip(tokens, positions, strict=True)
        )


def _finish(word: str) -> FinishReason:
    """vLLM's word for how an answer ended. Raises EngineDead where it was not by itself."""
    if word not in _FINISH:
        raise EngineDead(f"vLLM ended the answer: {word}")
    return _FINISH[word]


def _logprob(token: int, position: Any, count: int) -> TokenLogprob:
    if position is None:
        return TokenLogprob(token, None, ())
    ranked = sorted((entry.rank, other, entry.logprob) for other, entry in position.items())
    top = tuple((other, logprob) for rank, other, logprob in ranked if rank <= count)
    own = position[token].logprob
    if math.isnan(own):
        raise NotFinite("the model's log probabilities are no numbers")
    return TokenLogprob(token, own, top)
