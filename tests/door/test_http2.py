"""Floods of HTTP/2 frames, and header blocks that do not end.

Purpose: what costs a client one small frame must not cost the server more than it has set aside for the
connection. A flood ends the connection; one who still reads is told GOAWAY with ENHANCE_YOUR_CALM. The
server's memory and CPU time stay small meanwhile, and a neighbour is served.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import client
import frames
import pytest
import together
from frames import Attacker
from house import Server, serve, until

MIB = 1024 * 1024
# As long as a flood goes on that nobody ends; it is to be ended long before.
FLOOD_SECONDS = 5.0
# Attackers side by side: a cost of each of them must show.
ATTACKERS = 4
RSS_MOST_BYTES = 8 * MIB
# Of the server, while it refuses and serves the neighbour.
CPU_MOST_SECONDS = 1.5
HEAD_MOST_SECONDS = 10.0
SLOW_READER_SECONDS = 20.0
STREAMS = 64
LATE_SECONDS = 2.0


@asynccontextmanager
async def attacked() -> AsyncIterator[Server]:
    """A server whose memory and CPU time are measured while it is attacked."""
    async with serve() as server:
        await server.settle()
        await server.measure()
        cpu, most = server.cpu_seconds(), 0

        async def look() -> None:
            nonlocal most
            while True:
                most = max(most, server.rss())
                await asyncio.sleep(0.02)

        looking = asyncio.create_task(look())
        try:
            async with client.neighbour(server.address):
                yield server
        finally:
            looking.cancel()
        kept = await server.kept() - server.kept_before
        grown, spent = most - server.rss_before - kept, server.cpu_seconds() - cpu
        assert grown <= RSS_MOST_BYTES, f"RSS grew by {grown / MIB:.1f} MiB"
        assert spent <= CPU_MOST_SECONDS, f"{spent:.1f} s of CPU time"
        await server.settle()


async def flooded(flood: Iterable[bytes], *, opening: bytes = b"", reads: bool = True) -> None:
    """`flood`, by several attackers: each has to be closed, and told why if it reads."""
    again = list(flood)
    patience = LATE_SECONDS if reads else SLOW_READER_SECONDS + LATE_SECONDS
    async with attacked() as server:
        crowd = [await Attacker.open(server.address, reads) for _ in range(ATTACKERS)]

        async def attack(attacker: Attacker) -> bool:
            await attacker.send(opening)
            await attacker.flood(again, FLOOD_SECONDS)
            return await attacker.closed(patience)

        ends = await asyncio.gather(*map(attack, crowd))
        for attacker in crowd:
            attacker.close()
        sent = [attacker.sent for attacker in crowd]
        assert all(ends), f"{ends.count(False)} of {ATTACKERS} not closed after {sent} frames"
        if reads:
            words = [attacker.goaway for attacker in crowd]
            assert set(words) == {frames.ENHANCE_YOUR_CALM}, f"GOAWAY {words} after {sent} frames"


def odd(most: int) -> Iterable[int]:
    return range(1, 2 * most, 2)


async def rapid_reset() -> None:
    await flooded(frames.headers(stream) + frames.reset(stream) for stream in odd(20_000))


async def rapid_reset_of_speech() -> None:
    """The same where each request would begin work: the body is there, and then it is not wanted."""
    body = json.dumps({"input": client.SENTENCE, "response_format": "wav"}).encode()
    flood = (
        frames.headers(stream, "/v1/audio/speech", "POST", end_stream=False)
        + frames.data(stream, body, end_stream=True)
        + frames.reset(stream)
        for stream in odd(20_000)
    )
    await flooded(flood)


async def server_made_resets() -> None:
    """The resets are the server's own: each body is longer than it said."""
    said = [("content-length", "1")]
    flood = (
        frames.headers(stream, "/v1/audio/speech", "POST", end_stream=False, more=said)
        + frames.data(stream, b"hello", end_stream=True)
        for stream in odd(20_000)
    )
    await flooded(flood)


async def continuations() -> None:
    field = frames.literal(b"x-flood", b"y" * 100)
    opening = frames.headers(1, end_headers=False)
    await flooded([frames.continuation(1, field)] * 1000, opening=opening)


async def empty_continuations() -> None:
    opening = frames.headers(1, end_headers=False)
    await flooded([frames.continuation(1, b"")] * 1000, opening=opening)


async def empty_data() -> None:
    opening = frames.headers(1, "/v1/audio/speech", "POST", end_stream=False)
    await flooded([frames.data(1, b"")] * 1000, opening=opening)


async def pings() -> None:
    await flooded([frames.ping()] * 1000)


async def pings_unread() -> None:
    await flooded([frames.ping()] * 1000, reads=False)


async def settings() -> None:
    await flooded([frames.settings({4: 65_535}), frames.settings({4: 65_534})] * 500)


async def settings_unread() -> None:
    await flooded([frames.settings({4: 65_535}), frames.settings({4: 65_534})] * 500, reads=False)


async def half_header_blocks() -> None:
    """A block that stops, and one that goes on by a byte now and then."""
    async with attacked() as server:
        silent, dripping = [await Attacker.open(server.address) for _ in range(2)]
        for attacker in (silent, dripping):
            await attacker.send(frames.headers(1, end_headers=False))

        async def drip() -> None:
            for byte in frames.literal(b"x-slow", b"y" * 100):
                await dripping.send(frames.continuation(1, bytes([byte])))
                await asyncio.sleep(0.5)

        task = asyncio.create_task(drip())
        within = HEAD_MOST_SECONDS + LATE_SECONDS / 2
        ends = await asyncio.gather(silent.closed(within), dripping.closed(within))
        task.cancel()
        for attacker in (silent, dripping):
            attacker.close()
        assert all(ends), f"after {within} s closed were: silent {ends[0]}, dripping {ends[1]}"


async def preface_and_silence() -> None:
    """The whole preface and settings, then nothing: idle like any other, and no longer."""
    async with attacked() as server:
        attacker = await Attacker.open(server.address)
        # Nothing cuts it early: proxies keep such connections for their next request.
        assert not await attacker.closed(HEAD_MOST_SECONDS), "an idle connection was cut"
        await attacker.send(frames.headers(1))
        assert await until(lambda: 1 in attacker.answers, LATE_SECONDS), "not answered"
        attacker.close()


async def too_many_streams() -> None:
    """164 streams at once, whose answers cannot go anywhere: the window is shut."""
    async with attacked() as server:
        attacker = await Attacker.open(server.address, settings={4: 0})
        streams = range(1, 2 * (STREAMS + 100), 2)
        body = json.dumps({"input": client.LONG, "response_format": "wav"}).encode()[:4096]
        most = 0
        for stream in streams:
            head = frames.headers(stream, "/v1/audio/speech", "POST", end_stream=False)
            # The body follows for a few: what is open is what counts, not what is spoken.
            more = frames.data(stream, body, end_stream=True) if stream < 16 else b""
            await attacker.send(head + more)
            most = max(most, await server.live("speech_stream"))
        await attacker.closed(1.0)
        refused = [s for s, code in attacker.resets.items() if code == frames.REFUSED_STREAM]
        told = attacker.goaway == frames.ENHANCE_YOUR_CALM
        assert told or set(refused) >= set(streams[STREAMS:]), (
            f"GOAWAY {attacker.goaway}, {len(refused)} of {len(streams) - STREAMS} refused"
        )
        assert most <= STREAMS
        attacker.close()


CASES = {
    case.__name__: case
    for case in (
        pings_unread,
        settings_unread,
        half_header_blocks,
        preface_and_silence,
        rapid_reset,
        rapid_reset_of_speech,
        server_made_resets,
        continuations,
        empty_continuations,
        empty_data,
        pings,
        settings,
        too_many_streams,
    )  # fmt: skip
}


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> together.Outcomes:
    # The floods want a core each; those that wait come first and leave theirs to them.
    return together.run(request, CASES, 6)


@pytest.mark.parametrize("case", CASES)
def test_is_refused_and_costs_little(case: str, outcomes: together.Outcomes) -> None:
    outcomes.of(case)
