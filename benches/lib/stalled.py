"""Many clients that read a little and stall, then a new one; then all leave.

What they cost is the growth of the server's and its workers' memory, and the server's side of the
kernel's socket buffers, against what the ledger says was reserved.
"""

from __future__ import annotations

import asyncio
import socket
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass

from . import client, formats, machine
from .report import Figure, Report, percentile
from .server import Server

KIB, MIB = 1024, 1024 * 1024
TEXT_CHARS = 4000
READ_BYTES = 2048
# Clients that are just being let in; more at once would be refused as too long a wait.
OPENING = 8
TRIES = 20
NEW_CLIENTS = 10
# A warm start has run every code path, grown the runtime's and the allocator's own structures and
# the workers' heaps, and seen some concurrency; a tenth of the load, so that it cannot hide what
# the whole load leaves behind. The allocator gives freed pages back after one second.
WARM_UP_PART = 10
WARM_UP_REST_SECONDS = 4.0
RSS_ROOM = 8 * MIB
RSS_SECONDS = 5.0
RSS_PATIENCE_SECONDS = 15.0


@dataclass
class Crowd:
    """The clients that stall, and what was seen while they did."""

    server: Server
    names: list[str]
    streams: list[socket.socket]
    refused: int = 0
    reserved_most: int = 0
    held_most: int = 0
    over_budget: int = 0

    async def open(self, count: int) -> None:
        """Lets `count` clients in, each of which reads `READ_BYTES` of audio and stalls."""
        numbers = iter(range(count))
        watch = asyncio.create_task(self._watch())
        await asyncio.gather(*(self._open(numbers) for _ in range(OPENING)))
        watch.cancel()

    async def _open(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            name = self.names[number % len(self.names)]
            message = client.request(formats.prose(number, TEXT_CHARS), name)
            for _ in range(TRIES):
                answer = client.Answer(name)
                stream = await client.connect(self.server.address, message)
                await client.read(stream, answer, READ_BYTES)
                if answer.status == 200:
                    self.streams.append(stream)
                    break
                stream.close()
                self.refused += 1
                await asyncio.sleep(0.2)

    async def _watch(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(0.05)

    def look(self) -> dict:
        """One look at the budget."""
        budget = self.server.ledger()["budget"]
        self.reserved_most = max(self.reserved_most, budget["reserved"])
        self.held_most = max(self.held_most, budget["held"])
        kept = budget["held"] <= budget["reserved"] <= budget["total"]
        self.over_budget += not kept
        return budget

    def settle(self, patience: float = 30.0) -> dict:
        """Waits until every ring is full: nothing more is held than a second ago."""
        since, before, until = time.monotonic(), self.look(), time.monotonic() + patience
        while time.monotonic() < min(until, since + 1.0):
            time.sleep(0.05)
            now = self.look()
            if now["held"] != before["held"]:
                since, before = time.monotonic(), now
        return before

    def leave(self) -> float:
        """All at once; the moment at which they had. Every other one only says FIN: it keeps its end
        open and never reads, so that what the kernel still has for it goes nowhere by itself."""
        for number, stream in enumerate(self.streams):
            stream.shutdown(socket.SHUT_WR) if number % 2 else stream.close()
        return time.monotonic()

    def close(self) -> None:
        """The rest of those who have left."""
        for stream in self.streams:
            stream.close()
        self.streams.clear()


def run(report: Report, given: Namespace) -> None:
    """See the module."""
    names, clients = given.formats, given.clients
    # Stalled readers are cut after 20 s, which is another promise; here they are to stay.
    with Server(report.complaints, "--limits-slow-reader-seconds", "300") as server:
        warm = _warm_up(server, names, max(1, clients // WARM_UP_PART))
        crowd = Crowd(server, names, [])
        asyncio.run(crowd.open(clients))
        among_them = [_new_client(server, names, 0)]
        budget = crowd.settle()
        memory, kernel = server.memory(), server.socket_bytes()
        among_them += [_new_client(server, names, n) for n in range(1, NEW_CLIENTS + 1)]
        crowd.look()
        stalled = len(crowd.streams)
        idle_after = server.idle_after(crowd.leave())
        report.figures += [
            _let_in(crowd, stalled, clients),
            _new_clients(among_them),
            *_budget_figures(crowd, budget),
            *_memory_figures(stalled, memory.pss - warm.pss, kernel, budget),
            Figure("stalled: ledger idle after all left", idle_after * 1e3, "ms", most=1000),
            *_rss_figures(server, warm, memory),
        ]
        crowd.close()


def _warm_up(server: Server, names: list[str], count: int) -> machine.Memory:
    crowd = Crowd(server, names, [])
    asyncio.run(crowd.open(count))
    crowd.settle()
    _new_client(server, names, 0)
    server.idle_after(crowd.leave())
    crowd.close()
    time.sleep(WARM_UP_REST_SECONDS)
    return server.memory()


def _new_client(server: Server, names: list[str], number: int) -> float:
    """Milliseconds to its first audio; infinite for one that was not let in."""
    name = names[number % len(names)]
    seconds, answer, stream = client.first_audio(server.address, formats.sentence(number), name)
    stream.close()
    return seconds * 1e3 if answer.has_audio else float("inf")


def _let_in(crowd: Crowd, stalled: int, clients: int) -> Figure:
    detail = f"{crowd.refused} × 503 on the way"
    return Figure("stalled: clients let in", stalled, least=clients, detail=detail)


def _new_clients(taken: list[float]) -> Figure:
    first, *later = taken
    middle = percentile(later, 0.5)
    detail = f"{first:.1f} while rings fill, then {len(later)} more with p50 {middle:.1f} ms"
    return Figure("stalled: a new client's first audio", max(taken), "ms", most=100, detail=detail)


def _budget_figures(crowd: Crowd, budget: dict) -> list[Figure]:
    reserved, total = crowd.reserved_most / MIB, budget["total"] / MIB
    return [
        Figure("stalled: most that was reserved", reserved, "MiB", most=total),
        Figure("stalled: looks at which held > reserved > budget", crowd.over_budget, most=0),
    ]


def _memory_figures(stalled: int, user: int, kernel: int, budget: dict) -> list[Figure]:
    each = KIB * max(1, stalled)
    grown, reserved, held = (user + kernel) / each, budget["reserved"] / each, budget["held"] / each
    whole = f"{(user + kernel) / MIB:.1f} MiB in all"
    parts = f"user {user / each:.1f}, of it held in rings {held:.1f}; kernel {kernel / each:.1f}"
    return [
        Figure("stalled: memory of a stream", grown, "KiB", most=448, detail=parts),
        Figure("stalled: against what it reserved", grown, "KiB", most=reserved, detail=whole),
    ]


def _rss_figures(
    server: Server, warm: machine.Memory, full: machine.Memory
) -> list[Figure]:
    """How soon the memory is back, and what stays."""
    began, within = time.monotonic(), float("inf")
    while time.monotonic() - began < RSS_PATIENCE_SECONDS:
        if server.memory().rss <= warm.rss + RSS_ROOM:
            within = time.monotonic() - began
            break
        time.sleep(0.1)
    time.sleep(max(0.0, began + RSS_SECONDS - time.monotonic()))
    rest, kernel = server.memory(), server.socket_bytes()
    moments = (("warm", warm), ("stalled", full), ("after", rest))
    parts = ", ".join(
        f"{name} {at.server_rss / MIB:.1f} + {at.workers_rss / MIB:.1f}" for name, at in moments
    )
    above = (rest.rss - warm.rss) / MIB
    return [
        Figure("stalled: RSS within 8 MiB of its warm start after", within, "s", most=RSS_SECONDS),
        Figure("stalled: RSS above it 5 s after", above, "MiB", most=8, detail=f"{parts} with workers"),
        Figure("stalled: kernel memory after all left", kernel / KIB, "KiB", most=0),
    ]
