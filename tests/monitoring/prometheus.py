"""Prometheus' own programs, for tests: from PATH, else unpacked from Debian's package into Stoker's cache.

Nothing is installed and no service is started; apt fetches the package and checks its signature.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from stoker.local.home import cache_from

_APT = ("apt-get", "-q", "-oAPT::Sandbox::User=root")


class NoPrometheus(Exception):
    """The programs are not here and could not be fetched; says what to do."""


def program(name: str) -> Path:
    """`promtool` or `prometheus`. Raises NoPrometheus."""
    if found := shutil.which(name):
        return Path(found)
    folder = cache_from(os.environ) / "tools" / "prometheus-debian"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / ".prometheus.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / name).exists():
            _fetch(folder)
    return folder / name


def _fetch(folder: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NoPrometheus(
            "promtool is not on PATH: install Prometheus 2.42 or newer (Debian unpacks itself)"
        )
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        here = Path(made)
        package = _download(here)
        _run(["dpkg-deb", "--extract", str(package), str(here / "files")], here, 60)
        (here / "files/usr/bin").rename(folder)


def _download(here: Path) -> Path:
    # The machine's own lists may be missing or older than the mirror; lists of our own need no root.
    own = [f"-oDir::State={here}/state", f"-oDir::Cache={here}/cache", "-oDir::State::status=/dev/null"]
    words = ""
    for options in ([], own):
        try:
            if options:
                for folder in ("state/lists/partial", "cache/archives/partial"):
                    (here / folder).mkdir(parents=True)
                _run([*_APT, *options, "update"], here, 90)
            _run([*_APT, *options, "download", "prometheus"], here, 60)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            words = str(error.stderr or error)[-500:]
            continue
        return next(here.glob("prometheus_*.deb"))
    raise NoPrometheus(f"apt could not fetch the package prometheus (or put promtool on PATH): {words}")


def _run(command: list[str], where: Path, seconds: float) -> None:
    subprocess.run(command, cwd=where, check=True, capture_output=True, text=True, timeout=seconds)
