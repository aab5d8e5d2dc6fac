"""Files of a source: which are wanted, and whether their names may become paths."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from runtime.failures import Failure, Reason

# Loading one of these runs the code in it.
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.joblib", "*.dill")
_SAFE_WEIGHTS = ("*.safetensors", "*.onnx", "*.gguf", "*.plan", "*.engine")
_TEXT = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.vocab")
# The same weights once more for other programs.
_OTHER_FORMATS = ("original/*", "consolidated*", "onnx/*", "openvino/*")
WORK = ".stoker-fetch"  # folder of partial files and marks beside fetched files
_HIDDEN = (".gitattributes", ".gitignore", ".git/*", f"{WORK}/*", ".cache/*")


@dataclass(frozen=True)
class Digest:
    """What the content must hash to. `kind`: sha256, md5, or git (sha1 of a git blob)."""

    kind: str
    value: str


@dataclass(frozen=True)
class RemoteFile:
    """A file that a source offers. `tag` names this content of it: an ETag or a hash."""

    path: str
    size: int
    tag: str
    digest: Digest | None = None


@dataclass(frozen=True)
class Choice:
    """What of a source is wanted. `everything`: for programs that are not known here; else what Stoker's own
    runtime reads. `code`: Python files too.
    """

    everything: bool = False
    pickle: bool = False
    code: bool = False


def choose(files: Sequence[RemoteFile], choice: Choice, source: str) -> list[RemoteFile]:
    """The files to fetch. Raises Failure where a name is unsafe or the only weights are pickles."""
    check_paths((file.path for file in files), source)
    kept = [file for file in files if not _matches(file.path, _HIDDEN)]
    if not choice.everything:
        kept = [file for file in kept if not _matches(file.path, _OTHER_FORMATS)]
    pickles = [file for file in kept if _matches(file.path, PICKLES)]
    plain = [file for file in kept if not _matches(file.path, PICKLES)]
    if not choice.everything:
        wanted = [*_TEXT, "*.safetensors", *(["*.py"] if choice.code else [])]
        plain = [file for file in plain if _matches(file.path, wanted)]
    if any(_matches(file.path, _SAFE_WEIGHTS) for file in plain):
        # Beside safe weights pickles repeat them. Another program than Stoker's may want them all the same.
        return plain + pickles if choice.pickle and choice.everything else plain
    if pickles and not choice.pickle:
        raise pickle_refused(source, [file.path for file in pickles])
    return plain + pickles


def pickle_refused(source: str, paths: Sequence[str]) -> Failure:
    """The Failure for a model that has nothing but pickled weights."""
    named = ", ".join(sorted(paths)[:3]) + (" and others" if len(paths) > 3 else "")
    return Failure(
        Reason.PICKLE_REFUSED,
        f"{source} has no safetensors, only pickled weights ({named}), and loading a pickle runs whatever "
        f"code is in it. Convert the model to safetensors, or, where you trust its source, allow it with "
        f"--allow_pickle (Stoker's runtime) or the variable STOKER_ALLOW_PICKLE=true.",
    )


def check_paths(paths: Iterable[str], source: str) -> None:
    """Refuses names that would leave the target or stand in each other's way. Raises Failure."""
    seen: set[str] = set()
    for path in paths:
        parts = path.split("/")
        bad = not path or path.startswith("/") or any(part in ("", ".", "..") for part in parts)
        if bad or "\0" in path or "\\" in path or any(len(part.encode()) > 255 for part in parts):
            raise Failure(
                Reason.MODEL_INVALID,
                f"{source} holds a file called {path!r}, which is no safe path. Nothing was fetched; "
                f"rename it.",
            )
        seen.add(path)
    for path in seen:
        for parent in PurePosixPath(path).parents:
            if str(parent) in seen:
                raise Failure(
                    Reason.MODEL_INVALID,
                    f"{source} holds both a file {str(parent)!r} and files below it. Rename one of them.",
                )


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
