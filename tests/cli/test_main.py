"""The stoker command: what it prints, and how it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from stoker.cli import main as cli
from stoker.local.failures import LocalError


def exported(lines: str) -> dict[str, str]:
    """What a shell has after evaluating the lines."""
    script = f'{lines}\nprintf "%s\\n" "$KUBECONFIG" "$INGRESS_HOST" "$INGRESS_PORT" "$PATH"'
    done = subprocess.run(["/bin/bash", "-c", script], capture_output=True, text=True, check=True)
    return dict(
        zip(("KUBECONFIG", "INGRESS_HOST", "INGRESS_PORT", "PATH"), done.stdout.splitlines(), strict=True)
    )


def test_env_can_be_evaluated_whatever_the_paths_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    kubeconfig = "/home/o'neil/my files/$HOME/kubeconfig"
    values = exported(cli.environment(kubeconfig, "198.18.1.2", 30080, Path("/cache/tools/kubectl/bin")))
    assert values["KUBECONFIG"] == kubeconfig
    assert (values["INGRESS_HOST"], values["INGRESS_PORT"]) == ("198.18.1.2", "30080")
    assert values["PATH"] == "/cache/tools/kubectl/bin:/usr/bin:/bin"


def test_env_leaves_path_alone_when_kubectl_is_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/local/bin:/usr/bin:/bin")
    assert exported(cli.environment("k", "h", 1, Path("/usr/bin")))["PATH"] == "/usr/local/bin:/usr/bin:/bin"


@pytest.mark.parametrize("command", [["status"], ["env"], ["load"]])
def test_without_a_cluster_the_command_to_start_one_is_named(tmp_path: Path, command: list[str]) -> None:
    result = CliRunner().invoke(cli.main, command, env={"STOKER_HOME": str(tmp_path / "none")})
    assert result.exit_code == 1
    assert "stoker up" in result.stderr
    assert str(tmp_path / "none") in result.stderr.replace("\n", "")


def test_down_without_a_cluster_is_harmless(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.main, ["down"], env={"STOKER_HOME": str(tmp_path / "none")})
    assert result.exit_code == 0
    assert "no cluster" in result.stderr


def test_a_failure_shows_problem_details_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object) -> None:
        raise LocalError("The thing [x] broke.", "Mend it.", "line [/red] one")

    monkeypatch.setattr("stoker.local.cluster.up", fail)
    result = CliRunner().invoke(cli.main, ["up"])
    assert result.exit_code == 1
    assert result.stderr.splitlines() == ["Error: The thing [x] broke.", "line [/red] one", "Mend it."]


def test_an_interrupted_command_ends_as_a_shell_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stoker.local.cluster.up", interrupted)
    assert CliRunner().invoke(cli.main, ["up"]).exit_code == 130


def test_logs_names_what_it_knows(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "kubelet.log").write_text("one\ntwo\nthree\n")
    environment = {**os.environ, "STOKER_HOME": str(tmp_path)}

    def logs(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "stoker.cli.main", "logs", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert logs().stdout.split() == ["kubelet"]
    assert logs("kubelet", "-n", "2").stdout == "two\nthree\n"
    unknown = logs("kublet")
    assert unknown.returncode == 1
    assert "kubelet" in unknown.stderr


def test_help_lists_every_command() -> None:
    said = CliRunner().invoke(cli.main, ["--help"]).output
    for command in ("up", "down", "status", "logs", "env", "load", "run", "model", "binaries"):
        assert f"\n  {command} " in said
