"""Requests of which two readers could think two things, and requests that are too much.

Purpose: what could be read in two ways is read in none. Each is answered 400 once and the connection
closed, so that no byte behind it is ever taken for a request of its own. What is only too large has
its own status, and ends the connection as well. Raw sockets, since no client library would send this.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator

import client
import pytest
from house import Server, serve

HOST = b"Host: localhost\r\n"
POST = b"POST /v1/audio/speech HTTP/1.1\r\n"
JSON = b"Content-Type: application/json\r\n"
# What a proxy that was fooled would have let through as part of a body.
SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLOSED_SECONDS = 3.0
KIB = 1024


def post(*fields: bytes, body: bytes = b"hello") -> bytes:
    return POST + HOST + JSON + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


def get(*lines: bytes) -> bytes:
    return b"\r\n".join([b"GET /healthz HTTP/1.1", *lines]) + b"\r\n\r\n"


CHUNKED = b"0\r\n\r\n"
TE = b"Transfer-Encoding: chunked"

AMBIGUOUS = {
    "CL then TE": post(b"Content-Length: 5", TE, body=CHUNKED),
    "TE then CL": post(TE, b"Content-Length: 5", body=CHUNKED),
    "two CL that differ": post(b"Content-Length: 5", b"Content-Length: 6"),
    "two CL that are equal": post(b"Content-Length: 5", b"Content-Length: 5"),
    "CL as a list": post(b"Content-Length: 5, 5"),
    "CL with a plus": post(b"Content-Length: +5"),
    "CL in hexadecimal": post(b"Content-Length: 0x5"),
    "CL below zero": post(b"Content-Length: -1"),
    "CL that is empty": post(b"Content-Length:"),
    "CL past 64 bits": post(b"Content-Length: 18446744073709551621"),
    "TE identity": post(b"Transfer-Encoding: identity"),
    "TE identity beside CL": post(b"Transfer-Encoding: identity", b"Content-Length: 5"),
    "TE xchunked": post(b"Transfer-Encoding: xchunked", body=CHUNKED),
    "TE chunked, then identity": post(b"Transfer-Encoding: chunked, identity", body=CHUNKED),
    "TE chunked twice": post(b"Transfer-Encoding: chunked, chunked", body=CHUNKED),
    "TE in two lines": post(TE, TE, body=CHUNKED),
    "TE with a tab inside": post(b"Transfer-Encoding: chun\tked", body=CHUNKED),
    "TE on HTTP/1.0": post(TE, body=CHUNKED).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "bare LF ends every line": get(b"Host: localhost").replace(b"\r\n", b"\n"),
    "bare LF ends one line": get(b"Host: localhost\nX-Other: y"),
    "bare LF ends the head": get(b"Host: localhost").replace(b"\r\n\r\n", b"\r\n\n"),
    "bare CR in a value": get(b"Host: localhost", b"X-Other: a\rb"),
    "space before the colon": post(b"Content-Length : 5"),
    "space before a name": get(b"Host: localhost", b" X-Other: y"),
    "obs-fold": get(b"Host: localhost", b"X-Other: y", b"\tand more"),
    "NUL in a value": get(b"Host: localhost", b"X-Other: a\0b"),
    "bare LF behind a chunk's size": post(TE, body=b"5\nhello\r\n" + CHUNKED),
    "bare LF behind a chunk": post(TE, body=b"5\r\nhello\n" + CHUNKED),
    "chunk's size is no number": post(TE, body=b"five\r\nhello\r\n" + CHUNKED),
    "chunk's size with 0x": post(TE, body=b"0x5\r\nhello\r\n" + CHUNKED),
    "chunk's size with a sign": post(TE, body=b"+5\r\nhello\r\n" + CHUNKED),
    "chunk's size past 64 bits": post(TE, body=b"1" + b"0" * 16 + b"\r\nhello"),
    "chunk longer than its size": post(TE, body=b"3\r\nhello\r\n" + CHUNKED),
    "no Host": get(b"X-Other: y"),
    "two Host lines": get(b"Host: localhost", b"Host: localhost"),
    "two Host lines that differ": get(b"Host: localhost", b"Host: example.org"),
    "two hosts in one line": get(b"Host: localhost, example.org"),
}

FIELDS = [b"X-%d: y" % number for number in range(80)]
TOO_MUCH = {
    "one field above 16 KiB": (431, get(b"Host: localhost", b"X-Long: " + b"y" * 17 * KIB)),
    "fields above 16 KiB": (431, get(b"Host: localhost", *(f + b"y" * 400 for f in FIELDS[:60]))),
    "more than 64 fields": (431, get(b"Host: localhost", *FIELDS)),
    "URI above 16 KiB": (414, b"GET /" + b"y" * 17 * KIB + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    "length above the cap": (413, post(b"Content-Length: 10000000")),
    "length far above the cap": (413, post(b"Content-Length: 9223372036854775807")),
}

# So that the tables prove something: the same shapes without their fault are let in.
SOUND = {
    "length": (post(b"Content-Length: 5"), 400, "the body is no JSON, which is another 400"),
    "chunks": (post(TE, body=b"5\r\nhello\r\n" + CHUNKED), 400, "as above"),
    "get": (get(b"Host: localhost"), 200, ""),
    "64 fields": (get(b"Host: localhost", *FIELDS[:63]), 200, ""),
}


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def server(loop: asyncio.AbstractEventLoop) -> Iterator[Server]:
    """One for the whole table; it has to be idle at the end of it, and as small as before."""
    serving = serve()
    server = loop.run_until_complete(serving.__aenter__())
    yield server
    loop.run_until_complete(server.settle())
    loop.run_until_complete(serving.__aexit__(None, None, None))


async def said_to(server: Server, message: bytes, behind: bytes) -> tuple[bool, bytes, int]:
    """Whether the connection was closed, what was answered, and how well the neighbour did."""
    async with client.neighbour(server.address) as beside:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(message + behind)
        closed, answer = await client.closed_within(reader, CLOSED_SECONDS)
        writer.close()
    return closed, answer, beside.asked


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"(?:^|\n|\})HTTP/1\.[01] (\d{3}) ", answer)]


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_ambiguous_is_answered_once_and_closed(
    name: str, server: Server, loop: asyncio.AbstractEventLoop
) -> None:
    closed, answer, _ = loop.run_until_complete(said_to(server, AMBIGUOUS[name], SMUGGLED))
    assert statuses(answer) == [400], f"closed {closed}, answered {answer[:300]}"
    assert closed, f"left open after {answer[:300]}"


@pytest.mark.parametrize("name", TOO_MUCH)
def test_too_much_has_its_own_status(
    name: str, server: Server, loop: asyncio.AbstractEventLoop
) -> None:
    expected, message = TOO_MUCH[name]
    closed, answer, _ = loop.run_until_complete(said_to(server, message, b""))
    assert statuses(answer) == [expected], f"closed {closed}, answered {answer[:300]}"
    assert closed, f"left open after {answer[:300]}"


@pytest.mark.parametrize("name", SOUND)
def test_the_same_without_the_fault_goes_on(
    name: str, server: Server, loop: asyncio.AbstractEventLoop
) -> None:
    message, expected, _ = SOUND[name]
    _, answer, _ = loop.run_until_complete(said_to(server, message, SMUGGLED_LAST))
    assert statuses(answer) == [expected, 200], answer[:400]


# The connection is to end by itself, so that nothing is waited for.
SMUGGLED_LAST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def endless(server: Server) -> tuple[bytes, int]:
    """Chunks without end; the answer, and how many bytes the socket took until it came. On a bare
    socket: a stream of asyncio's forgets what it has not read when a write of it fails."""
    loop, stream = asyncio.get_running_loop(), socket.socket()
    stream.setblocking(False)
    await loop.sock_connect(stream, server.address)
    await loop.sock_sendall(stream, post(TE, body=b""))
    sent, answer, chunk = 0, b"", b"400\r\n" + b"y" * KIB + b"\r\n"

    async def pour() -> None:
        nonlocal sent
        while True:
            await loop.sock_sendall(stream, chunk)
            # A write that does not wait does not yield, and the answer has to be read.
            await asyncio.sleep(0)
            sent += KIB

    pouring = asyncio.create_task(pour())
    try:
        receive = loop.sock_recv
        while data := await asyncio.wait_for(receive(stream, 65536), CLOSED_SECONDS):
            answer += data
    except asyncio.TimeoutError:
        raise AssertionError(f"left open after {sent} bytes") from None
    except OSError:
        pass  # a reset is an end as well
    finally:
        pouring.cancel()
        await asyncio.gather(pouring, return_exceptions=True)
        stream.close()
    return answer, sent


def test_endless_body_is_refused_before_it_is_buffered(
    server: Server, loop: asyncio.AbstractEventLoop
) -> None:
    async def attack() -> None:
        before = server.rss()
        async with client.neighbour(server.address):
            answers = await asyncio.gather(*(endless(server) for _ in range(20)))
        assert server.rss() - before < 8 * KIB * KIB
        for answer, sent in answers:
            assert statuses(answer) == [413], f"after {sent} bytes: {answer[:300]}"
            assert sent < 16 * KIB * KIB, f"took {sent} bytes"

    loop.run_until_complete(attack())
