"""The program as a process: exit codes, the termination document, signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jsonschema
import pytest

from runtime.flags.table import FLAGS
from runtime.state import schema
from tests.ports import free_port

_ROOT = Path(__file__).parents[2]


def environment(folder: Path) -> dict[str, str]:
    """No hub, an empty cache, and the termination document where the test can read it."""
    term = folder / "termination-log"
    term.touch()
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": str(_ROOT),
        "HF_HUB_OFFLINE": "1",
        "STOKER_CACHE": str(folder / "cache"),
        "STOKER_TERMINATION_LOG": str(term),
    }


def run_to_end(folder: Path, *flags: str, **extra: str) -> tuple[int, dict[str, object], str]:
    done = subprocess.run(
        [sys.executable, "-m", "runtime", *flags],
        cwd=folder,
        env=environment(folder) | extra,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    document = json.loads((folder / "termination-log").read_text())
    jsonschema.validate(document, schema())
    return done.returncode, document, done.stderr


@contextmanager
def running(folder: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "runtime",
                "--backend=echo",
                "--model_name=m",
                f"--http_port={port}",
                *flags,
            ],
            cwd=folder,
            env=environment(folder),
            stderr=log,
        )
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def wait_for(url: str, wanted: int, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while status(url) != wanted:
        assert time.monotonic() < until, f"{url} did not answer {wanted}"
        time.sleep(0.05)


def post(url: str, body: dict[str, object]) -> urllib.request.Request:
    return urllib.request.Request(
        url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )


def test_bad_flags_end_the_program_with_2_and_all_of_them(tmp_path: Path) -> None:
    code, document, stderr = run_to_end(tmp_path, "--backend=echo", "--modle_name=x", "--http_port=many")
    assert code == 2
    assert document["phase"] == "Failed"
    assert document["error"]["reason"] == "InvalidArgument"
    message = document["error"]["message"]
    assert "did you mean --model_name?" in message
    assert "--http_port=many" in message
    assert message in stderr


def test_a_model_that_is_not_here_without_a_hub(tmp_path: Path) -> None:
    code, document, _ = run_to_end(tmp_path, "--model_id=org/none", "--backend=huggingface", "--http_port=0")
    assert code == 1
    assert document["error"]["reason"] == "HubUnreachable"
    assert "stoker model fetch org/none" in document["error"]["message"]
    assert document["backend"]["name"] == "huggingface"
    assert "Fetching" in document["phases"]


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    code, document, _ = run_to_end(tmp_path, "--model_id=/no/such/model", "--http_port=0")
    assert (code, document["error"]["reason"]) == (1, "ModelNotFound")


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, document, _ = run_to_end(tmp_path, "--backend=echo", f"--http_port={port}")
    assert (code, document["error"]["reason"]) == (1, "PortInUse")
    assert str(port) in document["error"]["message"]


def test_help_names_every_flag(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "runtime", "--help"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert all(f"  --{flag.name}" in lines for flag in FLAGS)
    assert max(map(len, lines)) <= 100


def test_sigterm_lets_a_stream_finish_and_exits_with_0(tmp_path: Path) -> None:
    flags = ("--echo_token_seconds=0.05", "--lame_duck_seconds=0.2", "--drain_seconds=30")
    with running(tmp_path, *flags) as (process, url):
        wait_for(f"{url}/ready", 200)
        body = {"model": "m", "prompt": "x" * 50, "max_tokens": 50, "stream": True}
        with urllib.request.urlopen(post(f"{url}/v1/completions", body), timeout=30) as stream:
            stream.readline()
            process.send_signal(signal.SIGTERM)
            wait_for(f"{url}/ready", 503)
            assert status(f"{url}/live") == 200
            text = stream.read().decode()
        assert text.endswith("data: [DONE]\n\n")
        assert '"finish_reason":"length"' in text
        assert process.wait(10) == 0
    assert (tmp_path / "termination-log").read_text() == ""


def test_a_second_sigterm_ends_the_program_at_once(tmp_path: Path) -> None:
    with running(tmp_path, "--lame_duck_seconds=60") as (process, url):
        wait_for(f"{url}/ready", 200)
        process.send_signal(signal.SIGTERM)
        wait_for(f"{url}/ready", 503)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143


def test_sigterm_while_loading_ends_the_program(tmp_path: Path) -> None:
    with running(tmp_path, "--echo_load_seconds=60") as (process, url):
        wait_for(f"{url}/live", 200)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_the_log_holds_requests_and_no_prompts(tmp_path: Path) -> None:
    with running(tmp_path, "--lame_duck_seconds=0") as (process, url):
        wait_for(f"{url}/ready", 200)
        request = post(f"{url}/v1/completions", {"model": "m", "prompt": "my secret"})
        request.add_header("x-request-id", "abc-9")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert b"my secret" in answer.read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["route"], line["status"], line["request_id"]) == ("/v1/completions", 200, "abc-9")
    assert "my secret" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("flag", ["--disable_log_requests", "--disable-log-requests=true"])
def test_the_access_log_can_be_switched_off(tmp_path: Path, flag: str) -> None:
    with running(tmp_path, flag, "--lame_duck_seconds=0") as (process, url):
        wait_for(f"{url}/ready", 200)
        status(f"{url}/v1/models")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert '"event": "request"' not in (tmp_path / "log").read_text()
