"""Reviews sent to a webhook on time, as an API server sends them: over TLS, on connections that are kept.

The sockets are blocking ones in threads: what an event loop of the client's own would take is no part of how
long the webhook takes.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Sequence

CONNECTIONS = 4  # API servers keep a few


def replay(
    address: tuple[str, int], context: ssl.SSLContext, bodies: Sequence[bytes], *, rate: int, seconds: float
) -> list[float]:
    """`rate` reviews a second, whatever the answers take: each body in turn.

    Milliseconds of each from when it was due, so that waiting for another one counts, to its answer's end.
    """
    connections = [_connected(address, context) for _ in range(CONNECTIONS)]
    taken: list[float] = []
    begun, count = time.perf_counter(), int(rate * seconds)
    numbers = iter(range(count))
    turn = threading.Lock()

    def ask(connection: ssl.SSLSocket) -> None:
        while True:
            with turn:  # whoever is free sends the next one when it is due
                number = next(numbers, None)
                if number is None:
                    return
                due = begun + number / rate
                time.sleep(max(0.0, due - time.perf_counter()))
            _ask(connection, bodies[number % len(bodies)])
            taken.append((time.perf_counter() - due) * 1000)

    threads = [threading.Thread(target=ask, args=[each]) for each in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == count, "a connection ended"
    return taken


def _connected(address: tuple[str, int], context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(address, timeout=30)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname=address[0])


def _ask(connection: ssl.SSLSocket, body: bytes) -> None:
    """Send a review and read its answer to the end."""
    head = "POST /validate HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    got = b""
    while b"\r\n\r\n" not in got:
        got += _more(connection)
    head_got, _, said = got.partition(b"\r\n\r\n")
    assert head_got.startswith(b"HTTP/1.1 200"), got
    length = int(head_got.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(said) < length:
        said += _more(connection)
    assert b'"allowed"' in said, said


def _more(connection: ssl.SSLSocket) -> bytes:
    got = connection.recv(65536)
    assert got, "the connection ended"
    return got
