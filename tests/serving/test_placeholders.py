"""Placeholders: what is one, what is none, and that a value never becomes anything but itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.serving.problems import FieldProblem
from stoker.serving.rendering.expansion import expand, is_expanded
from stoker.serving.rendering.placeholders import Reference, Values, references, replace, suspects

VALUES = Values("n", "ns", {"k": "label", "a-b": "dashed", "x.y/z": "slashed"}, {"k": "annotation"})

FILLED = [
    ("{{.Name}}", "n"),
    ("{{ .Name }}-{{.Namespace}}", "n-ns"),
    ("{{.Labels.k}} {{ .Annotations.k }}", "label annotation"),
    ('{{.Labels["a-b"]}} {{.Labels[ "x.y/z" ]}}', "dashed slashed"),
    ('{{index .Labels "a-b"}}', "dashed"),
    ("{{{.Name}}}", "{n}"),
    ("{{ message.content }}", "{{ message.content }}"),
    ("{% if x %}{{ x['Name'] }}{% endif %}", "{% if x %}{{ x['Name'] }}{% endif %}"),
    ("{{ .Prompt }}", "{{ .Prompt }}"),
    ("{{.Labels.a-b}}", "{{.Labels.a-b}}"),
    ("{{.name}} {{Name}} {.Name} {{.Name} {{ .Name | upper }}",) * 2,
    ('{{printf "%1000000d" 1}}',) * 2,
    ("$(SECRET) ${HOME}",) * 2,
]


@pytest.mark.parametrize(("text", "filled"), FILLED)
def test_text(text: str, filled: str) -> None:
    problems: list[FieldProblem] = []
    assert replace(text, VALUES, "", problems)[0] == filled
    assert problems == []


def test_a_missing_key_is_a_problem_of_the_metadata() -> None:
    problems: list[FieldProblem] = []
    replace({"spec": {"a": ["{{.Labels.none}}"]}}, VALUES, "", problems)
    assert [(each.field, each.reason) for each in problems] == [
        ("metadata.labels.none", "FieldValueRequired")
    ]
    assert "spec.a[0]" in problems[0].message


def test_keys_and_numbers_are_left_alone() -> None:
    tree = {"{{.Name}}": [1, True, None, 2.5]}
    assert replace(tree, VALUES, "", [])[0] == tree


def test_references() -> None:
    tree = {"a": ["{{.Name}}", {"b": '{{.Labels["a-b"]}}{{.Annotations.k}}'}], "{{.Labels.key}}": 1}
    assert references(tree) == {Reference("Name"), Reference("Labels", "a-b"), Reference("Annotations", "k")}


def test_suspects_are_what_looks_like_a_placeholder() -> None:
    tree = ["{{.Name}} {{ .Nmae }}", "{{ message.content }}", "{{.Labels.a-b}}"]
    assert list(suspects(tree, "p")) == [("p[0]", "{{ .Nmae }}"), ("p[2]", "{{.Labels.a-b}}")]


@pytest.mark.parametrize(
    "path",
    [
        "spec.containers[0].args[1]",
        "spec.containers[2].command[0]",
        "spec.initContainers[0].env[3].value",
        "spec.containers[0].volumeMounts[0].subPathExpr",
        "spec.containers[0].readinessProbe.exec.command[1]",
    ],
)
def test_the_kubelet_expands(path: str) -> None:
    assert is_expanded(path)


@pytest.mark.parametrize(
    "path",
    [
        "spec.containers[0].image",
        "spec.containers[0].env[0].name",
        "spec.containers[0].lifecycle.preStop.exec.command[0]",
        "spec.volumes[0].name",
        "metadata.annotations[spec.containers[0].args[0]]",
    ],
)
def test_the_kubelet_leaves_alone(path: str) -> None:
    assert not is_expanded(path)


# KServe's users know Go; these are the cases of Kubernetes' own test of the syntax.
EXPANDED = [
    ("$(A)", "a"),
    ("x-$(A)-$(B)", "x-a-b"),
    ("$(NONE)", "$(NONE)"),
    ("$$(A)", "$(A)"),
    ("$$$(A)", "$a"),
    ("$$$$(A)", "$$(A)"),
    ("$(A", "$(A"),
    ("$A $", "$A $"),
    ("$$", "$"),
    ("$((A))", "$((A))"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "made"), EXPANDED)
def test_expansion_is_the_kubelets(text: str, made: str) -> None:
    assert expand(text, {"A": "a", "B": "b"}) == made


pieces = st.sampled_from(["", "a", "$", "$$", "$(A)", "$$(A)", "(A)", "{{ x }}"])
values = st.text("$()A{}. ", max_size=6) | st.sampled_from(["$(A)", "$$(A)", "$", "(A)", "{{.Name}}"])


@given(pieces, values, pieces, values)
def test_the_kubelet_leaves_a_value_as_it_is(before: str, first: str, between: str, second: str) -> None:
    given = Values(first, second, {}, {})
    tree = {"spec": {"containers": [{"args": [f"{before}{{{{.Name}}}}{between}{{{{.Namespace}}}}"]}]}}
    (written,) = replace(tree, given, "", [])[0]["spec"]["containers"][0]["args"]
    variables = {"A": "secret"}
    # What each piece says by itself; nothing comes of the places where pieces and values meet.
    literal = [expand(each, variables) for each in (before, between)]
    assert expand(written, variables) == literal[0] + first + literal[1] + second


hostile = st.one_of(
    st.text(),
    st.sampled_from(
        ['"', "\\", "{{.Name}}", '{{.Labels["k"]}}', "\n", '"}],"image":"evil', "$(X)", "{{", "}}"]
    ),
    st.lists(st.sampled_from(['"', "{{", "}}", ".Name", "\n", "\\", "k"])).map("".join),
)
leaves = st.sampled_from(
    ["{{.Name}}", "a {{.Labels.k}} b", '{{.Annotations["x y"]}}', "plain {{ jinja }}", "", "{{"]
)
trees = st.recursive(
    st.one_of(leaves, st.integers(), st.none(), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(leaves, inner, max_size=3)),
    max_leaves=12,
)


@given(trees, hostile, hostile, hostile)
def test_values_appear_only_where_placeholders_stand(tree: Any, name: str, label: str, note: str) -> None:
    problems: list[FieldProblem] = []
    filled, _ = replace(tree, Values(name, "ns", {"k": label}, {"x y": note}), "", problems)
    assert problems == []
    _same_but_for_placeholders(tree, filled, name, label, note)


def _same_but_for_placeholders(tree: Any, filled: Any, name: str, label: str, note: str) -> None:
    assert type(tree) is type(filled)
    if isinstance(tree, dict):
        assert list(tree) == list(filled)
        for key, value in tree.items():
            _same_but_for_placeholders(value, filled[key], name, label, note)
    elif isinstance(tree, list):
        assert len(tree) == len(filled)
        for before, after in zip(tree, filled, strict=True):
            _same_but_for_placeholders(before, after, name, label, note)
    elif tree == "{{.Name}}":
        assert filled == name
    elif tree == "a {{.Labels.k}} b":
        assert filled == f"a {label} b"
    elif tree == '{{.Annotations["x y"]}}':
        assert filled == note
    else:
        assert filled == tree
