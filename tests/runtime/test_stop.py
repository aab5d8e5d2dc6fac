"""Stop strings: the answer is cut at the same place however its text is cut into pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtime.text.stop import StopMatcher

from .scripted import ScriptedEngine
from .serving import serve

# Few letters, so that stop strings occur, overlap and begin without ending.
words = st.text("ab", min_size=1, max_size=4)


def run(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    matcher = StopMatcher(stops)
    said = []
    for piece in pieces:
        said.append(matcher.feed(piece))
        if matcher.hit:
            return "".join(said), True
    return "".join(said) + matcher.flush(), False


def expected(stops: list[str], text: str) -> tuple[str, bool]:
    """By definition: the stop that is complete first, the longest of those that end together."""
    for end in range(1, len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)], True
    return text, False


@given(
    stops=st.lists(words, min_size=1, max_size=4), pieces=st.lists(st.text("abc", max_size=5), max_size=12)
)
def test_the_cut_does_not_depend_on_the_borders(stops: list[str], pieces: list[str]) -> None:
    assert run(stops, pieces) == expected(stops, "".join(pieces))


@given(
    stops=st.lists(words, min_size=1, max_size=4), pieces=st.lists(st.text("abc", max_size=5), max_size=12)
)
def test_what_is_said_is_never_taken_back(stops: list[str], pieces: list[str]) -> None:
    final, _ = expected(stops, "".join(pieces))
    matcher = StopMatcher(stops)
    said = ""
    for piece in pieces:
        said += matcher.feed(piece)
        assert final.startswith(said)
        if matcher.hit:
            break


@given(
    stops=st.lists(words, min_size=1, max_size=4),
    before=st.lists(st.text("abc", max_size=5), max_size=6),
    after=st.lists(st.text("abc", max_size=5), max_size=6),
)
def test_a_stop_string_may_begin_but_not_end_in_what_is_passed_over(
    stops: list[str], before: list[str], after: list[str]
) -> None:
    text, free = "".join(before + after), len("".join(before))
    ends = [
        (end, end - len(stop))
        for end in range(free + 1, len(text) + 1)
        for stop in stops
        if text[:end].endswith(stop)
    ]
    matcher = StopMatcher(stops)
    said = [matcher.pass_over(piece) for piece in before]
    for piece in after:
        said.append(matcher.feed(piece))
        if matcher.hit:
            break
    assert matcher.hit == bool(ends)
    assert "".join(said) + matcher.flush() == (text[: min(ends)[1]] if ends else text)


def test_text_that_begins_no_stop_string_is_said_at_once() -> None:
    matcher = StopMatcher(["STOP"])
    assert matcher.feed("no ST") == "no "
    assert matcher.feed("ART") == "START"


def test_without_stops_everything_passes() -> None:
    matcher = StopMatcher([])
    assert (matcher.feed("abc"), matcher.flush(), matcher.hit) == ("abc", "", False)


async def test_min_tokens_let_a_stop_string_begin() -> None:
    """Of "bc" the first letter is among the tokens that there must be, and the second is not: as on vLLM."""
    async with serve(engine=ScriptedEngine("abcd", step=1)) as server:
        for least, text, reason in (
            (1, "a", "stop"),
            (2, "a", "stop"),
            (3, "abcd", "stop"),
            (4, "abcd", "stop"),
        ):
            answer = await server.openai.completions.create(
                model="m", prompt="x", max_tokens=9, stop="bc", extra_body={"min_tokens": least}
            )
            assert (answer.choices[0].text, answer.choices[0].finish_reason) == (text, reason), least
