"""Admission's arithmetic, by a clock that the test moves."""

from __future__ import annotations

import pytest

from runtime.openai.problem import ApiProblem
from runtime.server.admission import Admission


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def retry_after(admission: Admission, sequences: int = 1, tokens: int = 0) -> int:
    with pytest.raises(ApiProblem) as refused:
        admission.require_room(sequences, tokens)
    assert refused.value.status == 429
    return int(refused.value.headers["Retry-After"])


@pytest.mark.parametrize(("per_second", "expected"), [(10, 1), (1, 2), (0.2, 6)])
def test_retry_after_follows_the_pace_of_late(per_second: float, expected: int) -> None:
    clock = Clock()
    admission = Admission(2, 1000, clock=clock, jitter=lambda: 0.0)
    for _ in range(200):
        with admission.enter([1]):
            clock.now += 1 / per_second
    with admission.enter([1, 1]):
        assert retry_after(admission) in (expected - 1, expected)


def test_retry_after_of_a_queue_is_the_time_that_what_waits_takes() -> None:
    clock = Clock()
    admission = Admission(10, 1000, clock=clock, jitter=lambda: 0.0)
    assert admission.retry_after() == 1  # nothing was measured yet
    for _ in range(100):
        with admission.enter([50]) as ticket:
            clock.now += 1.0
            ticket.began(0)
    with admission.enter([100]):
        few = admission.retry_after()
        with admission.enter([800]):
            assert 1 <= few <= 3
            assert 15 <= admission.retry_after() <= 20
    clock.now += 3600
    with admission.enter([100]):
        assert admission.retry_after() == 60


def test_retry_after_counts_what_is_over_and_is_spread_and_bounded() -> None:
    clock = Clock()
    spread = [0.0]
    admission = Admission(10, 1000, clock=clock, jitter=lambda: spread[0])
    for _ in range(100):
        with admission.enter([1]):
            clock.now += 1.0
    with admission.enter([1] * 10):
        one = retry_after(admission)
        assert one < retry_after(admission, sequences=10) <= 11
        spread[0] = 1.0
        assert 15 <= retry_after(admission, sequences=10) <= 16
        clock.now += 600  # nothing ended for ten minutes: the pace is next to nothing
        assert retry_after(admission, sequences=10) == 60


def test_a_fresh_server_says_a_second() -> None:
    admission = Admission(1, 10, jitter=lambda: 0.0)
    with admission.enter([1]):
        assert retry_after(admission) == 1


def test_tokens_wait_until_their_first_token_only() -> None:
    admission = Admission(10, 100, jitter=lambda: 0.0)
    with admission.enter([60, 40]) as ticket:
        retry_after(admission, tokens=1)
        ticket.began(0)
        ticket.began(0)
        assert admission.waiting_tokens == 40
        with admission.enter([60]):
            assert admission.waiting_tokens == 100
            retry_after(admission, tokens=1)
        assert admission.waiting_tokens == 40
    assert (admission.sequences, admission.waiting_tokens) == (0, 0)


def test_a_prompt_over_the_limit_is_let_in_alone() -> None:
    admission = Admission(10, 100)
    with admission.enter([500]) as ticket:
        retry_after(admission, tokens=1)
        ticket.began(0)
        admission.require_room(1, 500)
