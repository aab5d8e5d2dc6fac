"""Choosing tokens: what requests ask for changes the choice as vLLM defines it, and nothing else does."""

from __future__ import annotations

import importlib
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.engines.base import NotFinite, Sampling
from runtime.engines.transformers.drawing import draw as draw_rows
from runtime.engines.transformers.drawing import weights
from runtime.engines.transformers.sampling import Choice, Sampler, choose


def sampler(
    sampling: Sampling, prompt: list[int] | None = None, ends: frozenset[int] = frozenset()
) -> Sampler:
    return Sampler(sampling, prompt or [], ends)


def one(chooser: Sampler, logits: torch.Tensor) -> Choice:
    return taken(choose([chooser], logits.clone().unsqueeze(0))[0])


def taken(choice: Choice | Exception) -> Choice:
    assert not isinstance(choice, Exception)
    return choice


def draw(sampling: Sampling, logits: list[float], times: int = 400) -> Counter[int]:
    """The tokens of so many answers with seeds of their own, in one batch."""
    samplers = [sampler(replace(sampling, seed=n)) for n in range(times)]
    return Counter(taken(each)[0] for each in choose(samplers, torch.tensor(logits).repeat(times, 1)))


SAMPLINGS = st.builds(
    Sampling,
    max_tokens=st.just(9),
    temperature=st.sampled_from([0.005, 0.3, 0.8, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 3, 20, 10_000]),
    top_p=st.sampled_from([1.0, 0.99, 0.9, 0.5, 0.01]),
    min_p=st.sampled_from([0.0, 0.0, 0.02, 0.3, 1.0]),
    presence_penalty=st.sampled_from([0.0, 0.7, -1.0]),
    frequency_penalty=st.sampled_from([0.0, 0.4]),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.8]),
    logit_bias=st.sampled_from([{}, {3: 4.0, 7: -100.0, 39: 100.0}, {11: -2.5}]),
    min_tokens=st.sampled_from([0, 4, 5]),  # four are generated
    seed=st.integers(0, 2**64),
)


def test_frequencies_follow_the_probabilities() -> None:
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    counts = draw(Sampling(max_tokens=1), probabilities.log().tolist(), 2000)
    for token, probability in enumerate(probabilities.tolist()):
        assert counts[token] / 2000 == pytest.approx(probability, abs=0.04)


@given(samplings=st.lists(SAMPLINGS, min_size=1, max_size=2), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_every_token_has_its_share_of_the_random_numbers(samplings: list[Sampling], seed: int) -> None:
    """With numbers at even distances a token comes as often as its probability says, to one time."""
    times = 500
    logits = torch.randn(len(samplings), 40, generator=torch.Generator().manual_seed(seed)) * 2
    shares = weights(logits.clone(), samplings)
    shares /= shares.sum(-1, keepdim=True)
    for n, sampling in enumerate(samplings):
        numbers = [(step + 0.5) / times for step in range(times)]
        drawn = Counter(draw_rows(logits[n].repeat(times, 1), [sampling] * times, numbers))
        for token, share in enumerate(shares[n].tolist()):
            assert abs(drawn[token] - share * times) <= 1.01
            assert share > 0 or not drawn[token]


def test_the_ends_of_the_random_numbers_are_tokens_that_can_be_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, 1.0, -torch.inf]])
    assert draw_rows(logits, [Sampling(max_tokens=1)], [0.0]) == [1]
    assert draw_rows(logits, [Sampling(max_tokens=1)], [1 - 2**-53]) == [2]


@pytest.mark.parametrize("broken", [[torch.nan] * 3, [0.0, torch.inf, 0.0], [-torch.inf] * 3])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_numbers_that_are_not_finite_end_their_own_answer_alone(
    broken: list[float], temperature: float
) -> None:
    samplers = [sampler(Sampling(max_tokens=1, temperature=temperature)) for _ in range(3)]
    first, second, third = choose(samplers, torch.tensor([[-90.0, 90.0, 0.0], broken, [90.0, -90.0, 0.0]]))
    assert (first, third) == ((1, None), (0, None))
    assert isinstance(second, NotFinite)


def test_a_row_without_numbers_draws_no_token_that_is_none() -> None:
    (token,) = draw_rows(torch.full((1, 4), torch.nan), [Sampling(max_tokens=1)], [0.5])
    assert 0 <= token < 4


def test_penalties_and_biases() -> None:
    even = torch.tensor([1.0, 0.9, 0.8])

    def greedy(prompt: list[int], times: int, **changes: Any) -> list[int]:
        chooser = sampler(Sampling(max_tokens=9, temperature=0.0, **changes), prompt)
        return [one(chooser, even)[0] for _ in range(times)]

    for change in ({"presence_penalty": 0.5}, {"frequency_penalty": 0.5}, {"repetition_penalty": 2.0}):
        assert greedy([], 3, **change) == [0, 1, 2]
    assert greedy([], 1, logit_bias={2: 5.0}) == [2]
    # A repetition penalty counts the prompt too, the others do not.
    assert greedy([0], 1, repetition_penalty=2.0) == [1]
    assert greedy([0], 1, presence_penalty=2.0) == [0]


def test_ends_are_out_of_reach_until_min_tokens() -> None:
    chooser = sampler(Sampling(max_tokens=9, min_tokens=2, temperature=0.0), ends=frozenset({0}))
    assert [one(chooser, torch.tensor([5.0, 1.0]))[0] for _ in range(3)] == [1, 1, 0]


@given(logits=st.lists(st.floats(-30, 30), min_size=3, max_size=12))
@settings(deadline=None)
def test_logprobs_are_the_models_own(logits: list[float]) -> None:
    sampling = Sampling(max_tokens=1, logprobs=2, temperature=0.5, logit_bias={0: 3.0})
    token, logprob = one(sampler(sampling), torch.tensor(logits))
    expected = torch.log_softmax(torch.tensor(logits), -1)
    assert logprob is not None
    assert logprob.logprob == pytest.approx(float(expected[token]), abs=1e-5)
    assert [value for _, value in logprob.top] == pytest.approx(
        sorted(expected.tolist(), reverse=True)[:2], abs=1e-5
    )


@given(samplings=st.lists(SAMPLINGS, min_size=1, max_size=5), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=150)
def test_what_can_be_drawn_is_what_vllm_would_draw_from(samplings: list[Sampling], seed: int) -> None:
    """vLLM's own functions say the probabilities of each row; ours come for all rows together."""
    penalize = pytest.importorskip("vllm.model_executor.layers.utils").apply_penalties
    cut = importlib.import_module("vllm.v1.sample.ops.topk_topp_sampler").apply_top_k_top_p_pytorch
    random = torch.Generator().manual_seed(seed)
    # A few hundred distinct values: logits in 16 bits have ties.
    logits = (torch.randn(len(samplings), 500, generator=random) * 3).bfloat16().float()
    prompt, output = [3, 5, 5, 9], [5, 7, 7, 11]
    ours = logits.clone()
    for row, sampling in zip(ours, samplings, strict=True):
        chooser = sampler(sampling, prompt, frozenset({2, 5}))
        for token in output:
            chooser.chose(token)
        chooser.adjust(row)
    made = weights(ours, samplings)
    for n, sampling in enumerate(samplings):
        numbers = [sampling.presence_penalty, sampling.frequency_penalty, sampling.repetition_penalty]
        penalties = [torch.tensor([number]) for number in numbers]
        # Minimum length and bias are its logits processors, and come first (Sampler.apply_logits_processors).
        theirs = logits[n : n + 1].clone()
        for token, bias in sampling.logit_bias.items():
            theirs[0, token] += bias
        if len(output) < sampling.min_tokens:
            theirs[0, [2, 5]] = -torch.inf
        theirs = penalize(theirs, torch.tensor([prompt]), torch.tensor([output]), *penalties)
        theirs = theirs / max(sampling.temperature, 0.01)
        likely = theirs.softmax(-1)
        theirs[likely < sampling.min_p * likely.max()] = -torch.inf
        count = sampling.top_k if 0 < sampling.top_k < 500 else 500
        theirs = cut(theirs, torch.tensor([count]), torch.tensor([sampling.top_p]))
        expected = theirs.softmax(-1)[0]
        assert_drawn_alike(made[n] / made[n].sum(), expected)


def assert_drawn_alike(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """The same tokens with the same probabilities; among equally likely ones at the edge any may be in."""
    torch.testing.assert_close(
        ours.sort(descending=True).values, theirs.sort(descending=True).values, atol=2e-5, rtol=1e-3
    )
    other = (ours > 0) != (theirs > 0)
    if other.any():
        edge = torch.maximum(ours, theirs)[other]
        assert edge.max() - edge.min() <= 2e-5


@given(samplings=st.lists(SAMPLINGS, min_size=2, max_size=5), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=50)
def test_a_row_is_drawn_as_if_alone(samplings: list[Sampling], seed: int) -> None:
    logits = torch.randn(len(samplings), 300, generator=torch.Generator().manual_seed(seed)) * 2
    together = choose([sampler(each) for each in samplings], logits.clone())
    assert together == [one(sampler(each), row) for each, row in zip(samplings, logits, strict=True)]
