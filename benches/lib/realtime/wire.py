"""A WebSocket as thousands of them fit into one process: RFC 6455 on asyncio, with no more than is needed. Frames are masked with
zeros, which the standard allows and which costs nothing. Pings are answered as they come."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import deque
from typing import Any

from .. import client

Address = tuple[str, int]
Event = dict[str, Any]
PATH = "/v1/realtime?model=gpt-realtime"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
# Of a connection that ended without saying so.
NO_CODE = 1006
READ_BYTES = 64 * 1024


def handshake(path: str = PATH) -> bytes:
    """What opens one."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


def frame(opcode: int, payload: bytes, is_final: bool = True) -> bytes:
    """One frame of a client."""
    return head(opcode, len(payload), is_final) + payload


def head(opcode: int, length: int, is_final: bool = True) -> bytes:
    """What stands before a frame's payload."""
    first = opcode | (0x80 if is_final else 0)
    if length < 126:
        sizes = struct.pack("!BB", first, 0x80 | length)
    elif length < 1 << 16:
        sizes = struct.pack("!BBH", first, 0x80 | 126, length)
    else:
        sizes = struct.pack("!BBQ", first, 0x80 | 127, length)
    return sizes + bytes(4)


def close(code: int) -> bytes:
    """A good-bye."""
    return frame(CLOSE, struct.pack("!H", code))


def first_frame(data: bytes | bytearray) -> tuple[int, int, int] | None:
    """Opcode, place and length of the payload of a server's frame that `data` begins with; none while it is not whole."""
    if len(data) < 2:
        return None
    length, at = data[1] & 0x7F, 2
    if length == 126:
        if len(data) < 4:
            return None
        length, at = int.from_bytes(data[2:4]), 4
    elif length == 127:
        if len(data) < 10:
            return None
        length, at = int.from_bytes(data[2:10]), 10
    return (data[0] & 0x0F, at, length) if len(data) >= at + length else None


class WebSocket(asyncio.Protocol):
    """One client. With `keeps`, what it is told waits for `next`; else it is only counted."""

    __slots__ = (
        *("transport", "status", "keeps", "told", "pings", "code", "last", "gaps"),
        *("_buffer", "_events", "_waiter", "_full"),
    )

    def __init__(self, keeps: bool):
        self.keeps = keeps
        self.status = self.told = self.pings = 0
        # Of the server's close; of an end without one `NO_CODE`.
        self.code: int | None = None
        # The number of the last event, and how often one came that was not the next.
        self.last = self.gaps = 0
        self._buffer = bytearray()
        self._events: deque[Event] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._full = False

    @classmethod
    async def open(cls, address: Address, path: str = PATH, keeps: bool = True, last: int = 0) -> WebSocket:
        """A socket that was let in; `last` is the number of the event behind which it goes on."""
        loop = asyncio.get_running_loop()
        connecting = loop.create_connection(lambda: cls(keeps), *address)
        _, self = await asyncio.wait_for(connecting, client.PATIENCE_SECONDS)
        self.last = last
        self.transport.write(handshake(path))
        await self.until(lambda: self.status or self.code)
        if self.status != 101:
            self.transport.abort()
            raise client.Broken(f"the handshake was answered {self.status}")
        return self

    @property
    def is_open(self) -> bool:
        return self.code is None

    def send(self, event: Event) -> None:
        self.transport.write(frame(TEXT, json.dumps(event).encode()))

    async def next(self) -> Event | None:
        """The next event; none when the connection is over and all that came was taken."""
        await self.until(lambda: self._events or not self.is_open)
        return self._events.popleft() if self._events else None

    async def drained(self) -> None:
        """All that was written is with the kernel, or never will be."""
        await self.until(lambda: not self._full or not self.is_open)

    async def until(self, is_so: Any) -> None:
        """Waits for something to have happened on it."""
        async with asyncio.timeout(client.PATIENCE_SECONDS):
            while not is_so():
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter

    async def ended(self) -> int:
        """The code by which the server closed it."""
        await self.until(lambda: not self.is_open)
        return self.code

    def cut(self, reset: bool) -> None:
        """Gone without a word: by RST, or by FIN as when a process ends."""
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()

    # --- What asyncio calls -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=0)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake()

    def connection_lost(self, _: Exception | None) -> None:
        if self.code is None:
            self.code = NO_CODE
        self._wake()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.status:
            answer, end, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            if not end:
                return
            self.status, self._buffer = int(answer.split(b" ")[1]), bytearray(rest)
        while found := first_frame(self._buffer):
            opcode, at, length = found
            self._frame(opcode, bytes(self._buffer[at : at + length]))
            del self._buffer[: at + length]
        self._wake()

    def _frame(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self.pings += 1
            self.transport.write(frame(PONG, payload))
        elif opcode == CLOSE:
            self.code = int.from_bytes(payload[:2]) if payload else 1005
            self.transport.write(frame(CLOSE, payload[:2]))
            self.transport.close()
        elif opcode == TEXT:
            self.told += 1
            if self.keeps:
                self._event(json.loads(payload))

    def _event(self, event: Event) -> None:
        # What is told of the connection itself stands in no log.
        if event["type"] != "evensong.resumed" and "session_id" not in event:
            number = int(event["event_id"].rpartition("_")[2])
            self.gaps += number != self.last + 1
            self.last = number
        self._events.append(event)

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)
