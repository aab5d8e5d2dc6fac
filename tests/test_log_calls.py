"""Log calls have a constant message, with what varies as fields: else nobody can count or search them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAMS = ("controller", "webhook", "gateway", "runtime", "stoker")
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
TEXTS = {"prompt", "messages", "body", "text", "content", "token_ids"}


def calls(source: str) -> Iterator[ast.Call]:
    """Calls of `log.<level>(...)` and of loggers bound from it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
            owner = node.func.value
            name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
            if name.strip("_") in {"log", "logger"}:
                yield node


def faults(source: str) -> list[str]:
    found = []
    for call in calls(source):
        first = call.args[0] if call.args else None
        if not (isinstance(first, ast.Constant) and isinstance(first.value, str)) or len(call.args) > 1:
            found.append(f"line {call.lineno}: the message is not constant")
        named = {each.arg for each in call.keywords} & TEXTS
        if named:
            found.append(f"line {call.lineno}: {sorted(named)} may hold a client's text")
    return found


def test_messages_are_constant_and_no_field_is_a_clients_text() -> None:
    files = [path for name in PROGRAMS for path in (ROOT / name).rglob("*.py")]
    seen = sum(len(list(calls(path.read_text()))) for path in files)
    assert seen > 50, "the calls are not found any more"
    wrong = [f"{path.relative_to(ROOT)}, {each}" for path in files for each in faults(path.read_text())]
    assert not wrong, "\n".join(wrong)


def test_what_is_wrong_is_found() -> None:
    assert faults('log.info(f"pod {name} is ready")')
    assert faults('self._log.warning("bad %s", name)')
    assert faults("log.error(str(error))")
    assert faults('log.info("request", prompt=text)')
    assert not faults('log.info("pod ready", name=name, exc_info=True)')
