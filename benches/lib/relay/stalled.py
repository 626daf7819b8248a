"""Readers of long streams who stop after the head: how much the upstream had to give for each, and what it costs.

The rest of the streams is then nobody's: what the upstream gives beyond what was read is held somewhere, by the peer
or by the kernel in the peer's name.
"""

from __future__ import annotations

import time
from argparse import Namespace
from contextlib import ExitStack
from dataclasses import dataclass

from .. import machine
from ..report import Figure, Report
from . import pattern, peers
from .stream import Stream
from .stub import SMALL_SEND_BUFFER, Stub

KB, KIB, MIB = 1000, 1024, 1024 * 1024
STREAM_BYTES = 12_000_000
# The kernel doubles it; a reader that wants little, as a phone is.
RECEIVE_BUFFER = 8 * 1024
READ_BYTES = 2048
# Others take megabytes for each into the kernel, which has no room for as many; a stream's share is the same.
OF_OTHERS = 100
# A warm start has run each path and grown the allocator's own structures.
WARM_UP_PART = 10
REST_SECONDS = 4.0
BACK_SECONDS = 5.0
MOST_GIVEN_KB, MOST_USER_KIB, MOST_LEFT_MIB = 400, 192, 8


@dataclass(frozen=True)
class Cost:
    """What the peer and the kernel hold, in bytes."""

    rss: int
    pss: int
    private_dirty: int
    # Of the peer's sockets, towards readers and towards the upstream.
    to_readers: int
    to_upstream: int


def run(report: Report, given: Namespace) -> None:
    for name in given.peers:
        count = given.streams if name == "evensong" else min(given.streams, OF_OTHERS)
        # A stub of its own, so that each peer's sockets are all that is on its port.
        with Stub(SMALL_SEND_BUFFER) as stub, peers.start(name, report.complaints, stub.port) as peer:
            report.figures += _measure(peer, stub, count)


def _measure(peer: peers.Peer, stub: Stub, count: int) -> list[Figure]:
    with ExitStack() as stack:
        _stall(stack, peer, stub, max(1, count // WARM_UP_PART))
    time.sleep(REST_SECONDS)
    before = _cost(peer, stub)
    with ExitStack() as stack:
        numbers = _stall(stack, peer, stub, count)
        records, full = stub.records(), _cost(peer, stub)
        given = [records[number].given for number in numbers]
        taken = sum(records[number].taken for number in numbers) / count
    left = time.monotonic()
    idle_after = peer.idle_after(left) if isinstance(peer, peers.Evensong) else None
    time.sleep(max(0.0, left + BACK_SECONDS - time.monotonic()))
    after = _cost(peer, stub)
    return [
        *_given_figures(peer.name, given, taken),
        *_cost_figures(peer.name, count, before, full),
        *_left_figures(peer.name, before, after, idle_after),
    ]


def _stall(stack: ExitStack, peer: peers.Peer, stub: Stub, count: int) -> list[int]:
    """Readers who have had the head and a little; waits until nothing moves any more."""
    numbers, buffer = stub.numbers(count), bytearray(READ_BYTES)
    for number in numbers:
        stream = stack.enter_context(Stream(peer.address, RECEIVE_BUFFER))
        stream.connect()
        stream.ask(number, pattern.message(number, STREAM_BYTES))
        stream.read_first(buffer)
    stub.settle()
    return numbers


def _cost(peer: peers.Peer, stub: Stub) -> Cost:
    memory = machine.memory(peer.pid)
    return Cost(
        rss=memory.rss,
        pss=memory.pss,
        private_dirty=memory.private_dirty,
        to_readers=machine.socket_bytes(peer.port),
        to_upstream=machine.socket_bytes_towards(stub.port),
    )


def _given_figures(name: str, given: list[int], taken: float) -> list[Figure]:
    """Bounded for Evensong; of the others for the record."""
    most = MOST_GIVEN_KB if name == "evensong" else None
    mean = sum(given) / len(given) / KB
    detail = f"mean {mean:.0f}, of it taken {taken / KB:.0f}; {len(given)} readers"
    title = f"stalled, {name}: upstream had to give a stream, at most"
    return [Figure(title, max(given) / KB, "KB", most=most, detail=detail)]


def _cost_figures(name: str, count: int, before: Cost, full: Cost) -> list[Figure]:
    def each(part: str) -> float:
        return (getattr(full, part) - getattr(before, part)) / count / KIB

    most = MOST_USER_KIB if name == "evensong" else None
    user = f"RSS; PSS {each('pss'):.1f}, private and dirty {each('private_dirty'):.1f}"
    kernel = f"towards readers {each('to_readers'):.1f}, towards the upstream {each('to_upstream'):.1f}"
    return [
        Figure(f"stalled, {name}: user space of a stream", each("rss"), "KiB", most=most, detail=user),
        Figure(f"stalled, {name}: kernel of a stream", each("to_readers") + each("to_upstream"), "KiB", detail=kernel),
    ]


def _left_figures(name: str, before: Cost, after: Cost, idle_after: float | None) -> list[Figure]:
    most = MOST_LEFT_MIB if name == "evensong" else None
    left = (after.rss - before.rss) / MIB
    kernel = (after.to_readers + after.to_upstream) / KIB
    detail = f"from {before.rss / MIB:.1f}; kernel {kernel:.0f} KiB"
    figures = [Figure(f"stalled, {name}: RSS above its warm start 5 s after", left, "MiB", most=most, detail=detail)]
    if idle_after is not None:
        figures.append(Figure(f"stalled, {name}: ledger idle after all left", idle_after * 1e3, "ms", most=1000))
    return figures
