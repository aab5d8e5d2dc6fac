"""Running kubectl against one cluster."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from stoker.local.failures import LocalError


@dataclass(frozen=True)
class Kubectl:
    """kubectl with the cluster's kubeconfig; `cache` keeps its discovery out of the home directory."""

    program: Path
    kubeconfig: Path
    cache: Path

    def command(self, *arguments: str) -> list[str]:
        """The command line for some arguments."""
        return [
            str(self.program),
            f"--kubeconfig={self.kubeconfig}",
            f"--cache-dir={self.cache}",
            *arguments,
        ]

    def run(self, *arguments: str, text: str | None = None, timeout: float = 120.0) -> str:
        """Run it with `text` as its standard input; returns what it prints.

        Raises LocalError with its words when it fails.
        """
        try:
            done = subprocess.run(
                self.command(*arguments),
                input=text,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise _failed(arguments, f"no end after {timeout:.0f} s") from error
        if done.returncode:
            raise _failed(arguments, done.stderr)
        return done.stdout

    def apply(self, manifest: str) -> str:
        """Server-side apply of YAML or JSON documents."""
        flags = ("--server-side", "--force-conflicts", "--field-manager=stoker-up", "--filename=-")
        return self.run("apply", *flags, text=manifest)


def _failed(arguments: tuple[str, ...], words: str) -> LocalError:
    return LocalError(
        f"`kubectl {' '.join(arguments)}` failed.",
        "`stoker status` says what runs, `stoker logs kube-apiserver` what the API server says.",
        words[-3000:],
    )
