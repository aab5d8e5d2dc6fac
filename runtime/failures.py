"""Why a runtime ends: a closed set of reasons, a sentence for people, and the termination document.

The reasons are part of the state document (manifests/state.schema.json), so that a controller can act on
them without reading prose.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

# The kubelet keeps at most this much of a termination message.
TERMINATION_MESSAGE_BYTES = 4096
TERMINATION_LOG = Path("/dev/termination-log")


class Reason(StrEnum):
    """What kind of failure ended the program."""

    INVALID_ARGUMENT = "InvalidArgument"
    MODEL_NOT_FOUND = "ModelNotFound"
    MODEL_GATED = "ModelGated"
    TOKEN_MISSING = "TokenMissing"  # noqa: S105 - the name of a failure
    HUB_UNREACHABLE = "HubUnreachable"
    MODEL_INVALID = "ModelInvalid"
    FILE_MISSING = "FileMissing"
    PICKLE_REFUSED = "PickleRefused"
    STORAGE_UNREACHABLE = "StorageUnreachable"
    STORAGE_NOT_WRITABLE = "StorageNotWritable"
    CREDENTIALS_MISSING = "CredentialsMissing"
    ACCESS_DENIED = "AccessDenied"
    CHECKSUM_MISMATCH = "ChecksumMismatch"
    MODEL_UNSUPPORTED = "ModelUnsupported"
    BACKEND_UNAVAILABLE = "BackendUnavailable"
    OUT_OF_MEMORY = "OutOfMemory"
    DISK_FULL = "DiskFull"
    PORT_IN_USE = "PortInUse"
    ENGINE_FAILED = "EngineFailed"
    ENGINE_DIED = "EngineDied"


_EXIT_CODES = {Reason.INVALID_ARGUMENT: 2, Reason.ENGINE_DIED: 3}


class Failure(Exception):
    """The program cannot go on. The message says what happened, with numbers, and what to change."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    @property
    def exit_code(self) -> int:
        """2 for what the command line got wrong, 3 for an engine that ended once it served, 1 for every other
        start that failed. docs/status.md lists them.
        """
        return _EXIT_CODES.get(self.reason, 1)


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and its causes, outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def explain(error: BaseException, *, doing: str) -> Failure:
    """The Failure that an unexpected exception amounts to. `doing` completes "failed while ..."."""
    for each in chain(error):
        if isinstance(each, Failure):
            return each
        text = str(each)
        if isinstance(each, MemoryError) or type(each).__name__ == "OutOfMemoryError":
            return Failure(
                Reason.OUT_OF_MEMORY, f"Out of memory while {doing}: {text or 'allocation failed'}"
            )
        if isinstance(each, OSError) and each.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f" ({each.filename})" if each.filename else ""
            return Failure(
                Reason.DISK_FULL,
                f"The disk is full{where} while {doing}. Free some space or use a larger volume.",
            )
    summary = next((str(each) for each in chain(error) if str(each)), type(error).__name__)
    return Failure(Reason.ENGINE_FAILED, f"Failed while {doing}: {type(error).__name__}: {summary}")


def termination_text(document: Mapping[str, Any]) -> str:
    """The state document as JSON of at most 4096 bytes: the error's message is what gives way."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    excess = len(text.encode()) - TERMINATION_MESSAGE_BYTES
    error = document.get("error")
    if excess <= 0 or not isinstance(error, Mapping):
        return text
    message = str(error["message"])
    while excess > 0 and message:
        # Quotes and newlines take two bytes each once encoded, so cut again until it fits.
        message = message.encode()[: -excess - 4].decode(errors="ignore")
        shorter = {**document, "error": {**error, "message": message + "..."}}
        text = json.dumps(shorter, ensure_ascii=False, separators=(",", ":"))
        excess = len(text.encode()) - TERMINATION_MESSAGE_BYTES
    return text


def write_termination_message(document: Mapping[str, Any], path: Path = TERMINATION_LOG) -> bool:
    """Leaves the document where the kubelet looks for it. False where there is no such file to write."""
    if not path.exists() or not os.access(path, os.W_OK):
        return False
    try:
        path.write_text(termination_text(document))
    except OSError:
        return False
    return True
