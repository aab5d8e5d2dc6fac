"""A process that compiles grammars, each in a child with its own limits on time and memory.

    python -m runtime.engines.transformers.grammar.program CPU_SECONDS BYTES

xgrammar cannot be interrupted, and what a schema costs cannot be told from its text. Here the kernel ends
what takes too long or too much, and the next grammar finds a fresh child of a process that has everything
loaded.

On both pipes a message is its length in 8 bytes, then so many bytes. First comes the tokenizer, then
grammars; each is answered with a letter and a text: C and the compiled grammar, R and why it is refused, or
L for the limits.
"""

from __future__ import annotations

import os
import resource
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

HEAD = struct.Struct(">Q")
COMPILED, REFUSED, LIMITED = b"C", b"R", b"L"


def main(cpu_seconds: int, room: int) -> None:
    """Until the other side closes its pipe. `room`: bytes of memory that a grammar may take."""
    import xgrammar  # noqa: PLC0415 - the other side of the pipe needs only the letters

    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    tokenizer = read(requests)
    if tokenizer is None:
        return
    info = xgrammar.TokenizerInfo.deserialize_json(tokenizer.decode())
    while (grammar := read(requests)) is not None:
        write(answers, _in_a_child(info, grammar, cpu_seconds, room))


def read(pipe: BinaryIO) -> bytes | None:
    """The next message; None where there is none, or only a part."""
    head = pipe.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    (length,) = HEAD.unpack(head)
    body = pipe.read(length)
    return body if len(body) == length else None


def write(pipe: BinaryIO, message: bytes) -> None:
    """One message."""
    pipe.write(HEAD.pack(len(message)) + message)
    pipe.flush()


def _in_a_child(info: Any, grammar: bytes, cpu_seconds: int, room: int) -> bytes:
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        _limit(cpu_seconds, room)
        try:
            with os.fdopen(theirs, "wb") as pipe:
                write(pipe, _compiled(info, grammar))
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        answer = read(pipe)
    os.waitpid(child, 0)
    return LIMITED if answer is None else answer


def _limit(cpu_seconds: int, room: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    most = pages * resource.getpagesize() + room
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _compiled(info: Any, grammar: bytes) -> bytes:
    import xgrammar  # noqa: PLC0415 - is loaded

    # The limit on threads keeps the child's time that of one processor; its cache would die with it.
    compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
    try:
        compiled: str = compiler.compile_structural_tag(grammar.decode()).serialize_json()
        return COMPILED + compiled.encode()
    except MemoryError:
        return LIMITED
    except (RuntimeError, ValueError) as error:
        return LIMITED if "bad_alloc" in str(error) else REFUSED + _first_line(error).encode()


def _first_line(error: Exception) -> str:
    # xgrammar writes "[time] /its/source.cc:line: what is wrong".
    text = (str(error).splitlines() or [""])[0]
    return text.rsplit(".cc:", 1)[-1].split(": ", 1)[-1][:200]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
