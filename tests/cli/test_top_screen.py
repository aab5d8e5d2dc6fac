"""`stoker top` on a terminal: what fits, what a resize does, and that the terminal is left as it was."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.cli.live.frame import frame
from stoker.cli.live.rates import Rates
from stoker.cli.live.rows import Row
from stoker.kube.client import ConnectionConfig, connect
from stoker.kube.resource import NAMESPACES, Key, Resource
from stoker.local.control_plane import ApiServer
from stoker.serving import names

BUSY = Rates(94.6, 5.9, 0.0, 0.012, 1.2, 3, 0, 0.53)
ROWS = [
    Row(Key("default", "chat"), True, "1/1", BUSY),
    Row(Key("default", "huggingface-llama3"), False, "0/1", Rates(), "CrashLoopBackOff"),
    Row(Key("default", "vectors"), True, "3/3", BUSY, "2 not scraped: the pod cannot be reached"),
]
ABOUT = "default, every 2 s"


def texts(width: int, height: int = 24, fault: str = "") -> list[str]:
    return [line.text for line in frame(ROWS, width, height, about=ABOUT, namespaced=False, fault=fault)]


def test_a_narrow_terminal_does_without_columns_before_names_are_cut() -> None:
    assert texts(200)[1].split("  ")[-1] == "NOTE"
    assert texts(80)[1].split() == ["NAME", "READY", "TOK/S", "TTFT", "P50", "P99", "ERR/S", "NOTE"]
    assert texts(60) == [
        ABOUT,
        "NAME                READY  TOK/S  TTFT P50  NOTE",
        "chat                  1/1   94.6      12ms",
        "huggingface-llama3    0/1      -         -  CrashLoopBackOff",
        "vectors               3/3   94.6      12ms  2 not scraped: …",
    ]


def test_what_does_not_fit_below_is_counted_and_a_fault_is_not_lost() -> None:
    assert texts(100, 4)[-2:] == [texts(100)[2], "and 2 more, 1 of them not ready"]
    *_, more, fault = texts(100, 4, "as of 12:00:00: the API server is away")
    assert (more, fault) == ("and 3 more, 1 of them not ready", "as of 12:00:00: the API server is away")


@given(
    st.lists(
        st.builds(
            Row,
            st.builds(Key, st.just("default"), st.text("abc-", min_size=1, max_size=63)),
            st.booleans(),
            st.just("10/12"),
            st.sampled_from([BUSY, Rates(), Rates(123456.0, 1000.0, 3.5, 123.4)]),
            st.text(max_size=200),
        ),
        max_size=30,
    ),
    st.integers(1, 250),
    st.integers(1, 60),
    st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=400),
)
def test_nothing_is_wider_or_higher_than_the_terminal(
    rows: list[Row], width: int, height: int, fault: str
) -> None:
    lines = frame(rows, width, height, about=ABOUT, namespaced=True, fault=fault)
    assert len(lines) <= height
    assert all(len(line.text) <= width for line in lines)


class Terminal:
    """A program on a terminal of its own, as its session's leader."""

    def __init__(self, *command: str, columns: int, env: dict[str, str]) -> None:
        self._ours, self._theirs = pty.openpty()
        self.resize(columns)
        self.before = termios.tcgetattr(self._theirs)
        files = {"stdin": self._theirs, "stdout": self._theirs, "stderr": self._theirs}
        self.process = subprocess.Popen(["setsid", "--ctty", *command], env=env, **files)  # type: ignore[call-overload]
        self.said = ""

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", 12, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def until(self, pattern: str) -> str:
        """What it wrote since the last time, up to a little after what matches."""
        end, since = time.monotonic() + 30, len(self.said)
        while not re.search(pattern, self.said[since:]):
            assert time.monotonic() < end, self.said
            if select.select([self._ours], [], [], 0.1)[0]:
                self.said += os.read(self._ours, 65536).decode()
        return self.said[since:]

    def until_it_fits(self, columns: int) -> str:
        """The picture that it shows last, once that is whole and no wider than this."""
        end = time.monotonic() + 30
        while True:
            drawn = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.said.rpartition("\x1b[H")[2])
            if re.search("first .*not looked", drawn) and max(map(len, drawn.splitlines())) <= columns:
                return drawn
            assert time.monotonic() < end, f"wider than {columns}: {drawn}"
            if select.select([self._ours], [], [], 0.1)[0]:
                self.said += os.read(self._ours, 65536).decode()

    def settings(self) -> list[object]:
        return termios.tcgetattr(self._theirs)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)


@pytest.fixture
async def terminal(api_server: ApiServer) -> AsyncIterator[Terminal]:
    """`stoker top` over a namespace with two InferenceServices; its next round is a minute away."""
    group, version = names.INFERENCE_SERVICE_VERSION.split("/")
    services = Resource(group, version, "inferenceservices", names.INFERENCE_SERVICE_KIND)
    async with connect(ConnectionConfig(str(api_server.kubeconfig), field_manager="test")) as client:
        await client.apply(NAMESPACES, {"metadata": {"name": "top-screen"}})
        for name in ("first", "a-name-that-is-rather-long-for-a-small-terminal"):
            spec = {"predictor": {"model": {"modelFormat": {"name": "huggingface"}}}}
            body = {"metadata": {"name": name, "namespace": "top-screen"}, "spec": spec}
            await client.apply(services, body)
        made = Terminal(
            *(sys.executable, "-m", "stoker.cli.main", "top", "-n", "top-screen", "--interval=60"),
            columns=140,
            env=os.environ | {"KUBECONFIG": str(api_server.kubeconfig), "TERM": "xterm-256color"},
        )
        try:
            yield made
        finally:
            made.close()
            for each in (await client.list(services, namespace="top-screen")).items:
                await client.delete(services, Key("top-screen", each["metadata"]["name"]))


@pytest.mark.apiserver
@pytest.mark.parametrize(("keys", "status"), [(b"xyq", 0), (b"\x03", 130)], ids=["q", "ctrl-c"])
def test_a_resize_draws_anew_and_the_terminal_is_left_as_it_was(
    terminal: Terminal, keys: bytes, status: int
) -> None:
    first = terminal.until("first .*not looked at yet")
    assert "\x1b[?1049h" in first, "a screen of its own"
    assert "ERR/S" in first
    terminal.resize(60)
    drawn = terminal.until_it_fits(60)
    assert "READY" in drawn
    assert "KV" not in drawn
    terminal.type(keys)
    last = terminal.until(re.escape("\x1b[?1049l"))
    assert terminal.process.wait(20) == status
    assert "xy" not in last, "keys are not echoed"
    assert "Traceback" not in terminal.said
    assert terminal.said.rindex("\x1b[?25h") > terminal.said.index("\x1b[?25l"), "the cursor is back"
    assert terminal.settings() == terminal.before
