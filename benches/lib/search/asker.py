"""A client that costs little: one thread, a few kept connections, each asking again as soon as it has its answer. It
runs in a process of its own, so that what it does is nobody else's time.

A latency is from just before a request is written to its answer's last byte. What answers say is looked at when the
clock has stopped.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote_plus

READ_BYTES = 256 * 1024
PATIENCE_SECONDS = 10.0
# Of the answers, this part is kept and read afterwards.
LOOKED_AT_EVERY = 50


@dataclass
class Asked:
    """What came of it."""

    # In milliseconds, of answers with status 200.
    latencies: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    # Of those answers that were looked at.
    looked_at: int = 0
    with_hits: int = 0
    seconds: float = 0.0

    def wrong(self, what: str) -> None:
        self.errors[what] = self.errors.get(what, 0) + 1


def get(words: Sequence[str], limit: int = 10) -> bytes:
    """One of Evensong's searches, and of the Node service's."""
    path = f"/api/search?q={quote_plus(' '.join(words))}&limit={limit}"
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def post(path: str, body: str) -> bytes:
    """The same of an engine's own."""
    raw = body.encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    )
    return head.encode() + raw


class _Line:
    """One kept connection, with at most one request under way."""

    def __init__(self, address: tuple[str, int]):
        self.socket = socket.create_connection(address, PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.raw = bytearray()
        self.began = 0.0
        # Where the answer ends; none until its head is here, and never where it is chunked.
        self.end: int | None = None
        self.is_chunked = False

    def ask(self, message: bytes) -> None:
        self.raw.clear()
        self.end, self.is_chunked = None, False
        self.began = time.perf_counter()
        self.socket.sendall(message)

    def read(self) -> bool:
        """Takes what is there; true when the answer is whole."""
        piece = self.socket.recv(READ_BYTES)
        if not piece:
            raise ConnectionError("closed before the answer's end")
        self.raw += piece
        if self.end is None and not self.is_chunked:
            self._head()
        if self.is_chunked:
            # JSON has no bare line ends within, so this stands at the end alone.
            return self.raw.endswith(b"\r\n0\r\n\r\n")
        return self.end is not None and len(self.raw) >= self.end

    def _head(self) -> None:
        split = self.raw.find(b"\r\n\r\n")
        if split < 0:
            return
        head = bytes(self.raw[:split]).lower()
        if b"transfer-encoding: chunked" in head:
            self.is_chunked = True
            return
        length = head.partition(b"content-length:")[2].split(b"\r\n")[0]
        self.end = split + 4 + int(length or 0)

    @property
    def status(self) -> int:
        return int(self.raw[9:12])

    def body(self) -> bytes:
        _, _, body = bytes(self.raw).partition(b"\r\n\r\n")
        if not self.is_chunked:
            return body
        whole = b""
        while body:
            size, _, rest = body.partition(b"\r\n")
            whole, body = whole + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
            if int(size, 16) == 0:
                break
        return whole


def load(address: tuple[str, int], messages: list[bytes], at_once: int) -> Asked:
    """Every message once, `at_once` side by side."""
    asked, kept = Asked(), []
    waiting = iter(messages)
    began = time.perf_counter()
    with selectors.EpollSelector() as ready:

        def begin(line: _Line) -> None:
            for message in waiting:
                line.ask(message)
                return
            ready.unregister(line.socket)
            line.socket.close()

        for _ in range(min(at_once, len(messages))):
            line = _Line(address)
            ready.register(line.socket, selectors.EVENT_READ, line)
            begin(line)
        while ready.get_map():
            events = ready.select(PATIENCE_SECONDS)
            if not events:
                asked.wrong(f"nothing within {PATIENCE_SECONDS:.0f} s")
                break
            for key, _ in events:
                line = key.data
                try:
                    if not line.read():
                        continue
                except OSError as error:
                    asked.wrong(repr(error))
                    ready.unregister(line.socket)
                    line.socket.close()
                    continue
                took = (time.perf_counter() - line.began) * 1e3
                if line.status == 200:
                    asked.latencies.append(took)
                    if len(asked.latencies) % LOOKED_AT_EVERY == 0:
                        kept.append(line.body())
                else:
                    asked.wrong(f"status {line.status}: {line.body()[:200]!r}")
                begin(line)
    asked.seconds = time.perf_counter() - began
    for body in kept:
        asked.looked_at += 1
        asked.with_hits += _has_hits(json.loads(body))
    unanswered = len(messages) - len(asked.latencies) - sum(asked.errors.values())
    if unanswered:
        asked.errors["never answered"] = unanswered
    return asked


def _has_hits(answer: dict) -> bool:
    # An engine leaves out what is empty, where it is asked for some parts only.
    hits = answer.get("hits", [])
    return bool(hits.get("hits") if isinstance(hits, dict) else hits)
