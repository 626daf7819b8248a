"""HTTP/2 by hand: frames as an attacker writes them, and what the server answers to them.

A flood is written as fast as the socket takes it. The attacker reads what comes, unless told not to,
and remembers the last GOAWAY, and resets and answers by stream.
"""

from __future__ import annotations

import asyncio
import itertools
import select
import socket
import time
from collections.abc import Iterable, Sequence

from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_ERROR, REFUSED_STREAM, ENHANCE_YOUR_CALM = 0, 7, 11
# Frames that go into one write: few enough that a GOAWAY is seen soon, many enough to be a flood.
BATCH = 100


class Attacker:
    """One HTTP/2 connection (prior knowledge), on a bare socket: a stream of asyncio's would throw
    away the GOAWAY that stands before a reset, and would read on its own."""

    def __init__(self, stream: socket.socket):
        self.stream, self.loop = stream, asyncio.get_running_loop()
        self.goaway: int | None = None
        self.is_closed = False
        self.resets: dict[int, int] = {}
        self.answers: dict[int, bytes] = {}
        self.sent = 0
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls, address: tuple[str, int], reads: bool = True, settings: dict[int, int] | None = None
    ) -> Attacker:
        stream = socket.socket()
        stream.setblocking(False)
        attacker = cls(stream)
        await attacker.loop.sock_connect(stream, address)
        await attacker.send(PREFACE + SettingsFrame(0, settings=settings or {}).serialize())
        if reads:
            attacker._reading = asyncio.create_task(attacker._read())
        return attacker

    async def send(self, frames: bytes) -> bool:
        """Whether the socket took them."""
        try:
            await self.loop.sock_sendall(self.stream, frames)
        except OSError:
            return False
        # A write that does not wait does not yield either, and what comes has to be read.
        await asyncio.sleep(0)
        return True

    async def flood(self, frames: Sequence[bytes], seconds: float) -> None:
        """Writes `frames`, again and again, until the connection ends or `seconds` have passed."""
        deadline = time.monotonic() + seconds
        for begin in itertools.cycle(range(0, len(frames), BATCH)):
            batch = frames[begin : begin + BATCH]
            if self.is_closed or time.monotonic() > deadline:
                return
            try:
                # A server that stops to read has stopped the flood: its cost is seen elsewhere.
                left = max(0.01, deadline - time.monotonic())
                if not await asyncio.wait_for(self.send(b"".join(batch)), left):
                    return
            except TimeoutError:
                return
            self.sent += len(batch)

    async def closed(self, seconds: float) -> bool:
        """Whether the server has closed, within `seconds` from now."""
        if self._reading:
            await asyncio.wait([self._reading], timeout=seconds)
            return self.is_closed
        # One that does not read is told by the socket alone.
        poll = select.poll()
        poll.register(self.stream, select.POLLRDHUP)
        deadline = time.monotonic() + seconds
        while not (events := poll.poll(0)) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        self.is_closed = bool(events)
        return self.is_closed

    def close(self) -> None:
        if self._reading:
            self._reading.cancel()
        self.stream.close()

    async def _read(self) -> None:
        raw = bytearray()
        try:
            while data := await self.loop.sock_recv(self.stream, 65536):
                raw += data
                while len(raw) >= 9 and len(raw) >= 9 + int.from_bytes(raw[:3], "big"):
                    frame, length = Frame.parse_frame_header(memoryview(bytes(raw[:9])))
                    frame.parse_body(memoryview(bytes(raw[9 : 9 + length])))
                    del raw[: 9 + length]
                    self._note(frame)
        except OSError:
            pass  # a reset is an end as well
        self.is_closed = True

    def _note(self, frame: Frame) -> None:
        if isinstance(frame, GoAwayFrame):
            # The first one may announce a leaving in good order; an error comes behind it.
            self.goaway = max(self.goaway or 0, frame.error_code)
        elif isinstance(frame, RstStreamFrame):
            self.resets[frame.stream_id] = frame.error_code
        elif isinstance(frame, HeadersFrame):
            self.answers[frame.stream_id] = frame.data


def headers(
    stream: int,
    path: str = "/healthz",
    method: str = "GET",
    *,
    end_stream: bool = True,
    end_headers: bool = True,
    more: Iterable[tuple[str, str]] = (),
) -> bytes:
    """A request's head; further fields in `more`."""
    fields = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", path),
    ]
    # A fresh encoder without a table: frames may be repeated and left out at will.
    encoder = Encoder()
    encoder.header_table_size = 0
    flags = [*["END_STREAM"] * end_stream, *["END_HEADERS"] * end_headers]
    return HeadersFrame(stream, encoder.encode([*fields, *more]), flags=flags).serialize()


def continuation(stream: int, block: bytes) -> bytes:
    return ContinuationFrame(stream, block).serialize()


def data(stream: int, body: bytes, end_stream: bool = False) -> bytes:
    return DataFrame(stream, body, flags=["END_STREAM"] if end_stream else []).serialize()


def reset(stream: int, code: int = 8) -> bytes:
    return RstStreamFrame(stream, code).serialize()


def ping() -> bytes:
    return PingFrame(0, b"evensong").serialize()


def settings(values: dict[int, int]) -> bytes:
    return SettingsFrame(0, settings=values).serialize()


def literal(name: bytes, value: bytes) -> bytes:
    """A header field that is never indexed (RFC 7541, 6.2.3), both under 127 bytes."""
    return bytes([0x10, len(name)]) + name + bytes([len(value)]) + value
