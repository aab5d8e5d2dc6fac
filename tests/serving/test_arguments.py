"""Flags are merged as flags: the user's replace the runtime's, in whatever way either is written."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.serving.rendering.arguments import flag_names, merge_args, parse_flags, split, value_of

MERGES = [
    ("appended", ["--a=1"], ["--b=2"], ["--a=1", "--b=2"]),
    ("replaced", ["--a=1", "--c=3"], ["--a=2"], ["--c=3", "--a=2"]),
    ("written apart over joined", ["--a=1"], ["--a", "2"], ["--a", "2"]),
    ("joined over written apart", ["--a", "1", "--c"], ["--a=2"], ["--c", "--a=2"]),
    ("underscore over dash", ["--max-len=1"], ["--max_len=2"], ["--max_len=2"]),
    ("negation over flag", ["--cache"], ["--no-cache"], ["--no-cache"]),
    ("flag over negation", ["--no_cache"], ["--cache"], ["--cache"]),
    ("all of the runtime's repeats go", ["--l=a", "--l=b"], ["--l=c"], ["--l=c"]),
    ("the user's repeats stay", ["--l=a"], ["--l=b", "--l=c"], ["--l=b", "--l=c"]),
    ("several values", ["--l", "a", "b", "--x"], ["--l", "c"], ["--x", "--l", "c"]),
    ("negative number is a value", ["--t", "-1"], ["--t", "-.5"], ["--t", "-.5"]),
    ("short flags", ["-tp", "1"], ["-tp", "2"], ["-tp", "2"]),
    ("short is not long", ["--o=1"], ["-o", "2"], ["--o=1", "-o", "2"]),
    ("prefix is another flag", ["--max=1"], ["--max-len=2"], ["--max=1", "--max-len=2"]),
    ("value with equals signs", ["--j={}"], ['--j={"a"="b=c"}'], ['--j={"a"="b=c"}']),
    ("empty value", ["--a=1"], ["--a="], ["--a="]),
    ("positional words stay before flags", ["serve", "--a=1"], ["model"], ["serve", "model", "--a=1"]),
    ("no value is stolen by a positional", ["--x"], ["pos", "--y=1"], ["pos", "--x", "--y=1"]),
    ("after -- nothing is a flag", ["--a=1", "--", "--b"], ["--b=2"], ["--a=1", "--b=2", "--", "--b"]),
    ("shell script", ["exec llm --a=1"], ["--a=2"], ["exec llm --a=1", "--a=2"]),
    ("the whole over its keys", ["--j.a=1", "--j.b.c=2", "--ja=3"], ["--j={}"], ["--ja=3", "--j={}"]),
    ("a key over the same key", ["--j.a=1", "--j.b=2"], ["--j.a=3"], ["--j.b=2", "--j.a=3"]),
    ("nothing", [], [], []),
]


@pytest.mark.parametrize(
    ("runtime", "user", "merged"), [row[1:] for row in MERGES], ids=[row[0] for row in MERGES]
)
def test_merge(runtime: list[str], user: list[str], merged: list[str]) -> None:
    assert merge_args(runtime, user) == merged


@pytest.mark.parametrize(
    ("runtime", "user", "merged"),
    [
        (["--a=1", "--b=1"], ["--a=2"], ["--a=1", "--b=1", "--a=2"]),
        (["--a-x", "1"], ["--a_x=2"], ["--a_x=2"]),
        (["--c-d=1", "--a=1"], ["--c_d=2", "--a=2"], ["--c-d=1", "--a=1", "--c_d=2", "--a=2"]),
    ],
)
def test_repeatable_flags_add_up(runtime: list[str], user: list[str], merged: list[str]) -> None:
    assert merge_args(runtime, user, flag_names("--a, c-d")) == merged


@pytest.mark.parametrize(
    ("text", "names"),
    [("", set()), ("a", {"a"}), (" --a-b,c\n-d ,, --", {"a_b", "c", "d"})],
)
def test_names_of_flags_as_people_list_them(text: str, names: set[str]) -> None:
    assert flag_names(text) == names


@pytest.mark.parametrize(
    ("args", "name", "value"),
    [
        (["--model_id=a/b"], "model_id", "a/b"),
        (["--model-id", "a/b"], "model_id", "a/b"),
        (["--model_id=a", "--model-id=b"], "--model-id", "b"),
        (["--x"], "x", ""),
        (["--no-x"], "x", None),
        (["x"], "x", None),
        (["--", "--x=1"], "x", None),
    ],
)
def test_value_of(args: list[str], name: str, value: str | None) -> None:
    assert value_of(args, name) == value


def test_flags_know_where_they_stand() -> None:
    flags = parse_flags(["run", "--a", "1", "2", "--b=3", "stray", "--c"])
    assert [(flag.index, flag.name, flag.values) for flag in flags] == [
        (1, "a", ("1", "2")),
        (4, "b", ("3",)),
        (6, "c", ()),
    ]


names = st.sampled_from(["a", "b-c", "b_c", "no-a", "model_name", "x.y"])
values = st.text(max_size=6).filter(lambda text: not text.startswith("-"))
flag_words = st.one_of(
    st.builds(lambda name, value: [f"--{name}={value}"], names, values),
    st.builds(lambda name, some: [f"--{name}", *some], names, st.lists(values, max_size=2)),
)
command_lines = st.lists(flag_words, max_size=6).map(
    lambda groups: [word for group in groups for word in group]
)
any_words = st.lists(st.one_of(command_lines.map(" ".join), st.text(max_size=8), st.just("--")), max_size=8)


@given(command_lines, command_lines)
def test_the_user_wins_and_nothing_is_lost(runtime: list[str], user: list[str]) -> None:
    merged = parse_flags(merge_args(runtime, user))
    own = parse_flags(user)
    said = {flag.subject for flag in own}
    # The user's flags are there as written, repeats included, and nothing of the runtime's contradicts them.
    assert [flag.words() for flag in merged if flag.subject in said] == [flag.words() for flag in own]
    kept = [flag.words() for flag in parse_flags(runtime) if flag.subject not in said]
    assert [flag.words() for flag in merged if flag.subject not in said] == kept


@given(command_lines, command_lines)
def test_merging_again_changes_nothing(runtime: list[str], user: list[str]) -> None:
    once = merge_args(runtime, user)
    assert merge_args(once, user) == once


@given(any_words)
def test_splitting_loses_no_word_and_reads_its_own_output_alike(args: list[str]) -> None:
    parsed = split(args)
    again = split(parsed.words())
    assert [flag.words() for flag in again.flags] == [flag.words() for flag in parsed.flags]
    assert (again.positional, again.rest) == (parsed.positional, parsed.rest)
    bare = Counter(["--"] if "--" in args and not parsed.rest else [])  # a last word that says nothing
    assert Counter(parsed.words()) + bare == Counter(args)
