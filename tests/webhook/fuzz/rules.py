"""Which rules there are, read from the code, and which of them have said something.

A rule is a place in stoker.serving that makes a FieldProblem. So a new rule counts from the moment that it
is written, and one that no input reaches is found.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import stoker.serving.admission
import stoker.serving.api
import stoker.serving.rendering
from stoker.serving import problems

_MAKERS = ("FieldProblem", "invalid", "required", "forbidden", "not_supported", "not_found", "duplicate")
_PACKAGES = (stoker.serving.api, stoker.serving.rendering, stoker.serving.admission)

Rule = tuple[str, int]  # module's last name, line


def modules() -> Iterator[ModuleType]:
    for package in _PACKAGES:
        for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            yield importlib.import_module(found.name)


# Rules that no object can meet here, by their words, and why.
ELSEWHERE = {
    "longer than": "only where the settings' domain is very long",
    "a runtime that serves this model": "admission has refused it before: it is for the controller",
    "runtime.name, detail": "as above: a runtime without the container is never selected",
    "must be file:///PATH": "only with the setting file_uris",
}


@cache
def rules() -> dict[Rule, range]:
    """Every rule with the lines that its call spans."""
    found = {}
    for module in modules():
        assert module.__file__
        text = Path(module.__file__).read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and _name(node.func) in _MAKERS:
                assert node.end_lineno
                if _is_elsewhere(ast.get_source_segment(text, node) or ""):
                    continue
                found[_short(module), node.lineno] = range(node.lineno, node.end_lineno + 1)
    return found


@contextmanager
def counted() -> Iterator[Counter[Rule]]:
    """Count what each rule says while the body runs."""
    spans = rules()
    fired: Counter[Rule] = Counter()
    put_back: list[tuple[ModuleType, str, Any]] = []
    for module in modules():
        places = {line: rule for rule, span in spans.items() if rule[0] == _short(module) for line in span}
        for name in _MAKERS:
            if getattr(module, name, None) is getattr(problems, name):
                put_back.append((module, name, getattr(module, name)))
                setattr(module, name, _counting(getattr(module, name), places, fired))
    try:
        yield fired
    finally:
        for module, name, original in put_back:
            setattr(module, name, original)


def _counting(make: Callable[..., Any], places: dict[int, Rule], fired: Counter[Rule]) -> Callable[..., Any]:
    def made(*arguments: Any, **named: Any) -> Any:
        rule = places.get(sys._getframe(1).f_lineno)
        if rule is not None:
            fired[rule] += 1
        return make(*arguments, **named)

    return made


def _is_elsewhere(call: str) -> bool:
    return any(words in call for words in ELSEWHERE)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _short(module: ModuleType) -> str:
    return module.__name__.removeprefix("stoker.serving.")
