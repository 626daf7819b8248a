"""Sockets each of which holds most of a large message and never ends it: all that they hold stays within the budget, and whoever
has no room there is told so."""

from __future__ import annotations

import asyncio
import time
from argparse import Namespace
from collections import Counter

from .. import machine
from ..report import Figure, Report
from . import wire
from .crowd import GREETING, in_parts, opened
from .peers import MIB, Evensong

# As a fragment, behind which others would come: so signs of life can be answered meanwhile (RFC 6455, 5.4).
MESSAGE = wire.frame(wire.TEXT, b" " * (255 * 1024), is_final=False)
# Each session has its part of it; what is left is room for some hundreds of such messages.
BUDGET_BYTES = 640 * MIB
OVERLOAD = 1013
SETTLE_SECONDS = 1.0


def run(report: Report, given: Namespace) -> None:
    with Evensong(report.complaints, budget=BUDGET_BYTES) as server:
        before = server.memory().pss
        asyncio.run(_hold(report, server, before, given))
        idle_after = server.idle_after(time.monotonic())
    report.figures.append(Figure("unfinished: ledger idle after all left", idle_after, "s", most=5))


async def _hold(report: Report, server: Evensong, before: int, given: Namespace) -> None:
    async with opened(server.address, given.unfinished, GREETING) as sockets:
        there = sum(socket.is_open for socket in sockets)
        sessions = server.ledger()["budget"]["reserved"]

        async def send(socket: wire.WebSocket) -> None:
            socket.transport.write(MESSAGE)
            await socket.drained()

        await in_parts(sockets, send)
        # Until the last of those who are refused has been told.
        count = -1
        while (now := sum(socket.is_open for socket in sockets)) != count:
            count = now
            await asyncio.sleep(SETTLE_SECONDS)
        budget = server.ledger()["budget"]
        user, kernel = server.memory().pss - before, machine.socket_bytes(server.port)
        codes = Counter(socket.code for socket in sockets if not socket.is_open)
    held = count * len(MESSAGE)
    reserved = f"{sessions / MIB:.0f} MiB before, for all; then {held / MIB:.0f} MiB of messages came"
    others = codes.total() - codes[OVERLOAD]
    report.figures += [
        Figure("unfinished: sessions let in", there, least=given.unfinished),
        Figure("unfinished: of them that hold their message", count, least=1),
        Figure("unfinished: refused with 1013", codes[OVERLOAD]),
        Figure("unfinished: ended otherwise", others, most=0, detail=str(dict(codes))),
        Figure("unfinished: reserved", budget["reserved"] / MIB, "MiB", most=budget["total"] / MIB, detail=reserved),
        Figure("unfinished: memory", (user + kernel) / MIB, "MiB", most=budget["total"] / MIB, detail=f"kernel {kernel / MIB:.0f}"),
    ]
