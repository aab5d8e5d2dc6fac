"""What our side of the vLLM engine does with what vLLM says, without vLLM: its own is in test_vllm.py."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.engines.base import Delta, NotFinite, Sampling
from runtime.engines.vllm.engine import VllmEngine
from runtime.engines.vllm.handover import Handover


def decode(tokens: Any) -> str:
    return "".join(chr(token) for token in tokens)


class Detokenizer:
    """Says what came since it was asked last, as vLLM's does."""

    text = ""

    def get_next_output_text(self, finished: bool, delta: bool) -> str:
        said, self.text = self.text, ""
        return said


@pytest.mark.parametrize(
    ("stop", "reason", "tokens", "text"),
    [
        (("bc",), None, "d", ""),  # the end of text, which vLLM leaves in where there are stop strings
        (("bc",), ord("d"), "d", ""),
        (("bc",), ord("d"), "abd", "ab"),  # several tokens of one step
        (("bc",), "bc", "abc", "abc"),  # a stop string is cut above the engine
        ((), None, "", ""),  # here vLLM has left it out by itself
        ((), ord("d"), "ab", "ab"),
    ],
)
async def test_the_text_of_what_ended_an_answer_is_left_out(
    stop: tuple[str, ...], reason: int | str | None, tokens: str, text: str
) -> None:
    got: list[Delta] = []

    def sink(delta: Delta) -> bool:
        got.append(delta)
        return delta.finish_reason is not None

    handover = Handover(Sampling(max_tokens=9, stop=stop), sink, decode)
    state = SimpleNamespace(stats=None, stream_interval=1, detokenizer=Detokenizer(), queue=None)
    queue = SimpleNamespace(request_id="r", output=None)
    handover.take_over(queue, {"r": state})
    state.detokenizer.text = tokens
    ids = [ord(each) for each in tokens] or [0]
    state.make_request_output(ids, None, "stop", reason, None)  # type: ignore[attr-defined]
    await handover.done
    assert [(delta.text, delta.token_ids) for delta in got] == [(text, ids)]


async def test_log_probabilities_that_are_no_numbers_end_their_own_answer() -> None:
    handover = Handover(Sampling(max_tokens=9, logprobs=1), lambda delta: False, decode)
    entry = SimpleNamespace(rank=1, logprob=float("nan"))
    made = SimpleNamespace(
        finish_reason=None, stop_reason=None, text="a", token_ids=[97], logprobs=[{97: entry}]
    )
    handover.put(SimpleNamespace(finished=False, prompt_token_ids=[1], prompt_logprobs=None, outputs=[made]))
    with pytest.raises(NotFinite):
        await handover.done


async def test_a_second_cancellation_does_not_stop_an_abort() -> None:
    """A client that leaves while the server ends, or a deadline after a hang-up."""
    aborted, go = [], asyncio.Event()

    class Engine:
        async def abort(self, request_id: str) -> None:
            await go.wait()
            aborted.append(request_id)

    engine = VllmEngine(None, None)  # type: ignore[arg-type]
    engine._engine = Engine()
    leaving = asyncio.create_task(engine._abort("r"))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    go.set()
    await asyncio.gather(*engine._aborting)
    assert aborted == ["r"]
