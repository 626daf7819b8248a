"""Clients that leave at random moments in every manner that a socket has."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from argparse import Namespace
from collections import Counter
from dataclasses import dataclass, field
from itertools import product

from . import client, formats
from .report import Figure, Report, percentile
from .server import Server

AT_ONCE = 200
# Leavers before the first byte are gone within this of their request.
EARLY_SECONDS = 0.006
# The others leave at most so long after their first audio. Until then they read a little this often
# at most: with the kernel's buffers on both sides, some leave while the server sends, some while it
# is blocked, some while it waits for the next piece; and few of our own wakings disturb it.
STAY_SECONDS = 3.0
GULPS_MOST = 4
# A refused client comes again after what the server's Retry-After says, as often as this.
AGAIN_SECONDS = 1.0
TRIES = 30
# Texts of every length, drawn once; none is short enough for a cache.
TEXTS = 64

MOMENTS = ("before the first byte", "mid-stream")
MANNERS = ("FIN", "RST", "FIN behind a stray line end", "FIN behind a second request")
WAYS = list(product(MOMENTS, MANNERS))
FREED = "evensong_disconnect_to_free_seconds"


@dataclass
class Crowd:
    """What was seen of the leavers, from their side."""

    left: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: int = 0
    # Of those who were to leave before the first byte: how many did.
    had_nothing: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    # From a FIN to the server's own end of the connection, in milliseconds.
    answered_ms: list[float] = field(default_factory=list)


@dataclass
class Leaver:
    """One client and its way out, drawn beforehand so that a seed tells the whole run."""

    format: str
    moment: str
    manner: str
    message: bytes
    delay: float
    gulps: int

    @staticmethod
    def draw(number: int, names: list[str], texts: list[str], dice: random.Random) -> Leaver:
        moment, manner = WAYS[number % len(WAYS)]
        format = names[number // len(WAYS) % len(names)]
        message = client.request(dice.choice(texts), format)
        behind = {MANNERS[2]: b"\r\n", MANNERS[3]: message}.get(manner, b"")
        stay = EARLY_SECONDS if moment == MOMENTS[0] else STAY_SECONDS
        delay, gulps = dice.uniform(0, stay), dice.randint(0, GULPS_MOST)
        return Leaver(format, moment, manner, message + behind, delay, gulps)


def run(report: Report, given: Namespace) -> None:
    """See the module."""
    names, seed = given.formats, given.seed
    with Server(report.complaints) as server:
        # As many as later are there at once, so that the tables that only grow have grown.
        asyncio.run(_crowd(server, names, AT_ONCE * 2, seed + 1, Crowd()))
        server.idle_after(time.monotonic())
        time.sleep(1.0)
        before, metrics = server.ledger(), server.metrics()
        crowd, began = Crowd(), time.monotonic()
        asyncio.run(_crowd(server, names, given.leavers, seed, crowd))
        idle_after = server.idle_after(end := time.monotonic())
        after = server.ledger()
        delta = {name: value - metrics.get(name, 0) for name, value in server.metrics().items()}
    took = end - began
    early = sum(count for (moment, _), count in crowd.left.items() if moment == MOMENTS[0])
    detail = (
        f"{took:.0f} s, seed {seed}; {early} early, {crowd.had_nothing} of them before any byte; "
        f"{crowd.refused} × 503 and came again"
    )
    report.figures += [
        Figure("leavers: have left", sum(crowd.left.values()), least=given.leavers, detail=detail),
        _failed(crowd.failed),
        Figure("leavers: ledger idle after the last", idle_after * 1e3, "ms", most=1000),
        *_ledger_figures(before, after),
        *_freed_figures(delta),
        *_outside_figures(crowd),
    ]


def _outside_figures(crowd: Crowd) -> list[Figure]:
    """No bounds, since both sides share the processors, and what was sent has to be read first."""
    name, taken = "leavers: from a client's FIN to the server's own", crowd.answered_ms
    return [Figure(f"{name}, p{part}", percentile(taken, part / 100), "ms") for part in (50, 99)]


def _failed(failed: Counter[str]) -> Figure:
    detail = ", ".join(f"{count} × {name}" for name, count in failed.most_common(4))
    return Figure("leavers: failed otherwise", failed.total(), most=0, detail=detail)


def _ledger_figures(before: dict, after: dict) -> list[Figure]:
    figures = [Figure("leavers: ledger agrees with the process", int(after["agrees"]), least=1)]
    for name in ("fds", "threads", "tasks"):
        was = before["process"][name]
        figures.append(Figure(f"leavers: {name} after", after["process"][name], most=was, least=was))
    return figures


def _freed_figures(delta: dict[str, float]) -> list[Figure]:
    """The server's own histogram of streams, as far as it grew."""
    count = delta[f'{FREED}_count{{held="stream"}}']
    buckets = {
        float(name.split('"')[1].replace("+Inf", "inf")): value
        for name, value in delta.items()
        if name.startswith(f"{FREED}_bucket") and 'held="stream"' in name
    }

    def bound(part: float) -> float:
        reached = (le for le, value in sorted(buckets.items()) if count and value >= part * count)
        return next(reached, float("nan")) * 1e3

    late = count - buckets[0.01]
    share = 100 * (1 - late / count) if count else float("nan")
    detail = f"{int(late)} of {int(count)} streams later"
    return [
        Figure("leavers: freed within 10 ms of being seen", share, "%", least=99, detail=detail),
        Figure("leavers: seen leaving to freed, p50 at most", bound(0.5), "ms"),
        Figure("leavers: seen leaving to freed, p99 at most", bound(0.99), "ms", most=10),
    ]


async def _crowd(server: Server, names: list[str], count: int, seed: int, crowd: Crowd) -> None:
    dice = random.Random(seed)
    texts = [formats.prose(number, dice.randint(400, 4000)) for number in range(TEXTS)]
    waiting = iter([Leaver.draw(number, names, texts, dice) for number in range(count)])

    async def clients() -> None:
        for leaver in waiting:
            try:
                await _live_and_leave(server, leaver, crowd)
            except (OSError, client.Broken, asyncio.TimeoutError) as error:
                crowd.failed[f"{leaver.moment}, {leaver.manner}: {error!r}"] += 1

    await asyncio.gather(*(clients() for _ in range(AT_ONCE)))


async def _live_and_leave(server: Server, leaver: Leaver, crowd: Crowd) -> None:
    for _ in range(TRIES):
        with await client.connect(server.address, leaver.message) as stream:
            if leaver.moment == MOMENTS[0]:
                await asyncio.sleep(leaver.delay)
                crowd.had_nothing += not _gulp(stream)
            elif not await _listen(stream, leaver):
                crowd.refused += 1
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            await _leave(stream, leaver.manner, crowd)
        crowd.left[leaver.moment, leaver.manner] += 1
        return
    raise client.Broken(f"refused {TRIES} times")


async def _listen(stream: socket.socket, leaver: Leaver) -> bool:
    """Stays for the leaver's time from its first audio on; false when it was refused."""
    answer = client.Answer(leaver.format)
    await client.read(stream, answer, 1)
    if answer.is_refusal:
        return False
    if not answer.has_audio:
        raise client.Broken(f"answered {answer.status}")
    for _ in range(leaver.gulps):
        await asyncio.sleep(leaver.delay / (leaver.gulps + 1))
        _gulp(stream)
    await asyncio.sleep(leaver.delay / (leaver.gulps + 1))
    return True


def _gulp(stream: socket.socket) -> bytes:
    """What is there, up to a buffer of it."""
    try:
        return stream.recv(client.READ_BYTES)
    except BlockingIOError:
        return b""


async def _leave(stream: socket.socket, manner: str, crowd: Crowd) -> None:
    if manner == "RST":
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return
    # Closing with audio unread would send RST instead of FIN, so the rest is read until the server
    # has closed as well, which also says from outside how long that took.
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    stream.shutdown(socket.SHUT_WR)
    try:
        while await asyncio.wait_for(loop.sock_recv(stream, client.READ_BYTES), client.PATIENCE_SECONDS):
            pass
    except ConnectionResetError:
        pass  # it closed with something of ours unread
    crowd.answered_ms.append((time.perf_counter() - began) * 1e3)
