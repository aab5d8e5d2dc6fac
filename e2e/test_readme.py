"""README's replay of the page that Stoker came from, run block by block in one shell."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from e2e import readme
from e2e.cluster import ROOT, Cluster

MARK = "--8<-- done"


class Shell:
    """One bash that keeps its variables between blocks, as a person's terminal does."""

    def __init__(self, env: dict[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], env=env, cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def run(self, script: str) -> tuple[int, str]:
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{script}\necho; echo '{MARK}' $?\n")
        self._bash.stdin.flush()
        lines: list[str] = []
        for line in self._bash.stdout:
            if line.startswith(MARK):
                return int(line.removeprefix(MARK)), "".join(lines)
            lines.append(line)
        raise AssertionError(f"the shell ended in:\n{script}\n{''.join(lines)}")

    def close(self) -> None:
        self._bash.kill()
        self._bash.wait()


@pytest.fixture
def shell(cluster: Cluster) -> Iterator[Shell]:
    bash = Shell({**os.environ, "STOKER_HOME": cluster.env["STOKER_HOME"]})
    yield bash
    bash.close()


@pytest.mark.timeout(600)
def test_readme_replays_the_page(shell: Shell) -> None:
    ran = 0
    for step in readme.steps(ROOT / "README.md", "# Serve a model"):
        if "stoker down" in step.script:
            continue
        code, out = shell.run(step.script)
        ran += 1
        assert code == 0, f"{step.script}\nexit {code}\n{out}"
        check(step, out)
    assert ran >= 12, "README shows both backends, each with its requests"


def check(step: readme.Step, out: str) -> None:
    """Compare what came with what README shows, but for what differs from run to run."""
    if step.expected is None:
        return
    if step.language == "console":
        assert readme.table(out) == readme.table(step.expected)
    elif step.language == "json":
        got, shown = readme.shape(json.loads(out)), readme.shape(json.loads(step.expected))
        assert list(got) == list(shown), "the same keys in the same order"
        assert got == shown
        answer = json.loads(out)
        usage, choice = answer["usage"], answer["choices"][0]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert (choice["finish_reason"], usage["completion_tokens"] == 30) in {
            ("length", True),
            ("stop", False),
        }
    else:
        got, shown = readme.events(out), readme.events(step.expected)
        assert got[-1] == shown[-1] == "[DONE]"
        assert readme.shape(got[0]) == readme.shape(shown[0])
        assert readme.shape(got[-2]) == readme.shape(shown[-2])
        assert {event["id"] for event in got[:-1]} == {got[0]["id"]}
