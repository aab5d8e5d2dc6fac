"""The hub's cache on disk: `models--ORG--NAME/{refs,snapshots}`, as huggingface_hub lays it out.

Only the standard library is used, so that "is the model here?" is answered before anything heavy loads.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}")
_MODEL_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf")
_SAFE = ("*.safetensors", "*.gguf")
STAND_IN_NOTE = "STAND_IN.md"


def valid_id(model_id: str) -> bool:
    """Whether the hub could have a model of this name (ORG/NAME or NAME)."""
    return _MODEL_ID.fullmatch(model_id) is not None and ".." not in model_id and "--" not in model_id


def stoker_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """Stoker's own cache directory: $STOKER_CACHE, else $XDG_CACHE_HOME/stoker, else ~/.cache/stoker."""
    if given := environ.get("STOKER_CACHE"):
        return Path(given)
    base = environ.get("XDG_CACHE_HOME") or os.path.join(
        environ.get("HOME") or os.path.expanduser("~"), ".cache"
    )
    return Path(base) / "stoker"


def hub_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """Where models are kept: $HF_HUB_CACHE, else Stoker's own cache (never the user's)."""
    given = environ.get("HF_HUB_CACHE")
    return Path(given) if given else stoker_cache(environ) / "huggingface" / "hub"


def use(cache: Path) -> None:
    """Makes every library in this process and its children use this cache. Call before they are imported."""
    os.environ["HF_HUB_CACHE"] = str(cache)


def offline(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the hub is switched off (HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE)."""
    value = environ.get("HF_HUB_OFFLINE") or environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in ("1", "ON", "YES", "TRUE")


def folder(cache: Path, model_id: str) -> Path:
    """The directory of one model in the cache."""
    return cache / ("models--" + model_id.replace("/", "--"))


def find(cache: Path, model_id: str, revision: str | None) -> Path | None:
    """The complete snapshot of a model at a branch, tag or commit, or None."""
    snapshot = snapshot_of(cache, model_id, revision)
    return snapshot if snapshot is not None and complete(snapshot) else None


def snapshot_of(cache: Path, model_id: str, revision: str | None) -> Path | None:
    """The snapshot of a repository at a branch, tag or commit, complete or not; None where there is none."""
    home, wanted = folder(cache, model_id), revision or "main"
    if _COMMIT.fullmatch(wanted):
        commit = wanted
    else:
        try:
            commit = (home / "refs" / wanted).read_text().strip()
        except OSError:
            return None
    snapshot = home / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def complete(snapshot: Path) -> bool:
    """Whether a snapshot holds a configuration and all of its weight files."""
    if not (snapshot / "config.json").exists():
        return False
    shards = _indexed(snapshot)
    if shards is not None:
        return bool(shards) and not missing_files(snapshot)
    return any(path.exists() for pattern in _WEIGHTS for path in snapshot.glob(pattern))


def missing_files(snapshot: Path) -> list[str]:
    """Weight files that the snapshot's own index names and that are not there."""
    return sorted(shard for shard in _indexed(snapshot) or () if not (snapshot / shard).exists())


def pickles_only(snapshot: Path) -> list[str]:
    """The pickled weight files of a snapshot that has no safe ones; none where it has."""
    if any(path.exists() for pattern in _SAFE for path in snapshot.glob(pattern)):
        return []
    return sorted(
        path.name for pattern in _WEIGHTS if pattern not in _SAFE for path in snapshot.glob(pattern)
    )


def _indexed(snapshot: Path) -> set[str] | None:
    """The weight files that the index names; None where there is no index, none where it cannot be read."""
    index = snapshot / "model.safetensors.index.json"
    if not index.exists():
        return None
    try:
        return {str(shard) for shard in json.loads(index.read_text())["weight_map"].values()}
    except (OSError, ValueError, KeyError, AttributeError):
        return set()


def weight_bytes(snapshot: Path) -> int:
    """The size of a snapshot's weights in bytes: safetensors where there are any, else the older formats."""
    for pattern in _WEIGHTS:
        if found := [path.stat().st_size for path in snapshot.glob(pattern)]:
            return sum(found)
    return 0


def stored_element_bytes(snapshot: Path) -> int | None:
    """Bytes of one weight as config.json says it is stored; None where it does not say."""
    try:
        config = json.loads((snapshot / "config.json").read_text())
    except (OSError, ValueError):
        return None
    if "quantization_config" in config:
        return None
    name = config.get("dtype") or config.get("torch_dtype")
    return {"bfloat16": 2, "float16": 2, "float32": 4}.get(str(name))


def is_stand_in(snapshot: Path) -> bool:
    """Whether the snapshot is the dequantised stand-in rather than the hub's own files."""
    return (snapshot / STAND_IN_NOTE).exists()
