"""What the machine or the container gives this process: memory and processors."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
# Where a limit is absent, cgroup v1 says a number near 2**63.
_NO_LIMIT = 1 << 60


def memory_limit(root: Path = _CGROUP, own: Path = Path("/proc/self/cgroup")) -> int | None:
    """The memory limit of this process's cgroup in bytes (v2 or v1), the smallest on its path; else None."""
    found = [
        limit
        for directory in _own_directories(root, own, "memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (limit := _number(directory / name)) is not None and limit < _NO_LIMIT
    ]
    return min(found, default=None)


def memory_available(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes that new work can use on this machine without swapping."""
    return _statistic(meminfo, "MemAvailable:") * 1024


def memory_free(root: Path = _CGROUP, own: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes that new work can use within the machine's memory and this process's cgroups."""
    free = memory_available()
    for directory in _own_directories(root, own, "memory"):
        for most, now in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, used = _number(directory / most), _number(directory / now)
            if limit is not None and used is not None:
                # Pages of files are given back where memory is needed.
                files = _statistic(directory / "memory.stat", "inactive_file ")
                free = min(free, limit - used + files)
    return max(0, free)


def processors(root: Path = _CGROUP, own: Path = Path("/proc/self/cgroup")) -> int:
    """How many threads can compute at once: the CPU quota rounded up, within the allowed processors."""
    allowed = len(os.sched_getaffinity(0))
    for directory in _own_directories(root, own, "cpu"):
        quota = _quota(directory)
        if quota is not None:
            allowed = min(allowed, max(1, math.ceil(quota)))
    return allowed


def fast_half_precision(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies 16-bit floats at full speed. Where it does not, libraries fall back to
    loops that are several times slower than float32 (x86 before AVX512, virtual machines that hide it).
    """
    if platform.machine() != "x86_64":
        return True
    try:
        flags = next(line for line in cpuinfo.read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return True
    return bool({"avx512f", "amx_bf16", "avx_ne_convert"} & set(flags.split()))


def _quota(directory: Path) -> float | None:
    try:
        words = (directory / "cpu.max").read_text().split()
        if words[0] != "max":
            return int(words[0]) / int(words[1])
    except (OSError, ValueError, IndexError):
        quota, period = _number(directory / "cpu.cfs_quota_us"), _number(directory / "cpu.cfs_period_us")
        if quota is not None and quota > 0 and period:
            return quota / period
    return None


def _own_directories(root: Path, own: Path, controller: str) -> Iterator[Path]:
    """This process's cgroup directory and its parents, for v2 and for one controller of v1."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",")
        if controllers and controller not in names:
            continue
        for base in {root / controller, root / controllers} if controllers else {root}:
            if not base.is_dir():
                continue
            directory = base / path.lstrip("/")
            # In a container's own cgroup namespace the path may lead outside of what is mounted.
            if not directory.is_dir():
                directory = base
            yield directory
            while directory != base:
                directory = directory.parent
                yield directory


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _statistic(path: Path, name: str) -> int:
    try:
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return int(line.removeprefix(name).split()[0])
    except (OSError, ValueError, IndexError):
        pass
    return 0
