"""A thousand downloads of hot files that stall: what each costs, with the kernel; and again while the cache evicts the files
that they read."""

from __future__ import annotations

import random
import socket
import time
from argparse import Namespace

from .. import client, machine
from ..report import Figure, Report
from ..stalled import RSS_PATIENCE_SECONDS, RSS_ROOM, WARM_UP_REST_SECONDS
from . import files, peers

KIB, MIB = 1024, 1024 * 1024
MOST_KIB = 176
READ_BYTES = 2048
# Of a client, so that what is not read stays where it is measured: with the server.
RECEIVE_BUFFER = 4096
WARM_UP_PART = 10
# As many bytes as a few of the files have: whatever is fetched evicts what others read.
SMALL_CACHE_BYTES = 2_000_000
# How often everything is fetched while they stall.
ROUNDS = 5
# How many of them read on in the end, to see that what they get is whole.
FINISHERS = 20
SETTLE_SECONDS = 20


class Download:
    """One client: its socket, the file that it reads, and what it has of it."""

    def __init__(self, address: tuple[str, int], file: files.File, path: str):
        self.file, self.socket = file, socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self.socket.settimeout(client.PATIENCE_SECONDS)
        self.socket.connect(address)
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        came = bytearray()
        while b"\r\n\r\n" not in came:
            part = self.socket.recv(READ_BYTES)
            if not part:
                raise client.Broken(f"closed after {bytes(came)!r}")
            came += part
        head, _, self.body = came.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            self.socket.close()
            raise client.Broken(f"{path} was answered {bytes(head + self.body)[:300]!r}")

    def is_whole(self) -> bool:
        """Reads the rest; whether it is the file."""
        while len(self.body) < len(self.file.content):
            part = self.socket.recv(client.READ_BYTES)
            if not part:
                return False
            self.body += part
        return bytes(self.body) == self.file.content


def run(report: Report, given: Namespace) -> None:
    made = files.reel(given.files, given.seed)
    with files.Folder(made) as folder:
        for what, settings in (("hot", ()), ("evicted", ("--media-hot-bytes", str(SMALL_CACHE_BYTES)))):
            with peers.Evensong(report.complaints, folder.root, *settings) as server:
                report.figures += _figures(what, server, made, given)


def _figures(what: str, server: peers.Evensong, made: list[files.File], given: Namespace) -> list[Figure]:
    targets = list(zip(made, server.paths(made), strict=True))
    warm = _warm_up(server, targets, max(1, given.clients // WARM_UP_PART))
    downloads = _open(server, targets, given.clients)
    for _ in range(ROUNDS):
        _fetch_all(server, targets)
    _settle(server)
    memory, kernel, budget = server.memory(), server.socket_bytes(), server.ledger()["budget"]
    there = machine.connections(server.port)
    user = memory.pss - warm.pss
    each = KIB * max(1, len(downloads))
    some = random.Random(given.seed).sample(downloads, min(FINISHERS, len(downloads)))
    wrong = sum(not download.is_whole() for download in some)
    for number, download in enumerate(downloads):
        # Every other one only says FIN, and never reads.
        download.socket.shutdown(socket.SHUT_WR) if number % 2 else download.socket.close()
    idle_after = server.idle_after(time.monotonic())
    above, within = _back(server, warm)
    for download in downloads:
        download.socket.close()
    parts = f"user {user / each:.1f}, kernel {kernel / each:.1f}; reserved {budget['reserved'] / each:.1f}"
    name = f"stalled, {what}"
    return [
        Figure(f"{name}: downloads let in, and still there", min(len(downloads), there), least=given.clients),
        Figure(f"{name}: memory of a download", (user + kernel) / each, "KiB", most=MOST_KIB, detail=parts),
        Figure(f"{name}: held above reserved above the budget", _over(budget), most=0),
        Figure(f"{name}: of those that read on, other bytes than the file's", wrong, most=0, detail=f"{FINISHERS} read on"),
        Figure(f"{name}: ledger idle after all left", idle_after * 1e3, "ms", most=1000),
        Figure(f"{name}: RSS above its warm start after", above / MIB, "MiB", most=RSS_ROOM / MIB, detail=f"after {within:.1f} s"),
    ]


def _warm_up(server: peers.Evensong, targets: list[tuple[files.File, str]], count: int) -> machine.Memory:
    """The cache as full as it gets, and some concurrency seen."""
    for _ in range(2):
        _fetch_all(server, targets)
    for download in _open(server, targets, count):
        download.socket.close()
    server.idle_after(time.monotonic())
    _fetch_all(server, targets)
    time.sleep(WARM_UP_REST_SECONDS)
    return server.memory()


def _open(server: peers.Evensong, targets: list[tuple[files.File, str]], count: int) -> list[Download]:
    """`count` clients, each of which reads a little of a file and stalls."""
    each = (targets[number % len(targets)] for number in range(count))
    return [Download(server.address, file, path) for file, path in each]


def _fetch_all(server: peers.Evensong, targets: list[tuple[files.File, str]]) -> None:
    for file, path in targets:
        status, _, body = peers.fetch(server.address, path)
        if status != 200 or body != file.content:
            raise OSError(f"{path} was answered {status} with {len(body)} bytes")


def _settle(server: peers.Evensong) -> None:
    """Until the kernel holds no more than half a second ago: what stalls has sent what it can."""
    before, until = -1, time.monotonic() + SETTLE_SECONDS
    while (now := server.socket_bytes()) != before and time.monotonic() < until:
        before = now
        time.sleep(0.5)


def _over(budget: dict[str, int]) -> int:
    return int(not budget["held"] <= budget["reserved"] <= budget["total"])


def _back(server: peers.Evensong, warm: machine.Memory) -> tuple[float, float]:
    """Bytes above the warm start, and after how many seconds that was little, or patience was over."""
    began = time.monotonic()
    while True:
        above, took = server.memory().rss - warm.rss, time.monotonic() - began
        if above <= RSS_ROOM or took > RSS_PATIENCE_SECONDS:
            return above, took
        time.sleep(0.1)
