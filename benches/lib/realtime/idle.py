"""Sessions in which nothing is said: what each costs, with the kernel, and what signs of life cost; beside a server on Node and
one that holds nothing but the sockets. Each is measured by itself, one behind the other."""

from __future__ import annotations

import asyncio
import time
from argparse import Namespace
from dataclasses import dataclass

from .. import machine
from ..report import Figure, Report
from ..stalled import WARM_UP_REST_SECONDS
from . import peers
from .crowd import GREETING, opened

KIB = 1024
MOST_KIB = 16
WARM_UP_PART = 10
# All ask for a sign of life as often as this.
PING_SECONDS = 10
SETTLE_SECONDS = 20


@dataclass(frozen=True)
class Seen:
    """What one server needed for them."""

    user: float
    kernel: float
    there: int
    pings: int
    cpu_seconds: float
    # Seconds, in which that was spent.
    took: float

    @property
    def each(self) -> float:
        """Bytes of one, with the kernel."""
        return (self.user + self.kernel) / max(1, self.there)

    @property
    def cpu_per_ping(self) -> float:
        return self.cpu_seconds / self.pings if self.pings else float("nan")


def run(report: Report, given: Namespace) -> None:
    seen = {}
    for name in given.peers:
        with peers.start(name, report.complaints) as peer:
            seen[name] = asyncio.run(_measure(peer, given))
            report.figures += _figures(name, seen[name], given)
    for name, other in seen.items():
        if name == "evensong" or "evensong" not in seen:
            continue
        ours = seen["evensong"]
        report.figures += [
            Figure(f"idle: memory of a session, evensong / {name}", ours.each / other.each, "times"),
            Figure(f"idle: CPU of a sign of life, evensong / {name}", ours.cpu_per_ping / other.cpu_per_ping, "times"),
        ]


async def _measure(peer: peers.Peer, given: Namespace) -> Seen:
    greeting = GREETING if peer.name == "evensong" else 0
    async with opened(peer.address, max(1, given.sessions // WARM_UP_PART), greeting):
        pass
    await gone(peer)
    await asyncio.sleep(WARM_UP_REST_SECONDS)
    before = machine.memory(peer.pid).pss
    async with opened(peer.address, given.sessions, greeting) as sockets:
        await _settled(peer)
        pings, spent, began = sum(socket.pings for socket in sockets), machine.cpu_seconds(peer.pid), time.monotonic()
        await asyncio.sleep(given.seconds)
        spent, took = machine.cpu_seconds(peer.pid) - spent, time.monotonic() - began
        pings = sum(socket.pings for socket in sockets) - pings
        there = min(sum(socket.is_open for socket in sockets), machine.connections(peer.port))
        user, kernel = machine.memory(peer.pid).pss - before, machine.socket_bytes(peer.port)
    return Seen(user, kernel, there, pings, spent, took)


async def gone(peer: peers.Peer) -> None:
    """All that the warm-up left."""
    if peer.name == "evensong":
        await asyncio.to_thread(peer.idle_after, time.monotonic())
        return
    until = time.monotonic() + SETTLE_SECONDS
    while machine.connections(peer.port) and time.monotonic() < until:
        await asyncio.sleep(0.1)


async def _settled(peer: peers.Peer) -> None:
    """Until it holds no more than half a second ago, and everyone was asked once for a sign of life."""
    before, until = -1, time.monotonic() + SETTLE_SECONDS
    while (now := machine.memory(peer.pid).pss) > before and time.monotonic() < until:
        before = now
        await asyncio.sleep(0.5)


def _figures(name: str, seen: Seen, given: Namespace) -> list[Figure]:
    each = KIB * max(1, seen.there)
    parts = f"user {seen.user / each:.1f}, kernel {seen.kernel / each:.1f}"
    due = given.sessions * int(given.seconds / PING_SECONDS)
    is_ours = name == "evensong"
    detail = f"{seen.cpu_seconds:.2f} s in {seen.took:.0f} s for {seen.pings:,} signs of life"
    return [
        Figure(f"idle, {name}: sessions still there", seen.there, least=given.sessions),
        Figure(f"idle, {name}: memory of a session", seen.each / KIB, "KiB", most=MOST_KIB if is_ours else None, detail=parts),
        # One more or less comes at the edges of the time.
        Figure(f"idle, {name}: signs of life asked for", seen.pings, least=0.8 * due if is_ours else None),
        Figure(f"idle, {name}: CPU of a sign of life", seen.cpu_per_ping * 1e6, "µs", detail=detail),
        Figure(f"idle, {name}: CPU", seen.cpu_seconds / seen.took * 100, "%"),
    ]
