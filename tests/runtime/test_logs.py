"""What the runtime logs of requests, at its default level: their outcome, and never what clients wrote."""

from __future__ import annotations

import json
import subprocess
import sys

from structlog.testing import capture_logs

from .serving import serve

SECRET = "the launch codes are 4711"


async def test_no_prompt_is_logged_whatever_becomes_of_the_request() -> None:
    chat = {"model": "m", "messages": [{"role": "user", "content": SECRET}], "max_tokens": 2}
    bodies = [
        chat,
        {**chat, "max_tokens": -1},
        {**chat, "model": SECRET},
        {**chat, "messages": SECRET},
        {**chat, SECRET: 1},
        {**chat, "messages": [{"role": SECRET, "content": SECRET}]},
    ]
    with capture_logs() as lines:
        async with serve() as server:
            statuses = [(await server.post("/v1/chat/completions", body))[0] for body in bodies]
            await server.post("/v1/completions", {"model": "m", "prompt": SECRET, "max_tokens": 2})
    assert statuses[0] == 200
    assert min(statuses[1:4]) >= 400
    requests = [line for line in lines if "request_id" in line]
    assert len(requests) == len(bodies) + 1, "each has its line and its id"
    assert "launch codes" not in json.dumps(lines, default=repr)


def test_a_traceback_on_a_terminal_shows_no_local_variables() -> None:
    program = f"""
import structlog
from runtime import logs
logs.configure("console")
def answer():
    prompt = {SECRET[:10]!r} + {SECRET[10:]!r}
    raise ValueError("no")
try:
    answer()
except ValueError:
    structlog.get_logger().exception("failed")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert "ValueError" in done.stderr
    assert SECRET not in done.stderr
