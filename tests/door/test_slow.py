"""Clients that are slow on purpose: in their head, their body, their reading, their greeting.

Purpose: however slowly somebody comes, he is out at his deadline, and a neighbour who comes meanwhile
is served. The server's own ledger says how old the oldest connection ever was. The cases wait for most
of their time, so they run side by side.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import client
import pytest
import together
from conftest import need
from house import Server, serve, until

CROWD = 300
# What a deadline may be late by: the ledger is asked ten times a second, and the machine is busy.
LATE_SECONDS = 1.0
FIRST_BYTES_SECONDS = 5.0
HEAD_SECONDS = 5.0
BODY_SECONDS = 30.0
SLOW_READER_SECONDS = 20.0
UNACKNOWLEDGED_SECONDS = 30.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Watch:
    """The oldest connection and the largest crowd that the ledger has shown."""

    oldest = 0.0
    most = 0


@asynccontextmanager
async def watched(server: Server) -> AsyncIterator[Watch]:
    seen = Watch()

    async def look() -> None:
        while True:
            seen.oldest = max(seen.oldest, await server.oldest("connection"))
            seen.most = max(seen.most, await server.live("connection"))
            await asyncio.sleep(0.1)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()


async def slowhttptest(*arguments: str, path: str, seconds: float, test_seconds: int) -> None:
    """Debian's attacker for `test_seconds`; no connection may live for more than `seconds`."""
    program = need("slowhttptest", "slowhttptest")
    async with serve() as server:
        url = f"http://{server.address[0]}:{server.address[1]}{path}"
        async with watched(server) as seen, client.neighbour(server.address):
            attacker = await asyncio.create_subprocess_exec(
                program, *arguments, "-c", str(CROWD), "-r", "100", "-l", str(test_seconds),
                "-v", "0", "-u", url, stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            try:
                await asyncio.wait_for(attacker.wait(), test_seconds + 20)
            finally:
                if attacker.returncode is None:
                    attacker.kill()
                    await attacker.wait()
        assert seen.most >= CROWD * 0.9, f"no attack: {seen.most} connections at most"
        assert seen.oldest <= seconds + LATE_SECONDS, f"one was {seen.oldest:.1f} s old"
        await server.settle()


async def slow_heads(_: object) -> None:
    # A header every 2 s: never silent, and never done.
    await slowhttptest(
        "-H", "-i", "2", "-t", "GET", path="/", seconds=HEAD_SECONDS, test_seconds=12
    )


async def slow_bodies(_: object) -> None:
    await slowhttptest(
        "-B", "-i", "2", "-s", "8000", "-x", "8", "-f", "application/json",
        path="/v1/audio/speech", seconds=HEAD_SECONDS + BODY_SECONDS, test_seconds=40,
    )  # fmt: skip


async def slow_reads(_: object) -> None:
    # Ten pipelined requests a connection, 32 bytes of their answers every 5 s, and a tiny window.
    await slowhttptest(
        "-X", "-n", "5", "-z", "32", "-w", "256", "-y", "512", "-k", "10", "-t", "GET",
        path="/v1/audio/voices/tone/preview", seconds=SLOW_READER_SECONDS + 2, test_seconds=35,
    )  # fmt: skip


async def slow_readers_of_one_answer(_: object) -> None:
    """Each asks for minutes of audio and takes 16 bytes of it a second."""
    patience = SLOW_READER_SECONDS + 2 + LATE_SECONDS
    async with serve() as server:
        async with watched(server) as seen, client.neighbour(server.address):
            crowd = [await _asked_for_much(server, number) for number in range(CROWD // 3)]
            sipping = [asyncio.create_task(_sip(stream)) for stream in crowd]
            # The neighbour may be there at that moment, but nobody else.
            alone = await until(lambda: _few(server), patience, every=0.2)
        for task, stream in zip(sipping, crowd, strict=True):
            task.cancel()
            stream.close()
        assert seen.most >= len(crowd), f"no attack: {seen.most} connections at most"
        assert alone, f"{await server.live('connection')} connections after {patience} s"
        assert seen.oldest <= patience, f"one was {seen.oldest:.1f} s old"
        await server.settle()


async def _few(server: Server) -> bool:
    return await server.live("connection") <= 1


def _narrow(room: int) -> socket.socket:
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    stream.setblocking(False)
    return stream


async def _asked_for_much(server: Server, number: int, room: int = 4096) -> socket.socket:
    """Let in one after the other: many at once would be refused as too long a wait."""
    loop, stream = asyncio.get_running_loop(), _narrow(room)
    await loop.sock_connect(stream, server.address)
    await loop.sock_sendall(stream, client.speech_request(f"{number} {client.LONG}"[:4000]))
    head = await asyncio.wait_for(loop.sock_recv(stream, 16), client.PATIENCE_SECONDS)
    assert head.startswith(b"HTTP/1.1 200"), head
    return stream


async def _sip(stream: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    try:
        while await loop.sock_recv(stream, 16):
            await asyncio.sleep(1)
    except OSError:
        pass  # cut: the ledger is what tells


async def a_reader_that_stops(_: object) -> None:
    """Reads well for a second, then not at all: timed from there, not from the next full window."""
    async with serve() as server:
        stream, loop = await _asked_for_much(server, 0), asyncio.get_running_loop()
        began = time.monotonic()
        while time.monotonic() < began + 1:
            await loop.sock_recv(stream, 4096)
            await asyncio.sleep(0.02)

        async def is_cut() -> bool:
            return await server.live("connection") == 0

        within = SLOW_READER_SECONDS + LATE_SECONDS
        assert await until(is_cut, within, every=0.1), f"not cut {within} s after it stopped"
        stream.close()
        await server.settle()


async def a_reader_that_keeps_its_pace(_: object) -> None:
    """Takes an answer as slowly as speech is played, with so little room that the window is full most of the time: the
    kernel's own timeout of a user would reset some of these within a minute."""
    readers, lasts, piece, pieces_a_second = 24, 75, 4096, 2
    async with serve() as server:
        crowd = [await _asked_for_much(server, number, 16 * 1024) for number in range(readers)]
        loop, began = asyncio.get_running_loop(), time.monotonic()

        async def play(stream: socket.socket) -> None:
            taken = 0
            while time.monotonic() < began + lasts:
                while taken < (time.monotonic() - began) * piece * pieces_a_second:
                    got = await asyncio.wait_for(loop.sock_recv(stream, piece), client.PATIENCE_SECONDS)
                    assert got, "the answer is over"
                    taken += len(got)
                await asyncio.sleep(0.025)

        ends = await asyncio.gather(*map(play, crowd), return_exceptions=True)
        cut = [end for end in ends if end is not None]
        assert not cut, f"{len(cut)} of {readers} within {lasts} s: {cut[0]!r}"
        for stream in crowd:
            stream.close()
        await server.settle()


async def a_peer_that_takes_nothing_of_what_is_on_its_way(_: object) -> None:
    """The answer is with our kernel, and the server has nothing more to send: nothing waits, and nobody takes it."""
    async with serve() as server:
        stream, loop = _narrow(4096), asyncio.get_running_loop()
        await loop.sock_connect(stream, server.address)
        began = time.monotonic()
        await loop.sock_sendall(stream, client.get_request("/"))
        assert await until(lambda: _busy(server), 5)

        async def is_cut() -> bool:
            return await server.live("connection") == 0

        within = UNACKNOWLEDGED_SECONDS + LATE_SECONDS
        assert await until(is_cut, within, every=0.1), f"not cut within {within} s"
        assert time.monotonic() - began > SLOW_READER_SECONDS, "it was cut for something else"
        stream.close()
        await server.settle()


async def _busy(server: Server) -> bool:
    return await server.live("connection") == 1


async def nothing_said(server: Server, tls: ssl.SSLContext | None, greetings: list[bytes]) -> None:
    """A crowd that says `greetings`, in turn, and no more."""
    crowd = []
    async with watched(server) as seen, client.neighbour(server.address, tls):
        for number in range(CROWD):
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(greetings[number % len(greetings)])
            crowd.append((reader, writer))
        within = FIRST_BYTES_SECONDS + LATE_SECONDS
        ends = await asyncio.gather(*(client.closed_within(r, within) for r, _ in crowd))
    for _, writer in crowd:
        writer.close()
    alive = sum(not closed for closed, _ in ends)
    assert alive == 0, f"{alive} of {CROWD} alive {within} s after the last of them came"
    assert seen.most >= CROWD, f"no attack: {seen.most} connections at most"
    assert seen.oldest <= within, f"one was {seen.oldest:.1f} s old"
    await server.settle()


async def silent(_: object) -> None:
    async with serve() as server:
        await nothing_said(server, None, [b""])


async def half_http2_prefaces(_: object) -> None:
    async with serve() as server:
        await nothing_said(server, None, [PREFACE[:1], PREFACE[:12], PREFACE[:23]])


async def half_tls_handshakes(certificate: tuple[Path, Path]) -> None:
    """Half a hello, a whole one without what follows, and one byte."""
    tls = ssl.create_default_context(cafile=str(certificate[0]))
    hello = ssl.MemoryBIO()
    handshake = tls.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        handshake.do_handshake()
    whole = hello.read()
    arguments = ["--tls-cert", str(certificate[0]), "--tls-key", str(certificate[1])]
    async with serve(*arguments, warm=False) as server:
        for number in range(8):
            await client.speak(server.address, f"Warm-up {number}.", tls=tls)
        await server.measure()
        await nothing_said(server, tls, [whole[: len(whole) // 2], whole, whole[:1]])


async def a_slow_head_among_fast_ones(_: object) -> None:
    """A head that never ends is timed from its first byte on a connection that has served before."""
    async with serve() as server:
        connection = await client.Connection.open(server.address)
        assert (await connection.ask(client.get_request("/healthz"))).status == 200
        # Idle for longer than a head's deadline: that alone must not cut anybody.
        await asyncio.sleep(HEAD_SECONDS + LATE_SECONDS)
        assert (await connection.ask(client.get_request("/healthz"))).status == 200
        connection.writer.write(b"GET /healthz HTTP/1.1\r\n")

        async def drip() -> None:
            while True:
                connection.writer.write(b"X: y\r\n")
                await asyncio.sleep(0.5)

        dripping = asyncio.create_task(drip())
        within = HEAD_SECONDS + LATE_SECONDS
        closed, _ = await client.closed_within(connection.reader, within)
        dripping.cancel()
        connection.close()
        assert closed, f"a head was let drip for more than {within} s"
        await server.settle()


CASES = {
    case.__name__: case
    for case in (
        slow_bodies, slow_reads, slow_readers_of_one_answer, a_reader_that_stops, slow_heads,
        a_reader_that_keeps_its_pace, a_peer_that_takes_nothing_of_what_is_on_its_way,
        silent, half_http2_prefaces, half_tls_handshakes, a_slow_head_among_fast_ones,
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, certificate: tuple[Path, Path]) -> together.Outcomes:
    return together.run(request, CASES, len(CASES), certificate)


@pytest.mark.parametrize("case", CASES)
def test_is_out_at_the_deadline(case: str, outcomes: together.Outcomes) -> None:
    outcomes.of(case)
