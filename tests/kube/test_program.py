"""Programs as processes: signals, exit statuses, logs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HEAD = """
import asyncio, logging, sys
import structlog
from stoker.kube.program import configure_logging, run_until_signalled
log = structlog.get_logger()
"""


@contextmanager
def program(body: str) -> Iterator[subprocess.Popen[str]]:
    """A process with that `async def main()`; it prints "up" when a signal may come."""
    source = HEAD + textwrap.dedent(body) + "\nsys.exit(run_until_signalled(main))\n"
    command = [sys.executable, "-c", source]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until_up(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"


PATIENT = """
configure_logging(json=True)
async def main():
    try:
        print("up", flush=True)
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        print("closed", flush=True)
"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_closes_in_order(signum: signal.Signals) -> None:
    with program(PATIENT) as process:
        wait_until_up(process)
        process.send_signal(signum)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "closed\n")
    assert [json.loads(line)["event"] for line in err.splitlines()] == ["stopping"]
    assert json.loads(err)["signal"] == signum.name


def test_the_second_signal_ends_at_once() -> None:
    stubborn = """
    configure_logging(json=True)
    async def main():
        print("up", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            print("up", flush=True)
            await asyncio.Event().wait()
    """
    with program(stubborn) as process:
        for _ in range(2):
            wait_until_up(process)
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 128 + signal.SIGTERM


def test_exit_statuses_and_what_is_logged() -> None:
    with program("configure_logging(json=True)\nasync def main(): log.info('done', count=3)\n") as process:
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    record = json.loads(err)
    assert (record["event"], record["count"], record["level"]) == ("done", 3, "info")
    assert record["timestamp"].endswith("Z")

    failing = """
    configure_logging(json=True)
    async def main():
        logging.getLogger("a.library").warning("hello %s", "there")
        logging.getLogger("a.library").debug("unheard")
        raise KeyError("a bug")
    """
    with program(failing) as process:
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    library, failure = (json.loads(line) for line in err.splitlines())
    assert (library["event"], library["logger"]) == ("hello there", "a.library")
    assert failure["event"] == "the program failed"
    assert "KeyError: 'a bug'" in failure["exception"]


def test_text_for_people() -> None:
    body = "configure_logging(json=False)\nasync def main(): log.warning('look out', pod='web')\n"
    with program(body) as process:
        _, err = process.communicate(timeout=20)
    assert "look out" in err
    assert "pod=web" in err
    with pytest.raises(ValueError):
        json.loads(err)


def test_a_log_nobody_reads_stops_nothing() -> None:
    body = """
    import os
    configure_logging()
    async def main():
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 2)
        log.info("into nowhere")
        print("still here", flush=True)
    """
    with program(body) as process:
        out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "still here\n")
