"""Several sequences in one call of a model: the logits of each as if alone, whatever joins and leaves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.engines.transformers.batching.alone import Alone
from runtime.engines.transformers.batching.choose import choose
from runtime.engines.transformers.batching.pools import Pools, Row
from runtime.engines.transformers.batching.shared import Shared

from .architectures import ONE_AT_A_TIME, TOGETHER, tiny_model

VOCABULARY = 260


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Two threads that wait for each other take longer with so little to do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def sequence(length: int, seed: int) -> list[int]:
    made = torch.randint(0, VOCABULARY, (length,), generator=torch.Generator().manual_seed(seed))
    return list(made.tolist())


class Forced:
    """Sequences whose every token is given, and the logits that came after each step."""

    def __init__(self, batching: Any) -> None:
        self._batching = batching
        self._rows: dict[int, Row] = {}
        self.held: dict[int, list[int]] = {}
        self.seen: list[tuple[list[int], torch.Tensor]] = []

    def step(self, work: dict[int, list[int]]) -> None:
        for number in work:
            if number not in self._rows:
                self._rows[number], self.held[number] = self._batching.open(), []
        logits = self._batching.step([(self._rows[number], tokens) for number, tokens in work.items()])
        for (number, tokens), row in zip(work.items(), logits, strict=True):
            self.held[number] += tokens
            self.seen.append((list(self.held[number]), row))

    def leave(self, number: int) -> None:
        self._batching.close(self._rows.pop(number))


def assert_as_alone(model: Any, seen: Sequence[tuple[list[int], torch.Tensor]], atol: float) -> None:
    """One forward pass for each prefix, by the model as it came."""
    model.set_attn_implementation("eager")
    for tokens, logits in seen:
        with torch.inference_mode():
            alone = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1]
        torch.testing.assert_close(logits, alone, atol=atol, rtol=1e-3)


@pytest.mark.parametrize("kind", TOGETHER)
def test_sequences_that_share_a_call_have_the_logits_that_they_have_alone(kind: str) -> None:
    """Prompts in parts, tokens, joins and leaves; past the sliding window, and into a larger slot."""
    model = tiny_model(kind, VOCABULARY)
    batching = choose(model, 256)
    assert isinstance(batching, Shared)
    forced = Forced(batching)
    long, short, late = sequence(70, 1), sequence(12, 2), sequence(8, 3)
    forced.step({1: long[:40]})
    forced.step({1: long[40:60], 2: short[:3]})
    forced.step({2: short[3:4], 1: long[60:61], 3: late[:5]})
    for n in range(4, 8):
        beside = {3: late[n + 1 : n + 2]} if n < 7 else {}
        forced.step({1: long[57 + n : 58 + n], **beside, 2: short[n : n + 1]})
        if n == 6:
            forced.leave(3)
    forced.leave(2)
    forced.step({1: long[65:66], 4: late})
    assert_as_alone(model, forced.seen, atol=2e-3)


@pytest.mark.parametrize("kind", ONE_AT_A_TIME)
def test_other_models_hold_one_sequence_at_a_time(kind: str) -> None:
    model = tiny_model(kind, VOCABULARY)
    batching = choose(model, 256)
    assert isinstance(batching, Alone)
    assert (batching.rows, batching.in_parts) == (1, False)
    for seed in (1, 2):  # the second finds nothing of the first
        forced, tokens = Forced(batching), sequence(14, seed)
        forced.step({1: tokens[:10]})
        for n in range(10, 14):
            forced.step({1: tokens[n : n + 1]})
        with torch.inference_mode():
            alone = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1]
        torch.testing.assert_close(forced.seen[-1][1], alone, atol=2e-3, rtol=1e-3)


def test_what_a_short_trial_would_not_show_is_refused() -> None:
    """Positions that depend on the longest sequence, and layers of an unknown kind."""
    changing = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    model = tiny_model("llama", VOCABULARY, rope_parameters=changing, max_position_embeddings=64)
    assert isinstance(choose(model, 256), Alone)
    assert isinstance(choose(model, 64), Shared)
    model = tiny_model("llama", VOCABULARY)
    model.config.layer_types = ["full_attention", "chunked_attention"]
    assert isinstance(choose(model, 256), Alone)


class WithoutWindow:
    """A model's configuration, as it is but for that."""

    sliding_window = None

    def __init__(self, config: Any) -> None:
        self._config = config

    def __getattr__(self, name: str) -> Any:
        return getattr(self._config, name)


def test_a_model_that_hides_its_window_or_computes_otherwise_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model("mistral", VOCABULARY, sliding_window=100)
    for layer in model.model.layers:
        layer.self_attn.config = WithoutWindow(model.config)
    assert isinstance(choose(model, 256), Alone)
    model = tiny_model("llama", VOCABULARY)
    before = model.config._attn_implementation
    forward = model.model.rotary_emb.forward
    # Positions within the call, as a model would have them that does not look at `position_ids`.
    monkeypatch.setattr(
        model.model.rotary_emb,
        "forward",
        lambda states, position_ids: forward(states, torch.arange(states.shape[1]).unsqueeze(0)),
    )
    assert isinstance(choose(model, 256), Alone)
    assert model.config._attn_implementation == before


class Tokens:
    """A pool's content is told apart by its numbers."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.row = Row()


@given(moves=st.lists(st.tuples(st.sampled_from(["join", "grow", "leave"]), st.integers(0, 5)), max_size=60))
@settings(deadline=None, max_examples=60)
def test_every_row_keeps_what_it_holds(moves: list[tuple[str, int]]) -> None:
    """Rows join with a prompt, outgrow their slots, and leave holes."""
    pools = Pools(longest=256)
    held: list[Tokens] = []
    number = 0
    for move, which in moves:
        if move == "join":
            number += 1
            mine = Tokens(number)
            write(pools.private(mine.row, 50 + which * 20), mine, 50 + which * 20)
            held.append(mine)
        elif held and move == "leave":
            mine = held.pop(which % len(held))
            assert mine.row.pool is not None
            mine.row.pool.remove(mine.row)
        elif held:
            mine = held[which % len(held)]
            if mine.row.length < 256:
                write(pools.settle(mine.row), mine, 1)
        for each in held:
            pool = each.row.pool
            assert pool is not None
            assert pool.rows[each.row.slot] is each.row
            keys, values = pool.layer(0, LIKE, LIKE)
            assert keys[each.row.slot, 0, : each.row.length, 0].tolist() == [
                each.number * 1000 + n for n in range(each.row.length)
            ]
            assert values[each.row.slot, 0, : each.row.length, 0].eq(-each.number).all()
    slots = sum(len(pool.rows) for pool in pools)
    assert slots <= len(held)


LIKE = torch.zeros(1, 1, 1)


def write(pool: Any, mine: Tokens, count: int) -> None:
    keys, values = pool.layer(0, LIKE, LIKE)
    row = mine.row
    for n in range(row.length, row.length + count):
        keys[row.slot, 0, n, 0] = mine.number * 1000 + n
        values[row.slot, 0, n, 0] = -mine.number
    row.length += count
