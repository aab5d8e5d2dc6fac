"""The thread that owns the model: step after step, answers come and go between two of them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

import structlog
import torch

from runtime.engines.base import EngineDead, FinishReason, Load, TokenLogprob
from runtime.engines.transformers.answer import Answer, Token, deliver
from runtime.engines.transformers.batching.pools import Row
from runtime.engines.transformers.budget import PromptBudget, parts
from runtime.engines.transformers.loading import Loaded
from runtime.engines.transformers.sampling import choose
from runtime.engines.transformers.scoring import most_in_step, scores

log = structlog.get_logger()

_STOP_SECONDS = 10.0

Work = list[tuple[Answer, Sequence[int]]]


class Worker(threading.Thread):
    """`submit`, `abandon`, `load` and `stop` are for the event loop."""

    def __init__(self, loaded: Loaded, rows: int) -> None:
        """`rows`: answers decoded at the same time, where the model can."""
        super().__init__(name="transformers-engine", daemon=True)
        self.problem: str | None = None
        self.steps = 0
        self._loaded = loaded
        self._batching = loaded.batching
        self._rows = min(rows, loaded.batching.rows or rows)
        self._budget = PromptBudget()
        self.preempted = 0
        self.used = 0.0
        self._scored = most_in_step(loaded.tokenizer.vocab_size)
        self._wake = threading.Condition()
        self._waiting: deque[Answer] = deque()
        self._running: dict[Answer, Row] = {}
        self._stopping = False

    def submit(self, answer: Answer) -> None:
        """Raises EngineDead."""
        with self._wake:
            if self._stopping or self.problem is not None:
                raise EngineDead(self.problem or "the engine is stopping")
            self._waiting.append(answer)
            self._wake.notify()

    def abandon(self, answer: Answer) -> None:
        """Nobody waits for it any more; its row is free before the next step."""
        with self._wake:
            answer.abandoned = True
            if answer in self._waiting:
                self._waiting.remove(answer)
            self._wake.notify()

    def load(self) -> Load:
        """Answers with a row, and those that wait for one."""
        return Load(len(self._running), len(self._waiting), self.used, self.preempted)

    def stop(self) -> None:
        """Blocks until the step under way is done."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self.join(_STOP_SECONDS)

    def run(self) -> None:
        """Until `stop`, or until the model fails."""
        try:
            # Also for what moves rows between steps: a step's tensors may not be changed outside of it.
            with torch.inference_mode():
                while self._admit():
                    self._step()
        except Exception as error:
            log.exception("the model's thread failed")
            self.problem = f"{type(error).__name__}: {error}"
        with self._wake:
            self._stopping = True
            left = [*self._running, *self._waiting]
            self._running, self._waiting = {}, deque()
        dead = EngineDead(self.problem or "the engine was stopped")
        deliver([(answer, dead) for answer in left])

    def _admit(self) -> bool:
        """Let abandoned answers go and waiting ones in; wait while there is neither. False: stop."""
        with self._wake:
            self._drop()
            self._measure()
            while not self._stopping and not self._waiting and not self._running:
                self._wake.wait()
            while self._waiting and len(self._running) < self._rows and self._fits(self._waiting[0]):
                answer = self._waiting.popleft()
                answer.begin()
                self._running[answer] = row = self._batching.open()
                row.scored = answer.scored
            return not self._stopping

    def _drop(self) -> None:
        """Lets those go that nobody waits for, and the newest where memory gets short: they read again what
        they had, once there is room.
        """
        for answer in [answer for answer in self._running if answer.abandoned]:
            self._batching.close(self._running.pop(answer))
        while not self._fits():
            answer, row = self._running.popitem()
            self._batching.close(row)
            self._waiting.appendleft(answer)
            self.preempted += 1

    def _fits(self, newcomer: Answer | None = None) -> bool:
        """Whether all that runs, and one more, may get its next token; one alone always may."""
        if not self._loaded.columns or len(self._running) + (newcomer is not None) < 2:
            return True
        # Who reads still gets a token's place beside it: else it would read in vain.
        lengths = {row: answer.length + (answer.left > 0) for answer, row in self._running.items()}
        if newcomer is not None:
            lengths[Row()] = newcomer.length + 1
        return self._batching.needed(lengths) <= self._loaded.columns

    def _measure(self) -> None:
        if self._loaded.columns:
            self.used = self._batching.held(self._running.values()) / self._loaded.columns

    def _step(self) -> None:
        """One call of the model, and a token for each answer whose prompt is in."""
        work: Work = [(answer, answer.made[-1:]) for answer in self._running if not answer.left]
        decoding = len(work)
        work += self._prompts(running=decoding)
        began = time.monotonic()
        try:
            logits = self._batching.step([(self._running[answer], tokens) for answer, tokens in work])
        except Exception as error:
            prompts = [answer for answer, _ in work[decoding:]]
            if not prompts:
                raise
            # As long as the others get on without them, the trouble is that of these prompts alone.
            log.exception("prompts failed", prompts=len(prompts))
            deliver([(answer, _failed(answer, error)) for answer in prompts])
            return
        self.steps += 1
        self._measure()
        taken = sum(len(tokens) for _, tokens in work[decoding:])
        self._budget.spent(taken, time.monotonic() - began, running=decoding > 0)
        over = self._read(work[decoding:])
        deliver(list(over.items()))
        ready = [n for n, (answer, _) in enumerate(work) if not answer.left and answer not in over]
        answers = [work[n][0] for n in ready]
        choices = choose(
            [answer.sampler for answer in answers], logits if len(ready) == len(work) else logits[ready]
        )
        deliver(
            [
                (
                    answer,
                    _failed(answer, choice) if isinstance(choice, Exception) else self._grow(answer, *choice),
                )
                for answer, choice in zip(answers, choices, strict=True)
            ]
        )

    def _read(self, prompts: Work) -> dict[Answer, Token | Exception]:
        """These parts of prompts are in; the answers that are over with that, and how."""
        over: dict[Answer, Token | Exception] = {}
        for answer, tokens in prompts:
            try:
                if self._took(answer, len(tokens)):
                    over[answer] = _ended(answer)
            except Exception as error:
                over[answer] = _failed(answer, error)
        return over

    def _took(self, answer: Answer, count: int) -> bool:
        """So many tokens of its prompt are in; whether that was all there is to do."""
        row, taken = self._running[answer], answer.taken
        answer.taken += count
        if row.logits is not None:
            following = answer.prompt[taken + 1 : answer.taken + 1]
            answer.scores += scores(row.logits, following, answer.sampling.logprobs or 0)
            row.logits = None
        if answer.left:
            return False
        row.scored = False
        return answer.sampling.max_tokens == 0

    def _prompts(self, *, running: int) -> Work:
        """What of the prompts the next step takes in."""
        answers = [answer for answer in self._running if answer.left]
        if not answers or not self._batching.in_parts:
            return [(answer, answer.reading) for answer in answers]
        budget = self._budget.tokens(running=running, reading=len(answers))
        shares = parts(self._within_memory(answers), budget)
        return [
            (answer, answer.reading[answer.taken : answer.taken + share])
            for answer, share in zip(answers, shares, strict=True)
            if share
        ]

    def _within_memory(self, answers: Sequence[Answer]) -> list[int]:
        """What is left of the prompts, no more than fits where the logits of all tokens are wanted."""
        room, left = self._scored, []
        for answer in answers:
            scored = answer.scored
            left.append(min(answer.left, room) if scored else answer.left)
            room -= left[-1] if scored else 0
        return left

    def _grow(self, answer: Answer, token: int, logprob: TokenLogprob | None) -> Token:
        """The answer's next token; an answer that ends with it gives its row back."""
        answer.made.append(token)
        sampling = answer.sampling
        finish = None
        if token in sampling.stop_token_ids or (token in self._loaded.ends and not sampling.ignore_eos):
            finish = FinishReason.STOP
        elif len(answer.made) >= sampling.max_tokens or answer.length >= self._loaded.max_model_len:
            finish = FinishReason.LENGTH
        if finish is not None:  # never back to False: its client may have left during the step
            answer.abandoned = True
        return Token(token, logprob, finish)


def _failed(answer: Answer, error: Exception) -> Exception:
    """An answer that can have no further token gives its row back; the others go on."""
    answer.abandoned = True
    return error


def _ended(answer: Answer) -> Token:
    """An answer whose prompt was only to be read gives its row back."""
    answer.abandoned = True
    return Token(None, None, FinishReason.LENGTH)
