"""From an engine's pieces to one stream: at once where nothing stands in the way, else when it can be."""

from __future__ import annotations

import asyncio

from runtime.openai.answers import Piece
from runtime.openai.chunks import Chunks
from runtime.server.holding import Holding
from runtime.server.stream import EventStream


class Outlet:
    """Takes the pieces of a streamed answer. No task is woken for a piece unless the reader is slow.

    Pieces keep their order, and none is lost: what cannot be written yet (the head is not out, the reader is
    slow, the server holds tokens under load) is kept, and goes out before what comes later.
    """

    def __init__(
        self, stream: EventStream, chunks: Chunks, holding: Holding, choices: int, *, opening: bytes
    ) -> None:
        """`opening`: what goes before the first piece."""
        self._opening = opening
        self._stream = stream
        self._chunks = chunks
        self._holding = holding
        self._several = choices > 1
        self._open = choices
        self._kept: list[Piece] = []
        self._last: dict[int, Piece] = {}  # of those kept, each choice's last
        self._error: Exception | None = None  # of a piece that cannot be written
        self._waits = False  # whether `_let_go` is to be called
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def take(self, piece: Piece) -> None:
        """A piece has come, in the engine's turn of the event loop."""
        stream = self._stream
        now = self._loop.time()
        busy = self._holding.counted(now)
        clear = stream.clear
        together = busy or (stream.started and not clear)
        if piece.finish_reason is not None:
            self._open -= 1
            if not self._open:  # `flow` ends now, and writes it with what ends the stream
                self._keep(piece, together)
                return
        if clear and not (busy or self._several or self._kept or self._opening):
            if data := self._chunks.piece(piece):
                stream.send(data, now)
            return
        self._keep(piece, together)
        if not clear:
            self._wake.set()
        elif not self._waits:
            self._waits = True
            if busy:
                self._holding.hold(self._let_go)
            else:  # one write for all choices of this turn
                self._loop.call_soon(self._let_go)

    async def flow(self, running: asyncio.Future[None]) -> None:
        """Writes what `take` cannot, until the answer is complete; its end is left to `rest`. Raises
        ConnectionError where the reader stalls, and what `running` raises.
        """
        running.add_done_callback(lambda _: self._wake.set())
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._error is not None:
                raise self._error
            if running.done():
                break
            await self._stream.write(self.rest())
        if self._kept and (running.cancelled() or running.exception()):
            await self._stream.write(self.rest())  # what came before an error is not lost with it
        running.result()

    def rest(self) -> bytes:
        """What is still kept, which the caller now writes. Raises what keeps a piece from being written; from
        then on there is nothing more.
        """
        opening, self._opening = self._opening, b""
        kept, self._kept = self._kept, []
        self._last.clear()
        if self._error is not None:
            return opening
        try:
            return opening + b"".join(map(self._chunks.piece, kept))
        except Exception as error:
            self._opening, self._error = opening, error
            raise

    def _keep(self, piece: Piece, together: bool) -> None:
        """`together`: as one piece with what is kept already, so that a slow reader costs little."""
        last = self._last.get(piece.index) if together else None
        if last is not None:
            last.absorb(piece)
            return
        self._kept.append(piece)
        self._last[piece.index] = piece

    def _let_go(self) -> None:
        self._waits = False
        if not self._stream.clear:
            self._wake.set()
            return
        try:
            data = self.rest()
        except Exception:  # `flow` raises it: the event loop, whose turn it is, would not end the answer
            self._wake.set()
            return
        if data:
            self._stream.send(data, self._loop.time())
