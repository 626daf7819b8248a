"""A server of a test's own: started on free ports, asked by its admin listener, measured by /proc.

What every case has to leave behind is asserted in one place, `Server.settle`: an idle ledger, nothing
reserved, and the memory that was there before.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import client

START_SECONDS = 10.0
# The server promises 5 s from SIGTERM to its end; the rest is for a busy machine to notice it.
STOP_SECONDS = 6.0
IDLE_SECONDS = 2.0
# The allocator gives freed pages back after a second, and the promise is 8 MiB after five.
RSS_SECONDS = 5.0
RSS_ROOM_BYTES = 8 * 1024 * 1024
_TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """A running server; `serve` starts and ends it."""

    def __init__(self, process: asyncio.subprocess.Process, announced: dict[str, Any], log: Path):
        public, admin = urlsplit(announced["listen"][0]), urlsplit(announced["admin"])
        self.process, self.pid, self.log = process, process.pid, log
        self.address = (public.hostname, public.port)
        self.admin = (admin.hostname, admin.port)
        self.rss_before = self.kept_before = 0

    async def ledger(self) -> dict[str, Any]:
        reply = await client.get(self.admin, "/debug/ledger")
        return json.loads(reply.body)

    async def live(self, kind: str) -> int:
        kinds = (await self.ledger())["kinds"]
        return next(k["live"] for k in kinds if k["kind"] == kind)

    async def oldest(self, kind: str) -> float:
        """Seconds for which the oldest thing of a kind has lived; 0 when there is none."""
        ages = [i["age_ms"] for i in (await self.ledger())["items"] if i["kind"] == kind]
        return max(ages, default=0) / 1e3

    async def settle(self, room: int = RSS_ROOM_BYTES) -> None:
        """What is left when all have gone: nothing but what was there before."""

        async def idle() -> bool:
            ledger = await self.ledger()
            return ledger["idle"] and ledger["budget"]["reserved"] == 0

        if not await until(idle, IDLE_SECONDS):
            ledger = await self.ledger()
            alive = {
                k["kind"]: k["live"] for k in ledger["kinds"] if k["live"] and not k["standing"]
            }
            raise AssertionError(f"not idle after {IDLE_SECONDS} s: {alive}, {ledger['budget']}")
        # Kept phrases are meant to stay, within a bound of their own, and the ledger knows them.
        kept = await self.kept() - self.kept_before
        if not await until(lambda: self.rss() <= self.rss_before + kept + room, RSS_SECONDS):
            grown = (self.rss() - self.rss_before - kept) / 2**20
            raise AssertionError(f"RSS is {grown:.1f} MiB above what it was before")

    def rss(self) -> int:
        """Resident bytes of the server without its workers: the door is in the server."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.M)[1]) * 1024

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)

    def workers(self) -> list[int]:
        """Living worker processes."""
        return [pid for pid in children(self.pid) if alive(pid)]

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    async def warm_up(self) -> None:
        """Runs the paths of speech once, so that what they grow for good is there before."""
        say = (client.speak(self.address, f"Warm-up {n}.") for n in range(8))
        await asyncio.gather(*say)
        await client.speak(self.address, "The last of the warm-up.", "pcm")
        await self.measure()

    async def measure(self) -> None:
        """From here on memory is compared with what it is now."""
        self.rss_before, self.kept_before = self.rss(), await self.kept()

    async def kept(self) -> int:
        """Bytes of kept phrases."""
        kinds = (await self.ledger())["kinds"]
        return next(k["bytes"] for k in kinds if k["kind"] == "phrase")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, seconds: float) -> int:
        """Its exit status, when it has one within `seconds`."""
        return await asyncio.wait_for(self.process.wait(), seconds)


@asynccontextmanager
async def serve(
    *arguments: str,
    listen: str = "127.0.0.1:0",
    environment: dict[str, str] | None = None,
    before: Sequence[str] = (),
    warm: bool = True,
) -> AsyncIterator[Server]:
    """A server with the test signal as its engine. `before` is a command that starts the rest of its
    line, such as a shell that lowers a limit. In the end the server has left well, unless the test has
    ended it by itself."""
    with tempfile.TemporaryDirectory(prefix="evensong-door-") as folder:
        log = Path(folder) / "stderr"
        # Settings of whoever runs the tests must not reach the server.
        clean = {k: v for k, v in os.environ.items() if not k.startswith("EVENSONG_")}
        clean["EVENSONG_DATA"] = str(Path(folder) / "data")
        command = [
            *before, os.environ["EVENSONG_BIN"], "--listen", listen, "--admin", "127.0.0.1:0",
            "--announce", "--speech-engine", "tone", *arguments,
        ]  # fmt: skip
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *command, cwd=folder, env=clean | (environment or {}),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        try:
            line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
            assert line, f"the server did not start:\n{log.read_text(errors='replace')}"
            server = Server(process, json.loads(line), log)
            if warm:
                await server.warm_up()
            yield server
            if process.returncode is None:
                await _stop(server)
            assert "panicked" not in server.said(), server.said()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _stop(server: Server) -> None:
    server.signal(signal.SIGTERM)
    try:
        status = await server.ended(STOP_SECONDS)
    except TimeoutError:
        raise AssertionError(f"still there {STOP_SECONDS} s after SIGTERM") from None
    assert status == 0, f"exit status {status}; it said:\n{server.said()[-2000:]}"


async def until(
    is_so: Callable[[], bool | Awaitable[bool]], seconds: float, every: float = 0.02
) -> bool:
    """Asks again and again; whether it became so within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = is_so()
        if answer is True or (answer is not False and await answer):
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(every)


def alive(pid: int) -> bool:
    """Whether a process lives; one that ended and was not waited for does not."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def children(parent: int) -> list[int]:
    found = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in found if (fields := _stat(pid)) and int(fields[1]) == parent]


def cpu_seconds(pid: int) -> float:
    """CPU time of one process so far: utime and stime of proc(5)."""
    return sum(int(field) for field in _stat(pid)[11:13]) / _TICKS


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, which may hold anything; none for no process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
