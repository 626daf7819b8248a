"""Peers that ask for signs of life without end and read none: how much that makes the server grow, and how it ends."""

from __future__ import annotations

import select
import socket
import time
from argparse import Namespace

from .. import client
from ..report import Figure, Report, percentile
from ..search.watch import Watch
from . import wire
from .peers import Evensong

MIB = 1024 * 1024
MOST_GROWTH_BYTES = MIB
# As large as a ping may be (RFC 6455, 5.5), and as many in one write.
PINGS = wire.frame(wire.PING, bytes(125)) * 64
SAMPLE_SECONDS = 0.01
PATIENCE_SECONDS = 60.0
POLICY = 1008


class Flooder:
    """One of them: its socket, and how it was ended."""

    def __init__(self, address: wire.Address):
        self.socket = socket.socket()
        self.socket.settimeout(client.PATIENCE_SECONDS)
        self.socket.connect(address)
        self.socket.sendall(wire.handshake())
        came = b""
        while b"\r\n\r\n" not in came:
            part = self.socket.recv(1)
            if not part:
                raise client.Broken(f"closed after {came!r}")
            came += part
        if b" 101 " not in came.split(b"\r\n")[0]:
            raise client.Broken(f"the handshake was answered {came[:100]!r}")
        self.socket.setblocking(False)
        self.sent = 0
        self.cut_after: float | None = None

    def flood(self, began: float) -> None:
        """Sends as much as the socket takes; an error is the end."""
        try:
            self.sent += self.socket.send(PINGS)
        except BlockingIOError:
            pass
        except OSError:
            self.cut_after = time.monotonic() - began

    def code(self) -> int:
        """The code of the close among what it never read."""
        self.socket.settimeout(1)
        came = bytearray()
        try:
            while part := self.socket.recv(wire.READ_BYTES):
                came += part
        except OSError:
            pass  # it is over either way
        self.socket.close()
        while found := wire.first_frame(came):
            opcode, at, length = found
            if opcode == wire.CLOSE:
                return int.from_bytes(came[at : at + 2])
            del came[: at + length]
        return wire.NO_CODE


def run(report: Report, given: Namespace) -> None:
    with Evensong(report.complaints) as server:
        # What only grows to a size has grown.
        for flooder in _flood(server, given.flooders, 0.0):
            flooder.socket.close()
        server.idle_after(time.monotonic())
        time.sleep(1.5)
        with Watch(server.pid, SAMPLE_SECONDS) as watch:
            time.sleep(3 * SAMPLE_SECONDS)
            before, most_kernel = server.memory().rss, 0

            def look() -> None:
                nonlocal most_kernel
                most_kernel = max(most_kernel, server.socket_bytes())

            flooders = _flood(server, given.flooders, PATIENCE_SECONDS, look)
        growth = max(0, watch.most_rss - _own(before, server))
        codes = [flooder.code() for flooder in flooders]
        idle_after = server.idle_after(time.monotonic())
    cut = [flooder.cut_after for flooder in flooders if flooder.cut_after is not None]
    sent = sum(flooder.sent for flooder in flooders) / len(flooders) / 1024
    count = len(flooders)
    detail = f"user {growth / MIB:.2f} MiB of all {count}, kernel {most_kernel / MIB:.2f} MiB of all"
    report.figures += [
        Figure("flood: peers that were cut", len(cut), least=count, detail=f"each sent {sent:.0f} KiB of pings"),
        Figure("flood: growth for one of them", (growth + most_kernel) / count / MIB, "MiB", most=1, detail=detail),
        Figure("flood: told 1008", codes.count(POLICY), least=count, detail=f"codes {sorted(set(codes))}"),
        Figure("flood: first ping to the cut, p99", percentile(cut, 0.99), "s"),
        Figure("flood: ledger idle after", idle_after, "s"),
    ]


def _own(before: int, server: Evensong) -> int:
    """The watch sees the server without its workers."""
    return before - server.memory().workers_rss


def _flood(server: Evensong, count: int, seconds: float, look: object = lambda: None) -> list[Flooder]:
    """So many of them, until each was cut, or for so long."""
    flooders = [Flooder(server.address) for _ in range(count)]
    began = looked = time.monotonic()
    while (now := time.monotonic()) - began < seconds:
        alive = [flooder for flooder in flooders if flooder.cut_after is None]
        if not alive:
            break
        _, writable, _ = select.select([], [flooder.socket for flooder in alive], [], 0.02)
        for flooder in alive:
            if flooder.socket in writable:
                flooder.flood(began)
        if now - looked > 0.05:
            look()
            looked = now
    return flooders
