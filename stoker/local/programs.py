"""Finding the programs of Kubernetes: KUBEBUILDER_ASSETS, then PATH, then the cache, else a build.

What KUBEBUILDER_ASSETS names is taken as it is: somebody chose it. On PATH only the release that
Stoker is tried with counts (a kubelet may not be newer than its API server, and Debian's etcd 3.4
loses watch events). The cache holds exactly what `stoker/local/binaries/` builds.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stoker.local.home import cache_from

MODULES = Path(__file__).parent / "binaries"


@dataclass(frozen=True)
class Program:
    """One program, the Go package it is built from, and the release wanted."""

    name: str
    module: str
    package: str
    release: str
    version_flag: str = "--version"

    def version_in(self, output: str) -> str | None:
        """The version (`1.37.2`) that the program's answer to its version flag names."""
        found = re.search(r"(\d+\.\d+\.\d+)", output)
        return found.group(1) if found else None


def _required(module: str, path: str) -> str:
    """The version of `path` that a module's go.mod asks for, without the leading v."""
    text = (MODULES / module / "go.mod").read_text()
    found = re.search(rf"^(?:require)?\s*{re.escape(path)} v(\S+)", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"{MODULES / module}/go.mod does not require {path}")
    return found.group(1)


KUBERNETES_RELEASE = _required("kubernetes", "k8s.io/kubernetes")

_ETCD = Program(
    "etcd", "kubernetes", "go.etcd.io/etcd/server/v3", _required("kubernetes", "go.etcd.io/etcd/server/v3")
)
_COREDNS = Program(
    "coredns", "coredns", ".", _required("coredns", "github.com/coredns/coredns"), version_flag="-version"
)
_KUBERNETES = tuple(
    Program(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", KUBERNETES_RELEASE)
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
)
PROGRAMS = {program.name: program for program in (_ETCD, *_KUBERNETES, _COREDNS)}
CONTROL_PLANE = ("etcd", "kube-apiserver")
NODE = tuple(PROGRAMS)


@dataclass(frozen=True)
class Found:
    """Where the wanted programs are, and which are nowhere yet."""

    paths: dict[str, Path]
    missing: tuple[Program, ...]


def find(names: Iterable[str], environ: Mapping[str, str] | None = None) -> Found:
    """Look for programs without building any."""
    environ = os.environ if environ is None else environ
    cache = cache_from(environ) / "bin"
    answers = _Answers(cache / ".versions.json")
    paths: dict[str, Path] = {}
    missing = []
    for program in (PROGRAMS[name] for name in names):
        path = _find_one(program, environ, cache, answers)
        if path is None:
            missing.append(program)
        else:
            paths[program.name] = path
    answers.save()
    return Found(paths, tuple(missing))


def _find_one(program: Program, environ: Mapping[str, str], cache: Path, answers: _Answers) -> Path | None:
    if assets := environ.get("KUBEBUILDER_ASSETS"):
        chosen = Path(assets) / program.name
        if os.access(chosen, os.X_OK):
            return chosen
    on_path = shutil.which(program.name, path=environ.get("PATH", ""))
    if on_path and _minor(answers.version(program, Path(on_path))) == _minor(program.release):
        return Path(on_path)
    cached = cache / program.name
    if os.access(cached, os.X_OK) and answers.version(program, cached) == program.release:
        return cached
    return None


def _minor(version: str | None) -> str | None:
    return version.rpartition(".")[0] if version else None


class _Answers:
    """What programs said when asked for their version; asking all seven takes seconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = False
        try:
            self._known: dict[str, list[object]] = json.loads(path.read_text())
        except (OSError, ValueError):
            self._known = {}

    def version(self, program: Program, path: Path) -> str | None:
        stat = path.stat()
        stamp: list[object] = [stat.st_size, stat.st_mtime_ns]
        known = self._known.get(str(path))
        if known is None or known[:2] != stamp:
            known = [*stamp, _ask(program, path)]
            self._known[str(path)] = known
            self._changed = True
        version = known[2]
        return version if isinstance(version, str) else None

    def save(self) -> None:
        if not self._changed:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(self._known))
        temporary.replace(self._path)


def _ask(program: Program, path: Path) -> str | None:
    command = [str(path), program.version_flag]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return program.version_in(answer.stdout + answer.stderr)
