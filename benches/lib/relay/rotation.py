"""Upstream clients are replaced under load, again and again: nobody notices, and nothing of the old ones stays.

The one who does notice does not read: what is left of a stream when its generation's grace is over is cut, and the
cut looks like one.
"""

from __future__ import annotations

import random
import threading
import time
from argparse import Namespace
from collections import Counter
from contextlib import ExitStack

from .. import client, machine
from ..report import Figure, Report, percentile
from . import pattern, peers
from .stream import Stream
from .stub import Stub

# More slow ones than generations may drain at once, begun one after the other, so that each is on another.
READERS, SLOW_READERS = 16, 12
STREAM_BYTES = 2_000_000
# A slow reader's stream takes five seconds, and lives through many rotations: the kernel has no room for it.
GULP_BYTES, GULP_SECONDS = 40_000, 0.1
RECEIVE_BUFFER = 16 * 1024
PAUSE_SECONDS = (0.05, 0.2)
DRAIN_SECONDS = 5.0
ROTATE = "/debug/upstreams/rotate"

GRACE_SECONDS = 1
UNREAD, UNREAD_BYTES = 8, 12_000_000
# What the log says of them, as it should.
CUT = "a stream broke off"
# Timers, and a busy machine.
LATE_SECONDS = 0.5


class Load:
    """Readers who begin again as soon as they are done, until told to end."""

    def __init__(self, peer: peers.Evensong, stub: Stub):
        self.peer, self.stub = peer, stub
        self.done: Counter[bool] = Counter()
        self.errors: Counter[str] = Counter()
        self.over = threading.Event()
        apart = STREAM_BYTES / GULP_BYTES * GULP_SECONDS / SLOW_READERS
        kinds = [(False, 0.0)] * READERS + [(True, place * apart) for place in range(SLOW_READERS)]
        self.threads = [threading.Thread(target=self._loop, args=kind) for kind in kinds]

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def _loop(self, is_slow: bool, delay: float) -> None:
        buffer = bytearray(GULP_BYTES if is_slow else pattern.PIECE)
        self.over.wait(delay)
        while not self.over.is_set():
            try:
                self._read(buffer, is_slow)
                self.done[is_slow] += 1
            except (OSError, client.Broken) as error:
                self.errors[repr(error)] += 1

    def _read(self, buffer: bytearray, is_slow: bool) -> None:
        (number,) = self.stub.numbers(1)
        with Stream(self.peer.address, RECEIVE_BUFFER if is_slow else 0) as stream:
            stream.connect()
            stream.ask(number, pattern.message(number, STREAM_BYTES))
            while not stream.is_done:
                stream.read(buffer)
                if is_slow:
                    time.sleep(GULP_SECONDS)


def run(report: Report, given: Namespace) -> None:
    """Of Evensong alone: the others have no generations."""
    if "evensong" not in given.peers:
        return
    with Stub() as stub, peers.Evensong(report.complaints, stub.port) as peer:
        report.figures += _under_load(peer, stub, given.seconds, random.Random(given.seed))
    more = ("--upstream-grace-seconds", str(GRACE_SECONDS))
    said: list[str] = []
    with Stub() as stub, peers.Evensong(said, stub.port, *more) as peer:
        report.figures += _grace(peer, stub)
    report.complaints += [line for line in said if CUT not in line]


def _under_load(peer: peers.Evensong, stub: Stub, seconds: float, dice: random.Random) -> list[Figure]:
    taken, most_sockets = [], 0
    with Load(peer, stub) as load:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(dice.uniform(*PAUSE_SECONDS))
            began = time.perf_counter()
            peer.post(ROTATE)
            taken.append((time.perf_counter() - began) * 1e3)
            most_sockets = max(most_sockets, machine.connections(stub.port))
    # One more, so that those which are kept for the next request are old as well.
    peer.post(ROTATE)
    rotated = time.monotonic()
    idle_after = peer.idle_after(rotated)
    while (left := machine.connections(stub.port)) and time.monotonic() < rotated + DRAIN_SECONDS:
        time.sleep(0.01)
    drained = f"after {(time.monotonic() - rotated) * 1e3:.0f} ms; at most {most_sockets} under load"
    detail = ", ".join(f"{count} × {name}" for name, count in load.errors.most_common(4))
    streams = f"of {STREAM_BYTES / 1e6:.0f} MB, every byte checked; {load.done[True]} slow ones beside them"
    each = f"one took {percentile(taken, 0.5):.1f} ms, at most {max(taken):.1f}"
    return [
        Figure("rotation: times", len(taken), detail=each),
        Figure("rotation: streams read under it", load.done[False], least=READERS, detail=streams),
        Figure("rotation: errors", load.errors.total(), most=0, detail=detail),
        Figure("rotation: sockets of old generations after the drain", left, most=0, detail=drained),
        Figure("rotation: ledger idle after the load", idle_after * 1e3, "ms", most=1000),
    ]


def _grace(peer: peers.Evensong, stub: Stub) -> list[Figure]:
    """Readers who stop after the head, one rotation, and what they find when they read on."""
    buffer, ends = bytearray(pattern.PIECE), Counter()
    with ExitStack() as stack:
        numbers, streams = stub.numbers(UNREAD), []
        for number in numbers:
            stream = stack.enter_context(Stream(peer.address, RECEIVE_BUFFER))
            stream.connect()
            stream.ask(number, pattern.message(number, UNREAD_BYTES))
            stream.read_first(buffer, 2048)
            streams.append(stream)
        peer.post(ROTATE)
        rotated = time.monotonic_ns()
        time.sleep(GRACE_SECONDS + 2 * LATE_SECONDS)
        records = stub.records()
        left = machine.connections(stub.port)
        for stream in streams:
            ends[_end(stream, buffer)] += 1
    cut = [(records[number].gone_ns - rotated) / 1e9 for number in numbers if records[number].gone_ns]
    last, latest = max(cut, default=float("nan")), GRACE_SECONDS + LATE_SECONDS
    first = f"the first after {min(cut, default=float('nan')):.2f}; grace {GRACE_SECONDS} s"
    seen = ", ".join(f"{count} × {name}" for name, count in ends.items())
    return [
        Figure("grace: unread streams cut", len(cut), least=UNREAD, detail=f"of {UNREAD}"),
        Figure("grace: the last was cut after", last, "s", most=latest, detail=first),
        Figure("grace: cut before its end", sum(each < GRACE_SECONDS for each in cut), most=0),
        Figure("grace: sockets of the old generation behind it", left, most=0),
        Figure("grace: cuts that looked like an end", ends["a clean end"], most=0, detail=seen),
    ]


def _end(stream: Stream, buffer: bytearray) -> str:
    try:
        stream.read_all(buffer)
    except (client.Broken, OSError):
        return "broken off"
    return "a clean end"
