"""HTTP/1.1 by hand over asyncio: clients that mean well, and raw sockets for those that do not."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Address = tuple[str, int]
# No answer that a well-meaning client waits for may take longer.
PATIENCE_SECONDS = 10.0
SENTENCE = "Evening falls, and somebody begins to sing."
# Minutes of audio: it outlives every test that reads it slowly.
LONG = ((SENTENCE + " ") * 100)[:4095] + "."


@dataclass
class Reply:
    """An answer; `is_whole` when it ended as it said it would."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    is_whole: bool = False


class Connection:
    """A connection that is kept open from request to request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, address: Address, tls: ssl.SSLContext | None = None) -> Connection:
        name = {"ssl": tls, "server_hostname": "localhost"} if tls else {}
        return cls(
            *await asyncio.wait_for(asyncio.open_connection(*address, **name), PATIENCE_SECONDS)
        )

    @classmethod
    async def open_narrow(cls, address: Address) -> Connection:
        """With small receive buffers, the kernel's and ours: what the server has sent is soon read. Left
        to itself the kernel would hold half a minute of audio, and behind it whatever came last."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
        return cls(*await asyncio.open_connection(sock=sock, limit=8 * 1024))

    async def ask(self, message: bytes) -> Reply:
        """Sends a request and reads its whole answer."""
        self.writer.write(message)
        await self.writer.drain()
        reply = await self.head()
        await self.rest(reply)
        return reply

    async def head(self) -> Reply:
        raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        return Reply(int(first.split(" ")[1]), headers)

    async def rest(self, reply: Reply) -> None:
        """Reads the body into `reply`, which keeps what came when the connection breaks."""
        try:
            if reply.headers.get("transfer-encoding") == "chunked":
                while size := int(await self.reader.readline() or b"", 16):
                    reply.body += await self.reader.readexactly(size)
                    await self.reader.readline()
                await self.reader.readline()
            else:
                length = int(reply.headers.get("content-length", 0))
                reply.body = await self.reader.readexactly(length)
            reply.is_whole = True
        except (ValueError, OSError, asyncio.IncompleteReadError):
            pass  # cut off: `is_whole` says so

    def close(self) -> None:
        self.writer.close()


def get_request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def speech_request(text: str, format: str = "wav", **more: object) -> bytes:
    body = json.dumps({"input": text, "response_format": format, **more}).encode()
    head = (
        "POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def once(address: Address, message: bytes, tls: ssl.SSLContext | None = None) -> Reply:
    """One request on a connection of its own."""

    async def asked() -> Reply:
        connection = await Connection.open(address, tls)
        try:
            return await connection.ask(message)
        finally:
            connection.close()

    return await asyncio.wait_for(asked(), PATIENCE_SECONDS)


async def get(address: Address, path: str) -> Reply:
    return await once(address, get_request(path))


async def speak(
    address: Address, text: str, format: str = "wav", tls: ssl.SSLContext | None = None
) -> Reply:
    return await once(address, speech_request(text, format), tls)


@dataclass
class Neighbour:
    """A client that means well, and how it fared; every request has to succeed."""

    asked: int = 0
    slowest_ms: float = 0.0
    failures: list[str] = field(default_factory=list)

    def fared_well(self) -> None:
        assert self.asked > 0, "the neighbour was never asked"
        assert not self.failures, f"{len(self.failures)} of {self.asked}: {self.failures[:5]}"


@asynccontextmanager
async def neighbour(
    address: Address, tls: ssl.SSLContext | None = None, every: float = 0.1
) -> AsyncIterator[Neighbour]:
    """Has a short text spoken again and again, each on a new connection, while the block runs, and
    once more behind it; it is an error when one request was not answered well."""
    seen, over = Neighbour(), asyncio.Event()

    async def live() -> None:
        while True:
            is_last, began = over.is_set(), time.monotonic()
            try:
                reply = await speak(address, f"Neighbour {seen.asked}.", tls=tls)
                if (reply.status, reply.is_whole) != (200, True) or len(reply.body) < 1000:
                    seen.failures.append(
                        f"{reply.status}, {len(reply.body)} bytes {reply.body[:80]}"
                    )
            except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
                seen.failures.append(repr(error))
            seen.asked += 1
            seen.slowest_ms = max(seen.slowest_ms, (time.monotonic() - began) * 1e3)
            if is_last:
                return
            try:
                await asyncio.wait_for(over.wait(), every)
            except TimeoutError:
                pass

    living = asyncio.create_task(live())
    try:
        yield seen
    finally:
        over.set()
        await living
    seen.fared_well()


async def closed_within(reader: asyncio.StreamReader, seconds: float) -> tuple[bool, bytes]:
    """Reads to the end; whether it came within `seconds`, and what was said before it (1 MiB of it)."""
    said, deadline = b"", time.monotonic() + seconds
    while True:
        try:
            data = await asyncio.wait_for(
                reader.read(65536), max(0.01, deadline - time.monotonic())
            )
        except TimeoutError:
            return False, said
        except OSError:
            return True, said
        if not data:
            return True, said
        said = (said + data)[: 1 << 20]
