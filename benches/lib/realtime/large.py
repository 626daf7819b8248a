"""Sessions that each sent one message as large as may be, which was refused: what each costs from then on, beside one that sent
nothing."""

from __future__ import annotations

import asyncio
from argparse import Namespace

from .. import machine
from ..report import Figure, Report
from ..stalled import WARM_UP_REST_SECONDS
from . import idle, wire
from .crowd import GREETING, in_parts, opened
from .peers import Evensong

KIB = 1024
# Whole in one, and in pieces: both are no event, which is said.
WHOLE = wire.frame(wire.TEXT, b" " * (255 * KIB))
PIECES = b"".join(wire.frame(wire.TEXT if n == 0 else 0, b" " * (51 * KIB), is_final=n == 4) for n in range(5))
# What an idle session may have, and a little of what the allocator keeps of all that passed.
MOST_KIB = idle.MOST_KIB + 4


def run(report: Report, given: Namespace) -> None:
    with Evensong(report.complaints) as server:
        asyncio.run(_measure(report, server, given))


async def _measure(report: Report, server: Evensong, given: Namespace) -> None:
    async with opened(server.address, max(1, given.large // idle.WARM_UP_PART), GREETING) as sockets:
        await in_parts(sockets, _say)
    await idle.gone(server)
    await asyncio.sleep(WARM_UP_REST_SECONDS)
    before = server.memory().pss
    async with opened(server.address, given.large, GREETING) as sockets:
        await in_parts(sockets, _say)
        # What was told is forgotten within two signs of life.
        await asyncio.sleep(2 * idle.PING_SECONDS + 1)
        reserved = server.ledger()["budget"]["reserved"]
        there = sum(socket.is_open for socket in sockets)
        each = (server.memory().pss - before + machine.socket_bytes(server.port)) / max(1, there) / KIB
    report.figures += [
        Figure("large: sessions still there", there, least=given.large),
        Figure("large: memory of one that sent 255 KiB twice", each, "KiB", most=MOST_KIB),
        Figure("large: reserved for each", reserved / max(1, there) / KIB, "KiB"),
    ]


async def _say(socket: wire.WebSocket) -> None:
    for message in (WHOLE, PIECES):
        told = socket.told
        socket.transport.write(message)
        await socket.until(lambda: socket.told > told or not socket.is_open)
