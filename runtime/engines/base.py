"""What an engine is: the one seam between the OpenAI layer and whatever generates tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from runtime.state import BackendReason, Phase, Progress
from runtime.text.tokenizer import Tokenizer


class OneAtATime(StrEnum):
    """Why a model's answers cannot be generated together."""

    LAYERS = "Layers"
    POSITIONS = "Positions"
    ATTENTION = "Attention"
    LOGITS = "Logits"
    TRIAL_FAILED = "TrialFailed"


class FinishReason(StrEnum):
    """Why an answer ended, in OpenAI's words."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one answer is generated; every value is already checked and every default filled in.

    `max_tokens` 0: the prompt is only read, for its log probabilities. `temperature` 0 is greedy. `top_k` 0,
    `top_p` 1 and `min_p` 0 are off. `logprobs` None: none wanted; n: the chosen token and the n most likely
    ones. `prompt_logprobs`: the same for the prompt's tokens; the first delta's `logprobs` begin with theirs,
    one for each. `grammar`: what the whole answer must match, as one of
    xgrammar's structural tags in JSON; checked before, and never together with `ignore_eos` or `min_tokens`.
    `grammar_param`: the request's field that it is made of.
    """

    max_tokens: int
    min_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    prompt_logprobs: bool = False
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    grammar: str | None = None
    grammar_param: str | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The log probability of a token and of the most likely ones in its place; None and none for a prompt's
    first token, which follows nothing.
    """

    token_id: int
    logprob: float | None
    top: tuple[tuple[int, float], ...]


@dataclass(slots=True)
class Delta:
    """What one step added to an answer. `text` may lag behind `token_ids` (a character in the making).

    `text` may run past a stop string; the OpenAI layer cuts it there. The token that ended the answer (end
    of text, or one of `stop_token_ids`) is among `token_ids`, and its text is not in `text`. Never changed
    once made; not frozen, as one is made for every token and that would double what it costs.
    """

    text: str
    token_ids: Sequence[int]
    finish_reason: FinishReason | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


Sink = Callable[[Delta], bool]
"""Takes a delta in the event loop's thread, at once; says whether the answer is complete with it."""


@dataclass(frozen=True)
class ModelFacts:
    """What the OpenAI layer must know of the loaded model.

    `default_sampling`: values of the model's generation_config.json by OpenAI's names, for requests that
    leave them out. `max_logprobs` 0: this engine has none. `structured`: it enforces `Sampling.grammar`.
    `embeds`: the model gives embeddings (`Embedder`) and no text. `on_cpu`: steps take seconds at times.
    `one_at_a_time`: why one answer waits for another, with a sentence for people; None where none does.
    """

    max_model_len: int
    tokenizer: Tokenizer
    default_sampling: Mapping[str, float] = field(default_factory=dict)
    max_logprobs: int = 0
    structured: bool = False
    embeds: bool = False
    on_cpu: bool = False
    one_at_a_time: tuple[OneAtATime, str] | None = None


@dataclass(frozen=True)
class Load:
    """What an engine is working on. `cache`: the share of its memory for keys and values that is in use, and
    `preempted`: how many sequences had to leave it for others so far; None where the engine does not know.
    """

    running: int
    waiting: int
    cache: float | None = None
    preempted: int | None = None


@dataclass(frozen=True)
class ModelFiles:
    """Where the model to load is. `tokenizer` differs from `path` only where a flag says so."""

    path: Path
    tokenizer: Path


class Unsupported(Exception):
    """The backend cannot serve this model here, and another one might: known before weights are loaded."""

    def __init__(self, reason: BackendReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class EngineRefused(Exception):
    """The engine does not take this request; the message is for the client, `param` the field it is about."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class EngineBusy(Exception):
    """The engine's own queue is full."""


class NotFinite(Exception):
    """What the model computed for this request is infinite or no number, as half precision has it."""


class EngineDead(Exception):
    """The engine ended and will not come back; the process must end too."""


class Reporter(Protocol):
    """How an engine tells how far its start is; callable from any thread."""

    def phase(self, phase: Phase) -> None:
        """A new phase of the start has begun."""

    def progress(self, progress: Progress) -> None:
        """The current phase got so far."""


class Engine(Protocol):
    """Generates tokens. Everything is called in the event loop's thread and never blocks it."""

    name: str
    own_metrics: bool
    """Whether the engine registers vLLM's metrics by itself."""

    async def start(self, report: Reporter) -> ModelFacts:
        """Loads the model. Raises Failure."""

    async def stop(self) -> None:
        """Frees everything, within seconds; unfinished answers end with EngineDead."""

    def problem(self) -> str | None:
        """Why the engine can no longer answer, or None while it can."""

    def load(self) -> Load:
        """How many answers are being generated and how many wait."""

    def steps(self) -> int:
        """A number that changes with every step of work, be it a part of a long prompt."""

    async def push(self, request_id: str, prompt: Sequence[int], sampling: Sampling, sink: Sink) -> None:
        """One answer: hands `sink` its deltas as they come, the last with a finish_reason, and returns when
        that one was given or `sink` wants no more. Cancelling it frees its work at once.

        Raises EngineDead, EngineRefused, EngineBusy, and what `sink` raises.
        """


class Pulled(ABC):
    """Makes `Engine.push` of an engine's own generator of deltas."""

    @abstractmethod
    def generate(
        self, request_id: str, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Delta, None]:
        """One answer, as deltas; the last has a finish_reason. Closing it early frees its work at once.

        Raises EngineDead, EngineRefused, EngineBusy.
        """

    async def push(self, request_id: str, prompt: Sequence[int], sampling: Sampling, sink: Sink) -> None:
        """`Engine.push`."""
        async with aclosing(self.generate(request_id, prompt, sampling)) as deltas:
            async for delta in deltas:
                if sink(delta):
                    return


class WritesNoText:
    """`Engine.push` of an engine that only embeds."""

    async def push(self, request_id: str, prompt: Sequence[int], sampling: Sampling, sink: Sink) -> None:
        """Nothing. Raises EngineRefused."""
        raise EngineRefused("This model gives embeddings and writes no text.", "model")


@runtime_checkable
class Timed(Protocol):
    """What an engine has besides, where it knows how long requests waited for it."""

    def began(self, request_id: str) -> float | None:
        """When an answer under way left the queue, by time.monotonic(); None where it did not, or is over."""


class Embedder(Protocol):
    """What an engine has besides, where `ModelFacts.embeds`."""

    async def embed(self, request_id: str, prompts: Sequence[Sequence[int]]) -> list[Sequence[float]]:
        """One vector for each prompt, in order. Cancelling it frees its work.

        Raises EngineDead, EngineRefused, EngineBusy.
        """
