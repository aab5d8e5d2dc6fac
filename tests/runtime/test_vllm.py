"""vLLM with the real model, in one process of its own for the whole file; parity with transformers."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import jsonschema
import openai
import pytest

from runtime.hub import cache as hub_cache
from runtime.hub import stand_in
from tests.ports import free_port

from .collector import Collector, collecting
from .openai_cases import CASES
from .test_disconnects import request
from .test_program import status
from .tiny import HERMES_TEMPLATE, save_tiny_codegen

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

_ROOT = Path(__file__).parents[2]
MESSAGES = [{"role": "user", "content": "Write a poem about colors"}]


@dataclass
class Process:
    popen: subprocess.Popen[bytes]
    url: str
    openai: openai.OpenAI
    folder: Path

    def state(self) -> dict[str, object]:
        with urllib.request.urlopen(f"{self.url}/stoker/v1/state", timeout=10) as answer:
            document: dict[str, object] = json.load(answer)
            return document

    def metrics(self) -> str:
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            return str(answer.read().decode())


def start(folder: Path, *flags: str, model: str = stand_in.MODEL_ID, collector: str = "") -> Process:
    """`collector`: where spans go of requests whose client has them traced."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    (folder / "termination-log").touch()
    environ = os.environ | {
        "PYTHONPATH": str(_ROOT),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(hub_cache.hub_cache()),
        "STOKER_TERMINATION_LOG": str(folder / "termination-log"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    command = [sys.executable, "-m", "runtime", "--model_name=smollm2", f"--model_id={model}"]
    with (folder / "log").open("wb") as log:
        popen = subprocess.Popen(
            [*command, f"--http_port={port}", "--lame_duck_seconds=0.5", *flags],
            env=environ,
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    client = openai.OpenAI(base_url=f"{url}/openai/v1", api_key="none", max_retries=0, timeout=120)
    return Process(popen, url, client, folder)


def kill(process: Process) -> None:
    """With vLLM's own processes, which would outlive it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.popen.pid, signal.SIGKILL)
    process.popen.wait()


def until_ready(process: Process, seconds: float = 500) -> None:
    end = time.monotonic() + seconds
    while status(f"{process.url}/ready") != 200:
        log = (process.folder / "log").read_text()[-3000:]
        assert process.popen.poll() is None, log
        assert time.monotonic() < end, log
        time.sleep(0.5)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture(scope="module")
def both(
    smollm2: Path, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Process, Process]]:
    """vLLM, as --backend=auto chooses it, and transformers."""
    folder = tmp_path_factory.mktemp("both")
    (folder / "template.jinja").write_text(HERMES_TEMPLATE)
    alike = ("--max-model-len=2048", "--dtype=float32", f"--chat_template={folder / 'template.jinja'}")
    vllm = start(folder / "vllm", *alike, "--kv_cache_memory_bytes=256M", collector=collector.url)
    other = None
    try:
        end = time.monotonic() + 60
        while status(f"{vllm.url}/live") != 200:
            assert time.monotonic() < end
            time.sleep(0.1)
        other = start(folder / "other", *alike, "--backend=huggingface", collector=collector.url)
        until_ready(vllm)
        until_ready(other)
        yield vllm, other
    finally:
        for process in (vllm, other):
            if process is not None:
                kill(process)


def test_an_architecture_that_vllm_does_not_know(tmp_path: Path) -> None:
    """Ends an explicit vllm with that reason; what auto does, with the reason in the InferenceService's
    status, is in e2e/test_storage.py.
    """
    strict = start(tmp_path / "strict", "--backend=vllm", model=str(save_tiny_codegen(tmp_path / "model")))
    try:
        assert strict.popen.wait(120) == 1
        document = json.loads((strict.folder / "termination-log").read_text())
        assert document["error"]["reason"] == "BackendUnavailable"
        assert "CodeGenForCausalLM" in document["error"]["message"]
    finally:
        kill(strict)


def test_auto_is_vllm_and_its_start_was_told(both: tuple[Process, Process]) -> None:
    vllm, other = both
    document = vllm.state()
    assert document["phase"] == "Ready"
    assert document["backend"]["name"] == "vllm"  # type: ignore[index]
    assert document["backend"]["reason"] == "Default"  # type: ignore[index]
    assert document["phases"]["Loading"] > 0  # type: ignore[index]
    assert document["phases"]["Importing"] > 1  # type: ignore[index]
    lines = [json.loads(line) for line in (vllm.folder / "log").read_text().splitlines() if line[:1] == "{"]
    told = [line["phase"] for line in lines if line.get("event") == "phase"]
    assert list(dict.fromkeys(told)) == ["Starting", "Fetching", "Importing", "Loading", "Warming", "Ready"]
    assert any(
        'stoker_runtime_phase_seconds{phase="Importing"}' in line for line in vllm.metrics().splitlines()
    )
    assert other.state()["backend"]["name"] == "huggingface"  # type: ignore[index]


T = TypeVar("T")


def on_each(both: tuple[Process, Process], ask: Callable[[Process], T]) -> tuple[T, T]:
    """What comes of it on vLLM and on transformers. They work side by side, each on a processor of its own;
    a failure names the backend.
    """
    with ThreadPoolExecutor(len(both)) as pool:
        asked = [pool.submit(ask, process) for process in both]
    failures = []
    for backend, future in zip(("vllm", "transformers"), asked, strict=True):
        if failure := future.exception():
            failure.add_note(f"on {backend}")
            failures.append(failure)
    if len(failures) == len(both):
        raise BaseExceptionGroup("on both backends", failures)
    if failures:
        raise failures[0]
    first, second = asked
    return first.result(), second.result()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_client_gets_what_openai_promises(
    both: tuple[Process, Process], case: Callable[[openai.OpenAI], None]
) -> None:
    on_each(both, lambda process: case(process.openai))


@pytest.mark.parametrize("prompt", ["Write a poem about colors", "1, 2, 3, 4,", "Grüße, 你好 👋"])
def test_completions_are_alike(both: tuple[Process, Process], prompt: str) -> None:
    def ask(process: Process) -> dict[str, object]:
        answer = process.openai.completions.create(
            model="smollm2", prompt=prompt, max_tokens=12, temperature=0
        )
        return {**answer.to_dict(), "id": 0, "created": 0}

    first, second = on_each(both, ask)
    assert first == second


def test_chats_are_alike(both: tuple[Process, Process]) -> None:
    first, second = on_each(
        both,
        lambda process: process.openai.chat.completions.create(
            model="smollm2",
            messages=MESSAGES,  # type: ignore[arg-type]
            max_tokens=12,
            temperature=0,
            logprobs=True,
            top_logprobs=2,
        ),
    )
    assert first.usage == second.usage
    assert first.choices[0].message == second.choices[0].message
    for ours, theirs in zip(
        first.choices[0].logprobs.content, second.choices[0].logprobs.content, strict=True
    ):  # type: ignore[union-attr,arg-type]
        assert (ours.token, ours.bytes) == (theirs.token, theirs.bytes)
        assert ours.logprob == pytest.approx(theirs.logprob, abs=0.02)
        assert [each.token for each in ours.top_logprobs] == [each.token for each in theirs.top_logprobs]


def test_scores_are_alike(both: tuple[Process, Process]) -> None:
    """Log probabilities of a prompt's tokens, with nothing generated."""
    text = "The capital of France is Paris, and that of Italy is Rome. Grüße, 你好 👋. " * 3
    first, second = on_each(
        both,
        lambda process: (
            process.openai.completions.create(
                model="smollm2", prompt=text, max_tokens=0, echo=True, logprobs=3
            )
            .choices[0]
            .logprobs
        ),
    )
    assert first is not None
    assert second is not None
    assert (first.tokens, first.text_offset) == (second.tokens, second.text_offset)
    assert first.token_logprobs is not None
    assert second.token_logprobs is not None
    assert first.token_logprobs[0] is second.token_logprobs[0] is None
    assert len(first.token_logprobs) > 50
    assert first.token_logprobs[1:] == pytest.approx(second.token_logprobs[1:], abs=1e-3)
    for ours, theirs in zip(first.top_logprobs[1:], second.top_logprobs[1:], strict=True):  # type: ignore[index]
        assert sorted(ours.values()) == pytest.approx(sorted(theirs.values()), abs=1e-3)


@pytest.mark.parametrize("backend", ["vllm", "transformers"])
def test_where_a_request_waited_is_traced(
    both: tuple[Process, Process], collector: Collector, backend: str
) -> None:
    process = both[0 if backend == "vllm" else 1]
    trace = random.Random(backend).randbytes(16).hex()
    process.openai.completions.create(
        model="smollm2",
        prompt="Once upon a time " * 20,
        max_tokens=2,
        extra_headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
    )
    end = time.monotonic() + 10
    while "/openai/v1/completions" not in (spans := collector.of(trace)):
        assert time.monotonic() < end
        time.sleep(0.05)
    request, queue, prefill = (spans[name] for name in ("/openai/v1/completions", "queue", "prefill"))
    assert queue.parent_span_id == prefill.parent_span_id == request.span_id
    borders = [request.start_time_unix_nano, queue.start_time_unix_nano, queue.end_time_unix_nano]
    borders += [prefill.start_time_unix_nano, prefill.end_time_unix_nano, request.end_time_unix_nano]
    assert borders == sorted(borders)
    assert prefill.end_time_unix_nano - prefill.start_time_unix_nano > 1_000_000  # 80 tokens were read


def test_streams_are_alike(both: tuple[Process, Process]) -> None:
    def ask(process: Process) -> tuple[dict[int, str], dict[int, str], int | None]:
        stream = process.openai.completions.create(
            model="smollm2",
            prompt=["1, 2, 3, 4,", "a b c d"],
            max_tokens=16,
            temperature=0,
            stop=[", 8"],
            stream=True,
            stream_options={"include_usage": True},
        )
        texts: dict[int, str] = {}
        ends: dict[int, str] = {}
        usage = None
        for chunk in stream:
            usage = chunk.usage
            for choice in chunk.choices:
                assert choice.index not in ends
                texts[choice.index] = texts.get(choice.index, "") + choice.text
                if choice.finish_reason:
                    ends[choice.index] = choice.finish_reason
        return texts, ends, usage.prompt_tokens if usage else None

    first, second = on_each(both, ask)
    assert first == second
    assert (first[0][0], first[1][0]) == (" 5, 6, 7", "stop")


ANIMAL = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "legs": {"type": "integer", "minimum": 0, "maximum": 8},
        "kind": {"enum": ["bird", "fish", "mammal"]},
    },
    "required": ["name", "legs", "kind"],
}


def test_a_schema_is_enforced_alike(both: tuple[Process, Process]) -> None:
    answers = on_each(
        both,
        lambda process: process.openai.chat.completions.create(
            model="smollm2",
            messages=[{"role": "user", "content": "Tell me a story"}],
            response_format={"type": "json_schema", "json_schema": {"name": "animal", "schema": ANIMAL}},
            max_tokens=60,
            temperature=0,
        ),
    )
    first, second = (answer.choices[0] for answer in answers)
    jsonschema.validate(json.loads(first.message.content or ""), ANIMAL)
    assert first.finish_reason == "stop"
    assert (first.message, first.finish_reason) == (second.message, second.finish_reason)


@pytest.mark.parametrize("stream", [False, True])
def test_a_demanded_call_is_made_alike(both: tuple[Process, Process], stream: bool) -> None:
    tool = {"type": "function", "function": {"name": "note_animal", "parameters": ANIMAL}}

    def ask(process: Process) -> tuple[str, str]:
        answer = process.openai.chat.completions.create(
            model="smollm2",
            messages=MESSAGES,
            tools=[tool],
            tool_choice="required",
            parallel_tool_calls=False,
            max_tokens=80,
            temperature=0,
            stream=stream,  # type: ignore[call-overload]
        )
        if stream:
            deltas = [choice.delta for chunk in answer for choice in chunk.choices]
            parts = [call.function for delta in deltas for call in delta.tool_calls or ()]
            assert not any(delta.content for delta in deltas)
            return parts[0].name, "".join(part.arguments for part in parts)
        (call,) = answer.choices[0].message.tool_calls
        assert answer.choices[0].finish_reason == "tool_calls"
        return call.function.name, call.function.arguments

    first, second = on_each(both, ask)
    assert first == second
    assert first[0] == "note_animal"
    jsonschema.validate(json.loads(first[1]), ANIMAL)


def test_a_schema_that_cannot_be_is_the_requests_fault(both: tuple[Process, Process]) -> None:
    schema = {"type": "integer", "minimum": 5, "maximum": 2}

    def ask(process: Process) -> None:
        with pytest.raises(openai.BadRequestError):
            process.openai.chat.completions.create(
                model="smollm2",
                messages=MESSAGES,  # type: ignore[arg-type]
                response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
            )
        assert status(f"{process.url}/ready") == 200

    on_each(both, ask)


def test_prompts_are_the_tokenizers_own_tokens(both: tuple[Process, Process]) -> None:
    """The same on both, as many as are counted in usage, and back to text again."""
    for body in ({"prompt": "Grüße, 你好 👋"}, {"messages": MESSAGES}):
        answers = [post(process, "tokenize", body) for process in both]
        assert answers[0] == answers[1]
        if "messages" in body:
            chat = both[0].openai.chat.completions.create(model="smollm2", max_tokens=1, **body)  # type: ignore[call-overload]
            assert chat.usage.prompt_tokens == answers[0]["count"]
        else:
            assert post(both[0], "detokenize", {"tokens": answers[0]["tokens"]}) == body


def post(process: Process, endpoint: str, body: object) -> dict[str, object]:
    request = urllib.request.Request(
        f"{process.url}/v1/{endpoint}",
        json.dumps({"model": "smollm2", **body}).encode(),  # type: ignore[dict-item]
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        document: dict[str, object] = json.load(answer)
        return document


def test_vllms_own_metrics_are_served(both: tuple[Process, Process]) -> None:
    vllm, other = both
    names = [
        "vllm:time_to_first_token_seconds_count",
        "vllm:inter_token_latency_seconds_count",
        "vllm:e2e_request_latency_seconds_count",
        "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:request_success_total",
    ]
    for process in (vllm, other):
        text = process.metrics()
        for name in names:
            assert f"{name}{{" in text, name
        assert 'model_name="smollm2"' in text
        assert "stoker_runtime_http_requests_total{" in text


def test_a_client_that_leaves_frees_vllms_work(both: tuple[Process, Process]) -> None:
    vllm, _ = both
    stream = vllm.openai.completions.create(
        model="smollm2", prompt="Once", max_tokens=1900, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    stream.close()
    end = time.monotonic() + 20
    while 'vllm:num_requests_running{engine="0",model_name="smollm2"} 0.0' not in vllm.metrics():
        assert time.monotonic() < end
        time.sleep(0.2)


def left_behind(process: Process) -> tuple[float, float, float, int]:
    """Sequences running and waiting, share of the KV cache in use, open files."""
    text = process.metrics()

    def read(name: str) -> float:
        values = [line.rsplit(" ", 1)[1] for line in text.splitlines() if line.startswith(f"{name}{{")]
        return sum(map(float, values))

    files = len(list(Path(f"/proc/{process.popen.pid}/fd").iterdir()))
    names = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")
    running, waiting, blocks = map(read, names)
    return running, waiting, blocks, files


def test_a_storm_of_clients_that_leave(both: tuple[Process, Process]) -> None:
    """STOKER_ENGINE_DISCONNECTS of them (40 in `make test`), at any moment; then all is as it was."""
    on_each(both, storm)


def storm(process: Process) -> None:
    chance = random.Random(11)
    host, port = process.url.removeprefix("http://").split(":")
    before = left_behind(process)
    assert before[:3] == (0, 0, 0)
    long = process.openai.completions.create(
        model="smollm2", prompt="Once", max_tokens=1900, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(long))
    busy = left_behind(process)
    assert busy[0] == 1
    assert busy[2] > 0
    for _ in range(int(os.environ.get("STOKER_ENGINE_DISCONNECTS", "40"))):
        whole = request(chance, "smollm2")
        sent = whole if chance.random() > 0.2 else whole[: chance.randrange(len(whole))]
        with socket.create_connection((host, int(port)), timeout=10) as leaving:
            leaving.sendall(sent)
            if chance.random() < 0.5:
                leaving.settimeout(chance.random() * 0.3)
                with contextlib.suppress(TimeoutError):
                    leaving.recv(chance.randrange(1, 2000))
    long.close()
    end = time.monotonic() + 60
    # The long stream's connection stays open in the client, for its next request.
    while (after := left_behind(process))[:3] != before[:3] or after[3] > before[3] + 1:
        assert time.monotonic() < end, (before, after)
        time.sleep(0.3)
    answer = process.openai.completions.create(model="smollm2", prompt="1, 2,", max_tokens=2, temperature=0)
    assert answer.choices[0].text == " 3"
    assert 'status="500"' not in process.metrics()


def test_the_context_length_is_vllms(both: tuple[Process, Process]) -> None:
    for process in both:
        with pytest.raises(openai.BadRequestError, match="maximum context length is 2048 tokens"):
            process.openai.completions.create(model="smollm2", prompt=[5] * 2040, max_tokens=20)


def test_sigterm_ends_it_in_order_and_a_dead_engine_ends_it_with_a_reason(
    both: tuple[Process, Process],
) -> None:
    """Last, since it ends both: transformers by SIGTERM with a stream under way, vLLM by losing its "
    "engine."""
    vllm, other = both
    stream = other.openai.completions.create(
        model="smollm2", prompt="Once", max_tokens=30, stream=True, extra_body={"ignore_eos": True}
    )
    chunks = iter(stream)
    next(chunks)
    other.popen.send_signal(signal.SIGTERM)
    *_, last = chunks
    assert last.choices[0].finish_reason == "length"
    assert other.popen.wait(30) == 0

    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(vllm.popen.pid)], capture_output=True, text=True, check=True
    )
    for pid in children.stdout.split():
        os.kill(int(pid), signal.SIGKILL)
    assert vllm.popen.wait(60) == 3
    document = json.loads((vllm.folder / "termination-log").read_text())
    assert (document["phase"], document["error"]["reason"]) == ("Failed", "EngineDied")
