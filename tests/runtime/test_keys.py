"""API keys: named, several, followed while the server runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import openai
import pytest
import structlog
from structlog.testing import capture_logs

from runtime.failures import Failure
from runtime.openai.problem import ApiProblem
from runtime.server.keys import Keys

from .serving import serve

CHAT: Any = {"model": "m", "messages": [{"role": "user", "content": "secret prompt"}]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "keys").write_text("# who may ask\nalice: key-of-alice\n\nbob:key-of-bob-1\n")
    return tmp_path / "keys"


async def test_requests_need_a_key_and_probes_do_not(file: Path) -> None:
    async with serve(f"--api_keys_file={file}") as server:
        client = server.openai.with_options(api_key="key-of-bob-1")
        structlog.reset_defaults()
        with capture_logs() as logs:
            await client.chat.completions.create(**CHAT)
        (line,) = [line for line in logs if line["event"] == "request"]
        assert line["key"] == "bob"
        assert "secret" not in str(logs)
        assert "key-of" not in str(logs)
        with pytest.raises(openai.AuthenticationError) as refused:
            await server.openai.chat.completions.create(**CHAT)
        assert (refused.value.code, refused.value.type) == ("invalid_api_key", "authentication_error")
        assert refused.value.response.headers["WWW-Authenticate"] == "Bearer"
        for path in ("/ready", "/live", "/health", "/metrics", "/v2/health/ready", "/stoker/v1/state"):
            assert (await server.http.get(server.url + path)).status == 200, path
        for path in (
            "/v1/models",
            "/openai/v1/models/m",
            "/v2/models/m",
            "/v1//models",
            "/%76%31/models",
            "/nothing",
        ):
            assert (await server.http.get(server.url + path)).status == 401, path
        for headers in ({"Authorization": "Basic key-of-bob-1"}, {"Authorization": "key-of-bob-1"},
                        {"Authorization": "Bearer "}, {"Authorization": "Bearer key-of-bob"},
                        {"X-Api-Key": "key-of-bob-1"}):  # fmt: skip
            assert (await server.http.get(f"{server.url}/v1/models", headers=headers)).status == 401


def test_changes_are_followed_and_mistakes_are_not(file: Path, tmp_path: Path) -> None:
    keys = Keys(file)
    assert keys.name_of("Bearer key-of-alice") == "alice"
    new = tmp_path / "new"
    new.write_text("carol: key-of-carol")
    os.replace(new, file)  # as a mounted Secret changes
    keys.look()
    assert keys.name_of("bearer key-of-carol") == "carol"
    with pytest.raises(ApiProblem):
        keys.name_of("Bearer key-of-alice")
    for broken in ("carol key", "", "a: short", "a: 12345678\na: 87654321", "a b: 12345678"):
        file.write_text(broken)
        with capture_logs() as logs:
            keys.look()
            keys.look()
        assert [line["log_level"] for line in logs] == ["error"]
        assert keys.name_of("Bearer key-of-carol") == "carol"
    file.unlink()
    with capture_logs() as logs:
        for _ in range(3):
            keys.look()
    assert [line["log_level"] for line in logs] == ["error"]  # said once, not each time that it is missed
    assert keys.name_of("Bearer key-of-carol") == "carol"
    file.write_text("dave: key-of-dave")
    keys.look()
    assert keys.name_of("Bearer key-of-dave") == "dave"
    file.unlink()
    with capture_logs() as logs:
        keys.look()
    assert [line["log_level"] for line in logs] == ["error"]


def test_a_wrong_file_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="No such file"):
        Keys(tmp_path / "missing")
    (tmp_path / "keys").write_text("\n# nobody\nalice\n")
    with pytest.raises(Failure, match="line 3") as failure:
        Keys(tmp_path / "keys")
    assert failure.value.exit_code == 2


def test_a_keys_tokens_per_minute(file: Path) -> None:
    now = [0.0]
    keys = Keys(file, 60, clock=lambda: now[0])
    keys.require_tokens("alice")
    keys.used("alice", 90)
    with pytest.raises(ApiProblem, match="60 tokens") as refused:
        keys.require_tokens("alice")
    assert refused.value.status == 429
    assert int(refused.value.headers["Retry-After"]) in (30, 31)
    keys.require_tokens("bob")
    now[0] = 29.0
    with pytest.raises(ApiProblem):
        keys.require_tokens("alice")
    now[0] = 31.0
    keys.require_tokens("alice")
    now[0] = 1000.0
    keys.used("alice", 59)  # a minute's tokens are all that is saved up
    keys.require_tokens("alice")
    keys.used("alice", 1)
    with pytest.raises(ApiProblem):
        keys.require_tokens("alice")


async def test_what_is_refused_costs_no_tokens(file: Path) -> None:
    async with serve(f"--api_keys_file={file}", "--key_tokens_per_minute=10", "--max_model_len=64") as server:
        alice = server.openai.with_options(api_key="key-of-alice")
        for _ in range(2):
            with pytest.raises(openai.BadRequestError) as refused:
                await alice.completions.create(model="m", prompt="x" * 60, max_tokens=60)
            assert refused.value.code == "context_length_exceeded"
        await alice.chat.completions.create(**CHAT)


async def test_the_bound_holds_for_requests(file: Path) -> None:
    async with serve(f"--api_keys_file={file}", "--key_tokens_per_minute=10") as server:
        alice = server.openai.with_options(api_key="key-of-alice")
        await alice.chat.completions.create(**CHAT)
        with pytest.raises(openai.RateLimitError) as refused:
            await alice.chat.completions.create(**CHAT)
        assert refused.value.code == "rate_limit_exceeded"
        await server.openai.with_options(api_key="key-of-bob-1").chat.completions.create(**CHAT)
