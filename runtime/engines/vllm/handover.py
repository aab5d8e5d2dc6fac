"""Taking a request's outputs where vLLM makes them.

AsyncLLM puts each output into a queue (RequestOutputCollector) and wakes the request's task to take it out
again. Here the request's own object stands in the queue's place and passes outputs on as they are put.
"""

from __future__ import annotations

import asyncio
from typing import Any

from runtime.engines.base import Delta, EngineDead, FinishReason, Sampling, Sink, TokenLogprob

_FINISH = {each.value: each for each in FinishReason}


class Handover:
    """One request. `done` ends with the answer, or with why there is none."""

    def __init__(self, sampling: Sampling, sink: Sink) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.finished = False
        """Whether vLLM is done with the request: it ended by itself, or the engine died."""
        self._logprobs = sampling.logprobs
        self._sink = sink

    def take_over(self, queue: Any, states: dict[str, Any]) -> None:
        """From now on outputs come here. `states`: of the requests that vLLM works on, by its own ids."""
        state = states.get(queue.request_id)
        if state is not None:  # else all of it is in the queue already
            state.queue = self
        if queue.output is not None:
            self.put(queue.output)

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
            complete = self._sink(self._delta(output.outputs[0]))
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
        finish = None
        if output.finish_reason is not None:
            finish = _FINISH.get(output.finish_reason)
            if finish is None:
                raise EngineDead(f"vLLM ended the answer: {output.finish_reason}")
        logprobs: tuple[TokenLogprob, ...] = ()
        if self._logprobs is not None and output.logprobs:
            logprobs = tuple(
                _logprob(token, position, self._logprobs)
                for token, position in zip(output.token_ids, output.logprobs, strict=True)
            )
        return Delta(output.text, output.token_ids, finish, logprobs)


def _logprob(token: int, position: Any, count: int) -> TokenLogprob:
    ranked = sorted((entry.rank, other, entry.logprob) for other, entry in position.items())
    top = tuple((other, logprob) for rank, other, logprob in ranked if rank <= count)
    return TokenLogprob(token, position[token].logprob, top)
