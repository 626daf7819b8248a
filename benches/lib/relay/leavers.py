"""Readers who leave in the middle of a stream, in each manner that a socket has; when does the upstream see it?

Both clocks are one, since all processes of a machine share `monotonic_ns`. A peer that is still busy taking what
nobody wants sees a leave late; one that does not look sees it never.
"""

from __future__ import annotations

import heapq
import random
import socket
import struct
import time
from argparse import Namespace
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass

from .. import machine
from ..report import Figure, Report, percentile
from . import pattern, peers
from .stream import Stream
from .stub import SMALL_SEND_BUFFER, Stub

# More than anybody takes ahead, so that nobody leaves a stream that was already given whole.
STREAM_BYTES = 64_000_000
# All stay so long after the last has come, and leave at most so long after; meanwhile they read now and then, so
# that some leave while the peer sends, and some while it is blocked.
STAY_SECONDS, SPREAD_SECONDS = 0.5, 3.0
GULP_SECONDS, GULP_BYTES = 0.1, 32 * 1024
PATIENCE_SECONDS = 5.0
# Half with an RST. Of the others, half close with bytes unread, and half say FIN and read no more.
MANNERS = ("RST", "close", "RST", "FIN")
MOST_MS, MOST_TIMES = 50, 3


@dataclass
class Left:
    """How one peer's readers left, and when the upstream saw each."""

    manners: dict[int, str]
    seen_ms: dict[int, float]
    still_open: int

    def p(self, part: float) -> float:
        return percentile(self.seen_ms.values(), part)


def run(report: Report, given: Namespace) -> None:
    left = {}
    for name in given.peers:
        with Stub(SMALL_SEND_BUFFER) as stub, peers.start(name, report.complaints, stub.port) as peer:
            left[name] = _measure(peer, stub, given.leavers, given.seed)
    bare = [one.p(0.99) for name, one in left.items() if name != "evensong" and one.seen_ms]
    for name, one in left.items():
        # Three times the better of the others, where that is more.
        most = max([MOST_MS] + [MOST_TIMES * min(bare)] if bare else [MOST_MS])
        report.figures += _figures(name, one, given.leavers, most)


def _measure(peer: peers.Peer, stub: Stub, count: int, seed: int) -> Left:
    dice, buffer = random.Random(seed), bytearray(GULP_BYTES)
    with ExitStack() as stack:
        streams = []
        for number in stub.numbers(count):
            stream = stack.enter_context(Stream(peer.address))
            stream.connect()
            stream.ask(number, pattern.message(number, STREAM_BYTES))
            stream.read_first(buffer)
            streams.append(stream)
        gone, manners = _live_and_leave(streams, buffer, dice)
        seen = _seen(stub, gone)
        still_open = machine.connections(stub.port)
    took = {number: (seen[number] - gone[number]) / 1e6 for number in seen}
    return Left(manners, took, still_open)


def _live_and_leave(
    streams: list[Stream], buffer: bytearray, dice: random.Random
) -> tuple[dict[int, int], dict[int, str]]:
    """When each left by `monotonic_ns`, and how."""
    now, gone, manners = time.monotonic(), {}, {}
    # What is due next: the moment, whose it is, and whether it is the leave.
    due = []
    for place, stream in enumerate(streams):
        manners[stream.number] = MANNERS[place % len(MANNERS)]
        due.append((now + STAY_SECONDS + dice.uniform(0, SPREAD_SECONDS), place, True))
        due.append((now + dice.uniform(0, GULP_SECONDS), place, False))
    heapq.heapify(due)
    while due:
        at, place, is_leave = heapq.heappop(due)
        time.sleep(max(0.0, at - time.monotonic()))
        stream = streams[place]
        if is_leave:
            gone[stream.number] = _leave(stream, manners[stream.number])
        elif stream.number not in gone:
            stream.read(buffer)
            heapq.heappush(due, (at + GULP_SECONDS, place, False))
    return gone, manners


def _leave(stream: Stream, manner: str) -> int:
    if manner == "RST":
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    now = time.monotonic_ns()
    stream.socket.shutdown(socket.SHUT_WR) if manner == "FIN" else stream.close()
    return now


def _seen(stub: Stub, gone: dict[int, int]) -> dict[int, int]:
    """When the upstream saw each of those that it has seen by now."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        records = stub.records()
        seen = {number: records[number].gone_ns for number in gone if records[number].gone_ns}
        if len(seen) == len(gone) or time.monotonic() > until:
            return seen
        time.sleep(0.1)


def _figures(name: str, left: Left, count: int, most_ms: float) -> list[Figure]:
    unseen = Counter(manner for number, manner in left.manners.items() if number not in left.seen_ms)
    never = "; never: " + ", ".join(f"{many} × {manner}" for manner, many in unseen.items()) if unseen else ""
    detail = f"p50 {left.p(0.5):.1f}, at most {left.p(1):.1f}"
    all_seen, none_open, soon = {"least": count}, {"most": 0}, {"most": most_ms}
    if name != "evensong":
        all_seen = none_open = soon = {}  # the others are there for the record
    return [
        Figure(f"leavers, {name}: seen by the upstream", len(left.seen_ms), **all_seen, detail=f"of {count}{never}"),
        Figure(f"leavers, {name}: connections still open there", left.still_open, **none_open),
        Figure(f"leavers, {name}: leave to seen, p99", left.p(0.99), "ms", **soon, detail=detail),
    ]
