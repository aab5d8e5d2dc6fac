"""Prometheus' own programs: from PATH, else unpacked from Debian's packages into Stoker's cache.

Nothing is installed, no service is started, and root is not needed; apt fetches the packages and checks
their signatures.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from stoker.local.failures import LocalError
from stoker.local.home import cache_from

# As root apt would drop to a user who cannot write here.
_APT = ("apt-get", "-q", "-oAPT::Sandbox::User=root")
# What its pages in the browser load; Debian ships these parts as packages of their own.
_PACKAGES = (
    "prometheus",
    "fonts-glyphicons-halflings",
    "libjs-bootstrap4",
    "libjs-d3",
    "libjs-eonasdan-bootstrap-datetimepicker",
    "libjs-jquery",
    "libjs-jquery-hotkeys",
    "libjs-moment",
    "libjs-moment-timezone",
    "libjs-mustache",
    "libjs-popper.js",
    "libjs-rickshaw",
)
_UNUSED = ("doc", "man", "lintian", "nodejs", "javascript/moment-timezone/data")  # 220 MB
_REMEDY = "Put `prometheus` and `promtool`, 2.42 or newer, on PATH, then try again."


def program(
    name: str, environ: Mapping[str, str] | None = None, note: Callable[[str], None] = lambda _: None
) -> Path:
    """The path of `prometheus` or `promtool`; `note` is told before something is downloaded (23 MB).

    `share` beside the program's folder holds what Debian's build shows in a browser.

    Raises LocalError where it is nowhere and could not be fetched.
    """
    environ = os.environ if environ is None else environ
    if found := shutil.which(name, path=environ.get("PATH", "")):
        return Path(found)
    folder = cache_from(environ) / "tools" / "prometheus"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / ".prometheus.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "bin" / name).exists():
            _fetch(folder, environ, note)
    return folder / "bin" / name


def _fetch(folder: Path, environ: Mapping[str, str], note: Callable[[str], None]) -> None:
    for needed in ("apt-get", "dpkg-deb"):
        if shutil.which(needed, path=environ.get("PATH", "")) is None:
            raise LocalError(
                f"Prometheus is not on PATH, and there is no {needed} to fetch Debian's packages with.",
                _REMEDY,
            )
    note("Fetching Prometheus (Debian's packages, 23 MB, unpacked into Stoker's cache)")
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        here = Path(made)
        packages = _download(here, environ)
        try:
            for package in packages:
                _run(["dpkg-deb", "--extract", str(package), str(here / "files")], here, environ, 60)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            problem = "Debian's packages of Prometheus could not be unpacked."
            raise LocalError(problem, _REMEDY, _words(error)) from error
        for unused in _UNUSED:
            shutil.rmtree(here / "files/usr/share" / unused, ignore_errors=True)
        (here / "files/usr").rename(folder)


def _download(here: Path, environ: Mapping[str, str]) -> list[Path]:
    # The machine's own lists may be missing or older than the mirror; lists of our own need no root.
    own = [f"-oDir::State={here}/state", f"-oDir::Cache={here}/cache", "-oDir::State::status=/dev/null"]
    words = ""
    for options in ([], own):
        try:
            if options:
                for folder in ("state/lists/partial", "cache/archives/partial"):
                    (here / folder).mkdir(parents=True)
                _run([*_APT, *options, "-oAPT::Update::Error-Mode=any", "update"], here, environ, 90)
            _run([*_APT, *options, "download", *_PACKAGES], here, environ, 60)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            words = _words(error)
            continue
        return list(here.glob("*.deb"))
    raise LocalError("apt could not fetch Debian's packages of Prometheus.", _REMEDY, words)


def _words(error: subprocess.CalledProcessError | subprocess.TimeoutExpired) -> str:
    """The end of what a failed command said."""
    return str(error.stderr or error)[-500:]


def _run(command: list[str], where: Path, environ: Mapping[str, str], seconds: float) -> None:
    subprocess.run(
        command, cwd=where, env=dict(environ), check=True, capture_output=True, text=True, timeout=seconds
    )
