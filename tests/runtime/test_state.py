"""The state document and the termination message."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from runtime.failures import Failure, Reason, explain, termination_text, write_termination_message
from runtime.state import Backend, BackendName, BackendReason, Phase, Progress, State, schema

_SCHEMA = Path(__file__).parents[2] / "manifests/state.schema.json"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def state(clock: Clock | None = None) -> State:
    return State(name="m", model_id="a/b", revision=None, clock=clock or Clock())


def test_a_life() -> None:
    clock = Clock()
    life = state(clock)
    clock.now += 1.5
    life.enter(Phase.FETCHING)
    life.progress = Progress(10, 20, "bytes")
    assert life.document()["progress"] == {"done": 10, "total": 20, "unit": "bytes"}
    clock.now += 2
    life.enter(Phase.IMPORTING)
    assert life.document()["progress"] is None
    clock.now += 0.5
    life.choose(Backend(BackendName.VLLM, BackendReason.DEFAULT, "it can"))
    life.resolve_revision("c0ffee")
    life.enter(Phase.LOADING)
    clock.now += 4
    assert life.document() == {
        "phase": "Loading",
        "phases": {"Starting": 1.5, "Fetching": 2.0, "Importing": 0.5, "Loading": 4.0},
        "progress": None,
        "backend": {"name": "vllm", "reason": "Default", "message": "it can"},
        "model": {"name": "m", "id": "a/b", "revision": "c0ffee"},
        "error": None,
        "version": "0.1.0",
    }
    life.enter(Phase.READY)
    clock.now += 1000
    assert life.seconds()["Loading"] == 4.0
    assert "Ready" not in life.seconds()


def test_the_first_failure_stays() -> None:
    life = state()
    life.fail(Failure(Reason.OUT_OF_MEMORY, "too small"))
    life.fail(Failure(Reason.ENGINE_FAILED, "a consequence"))
    life.enter(Phase.READY)
    assert life.phase is Phase.FAILED
    assert life.document()["error"] == {"reason": "OutOfMemory", "message": "too small"}


def test_listeners_hear_of_changes_of_phase_and_backend() -> None:
    life = state()
    heard: list[tuple[Phase, bool]] = []
    life.on_change(lambda changed: heard.append((changed.phase, changed.backend is not None)))
    life.enter(Phase.LOADING)
    life.enter(Phase.LOADING)
    life.choose(Backend(BackendName.ECHO, BackendReason.REQUESTED, ""))
    assert heard == [(Phase.STARTING, False), (Phase.LOADING, False), (Phase.LOADING, True)]


def test_the_committed_schema_is_that_of_the_code() -> None:
    """To regenerate: python -c "import json; from runtime.state import schema; "
    "print(json.dumps(schema(), indent=2))" """
    assert json.loads(_SCHEMA.read_text()) == json.loads(json.dumps(schema()))
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(state().document(), schema())


@given(st.text(max_size=9000))
def test_the_termination_message_always_fits_and_stays_json(message: str) -> None:
    life = state()
    life.fail(Failure(Reason.ENGINE_FAILED, message))
    text = termination_text(life.document())
    assert len(text.encode(errors="surrogatepass")) <= 4096
    kept = json.loads(text)["error"]["message"]
    assert kept == message or (kept.endswith("...") and message.startswith(kept[:-3]))


def test_the_termination_message_is_written_only_where_there_is_a_file(tmp_path: Path) -> None:
    document = state().document()
    assert not write_termination_message(document, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    (tmp_path / "log").touch()
    assert write_termination_message(document, tmp_path / "log")
    assert json.loads((tmp_path / "log").read_text()) == document


def test_exceptions_are_explained() -> None:
    class OutOfMemoryError(RuntimeError):
        """torch's, by its name."""

    def wrapped(cause: BaseException) -> Exception:
        error = RuntimeError("outer")
        error.__cause__ = cause
        return error

    cases = {
        Reason.OUT_OF_MEMORY: [MemoryError(), wrapped(OutOfMemoryError("CUDA out of memory, 3 GiB"))],
        Reason.DISK_FULL: [wrapped(OSError(errno.ENOSPC, "No space left on device", "/x"))],
        Reason.ENGINE_FAILED: [ValueError("odd")],
        Reason.MODEL_GATED: [wrapped(Failure(Reason.MODEL_GATED, "ask for access"))],
    }
    for reason, errors in cases.items():
        for error in errors:
            assert explain(error, doing="loading").reason is reason
    assert explain(ValueError("odd"), doing="loading").message == "Failed while loading: ValueError: odd"
