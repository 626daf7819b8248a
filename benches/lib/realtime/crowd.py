"""Many sockets of clients at once, in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from .wire import PATH, Address, WebSocket

AT_ONCE = 64
# As many events begin a session: who it is, and how it is gone on with.
GREETING = 2


async def in_parts(each: Iterable[Any], do: Callable[[Any], Awaitable[None]], at_once: int = AT_ONCE) -> None:
    """Does it for each, some at a time; the first that fails ends all."""
    waiting = iter(each)

    async def worker() -> None:
        for one in waiting:
            await do(one)

    async with asyncio.TaskGroup() as workers:
        for _ in range(at_once):
            workers.create_task(worker())


@asynccontextmanager
async def opened(address: Address, count: int, greeting: int) -> AsyncIterator[list[WebSocket]]:
    """So many sockets, each of which has been told as much as it is greeted with."""
    sockets: list[WebSocket] = []

    async def one(_: int) -> None:
        socket = await WebSocket.open(address, PATH, keeps=False)
        sockets.append(socket)
        await socket.until(lambda: socket.told >= greeting or not socket.is_open)

    try:
        await in_parts(range(count), one)
        yield sockets
    finally:
        for socket in sockets:
            socket.cut(reset=False)
        # They are closed in the loop's next round.
        await asyncio.sleep(0)
