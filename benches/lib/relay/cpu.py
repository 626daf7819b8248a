"""CPU time of each peer per GB that it passes on: the same streams, in turns, each byte checked."""

from __future__ import annotations

import multiprocessing
import selectors
import statistics
import sys
import time
from argparse import Namespace
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack

from ..report import Figure, Report
from . import pattern, peers
from .stream import Stream
from .stub import Stub

AT_ONCE = 8
STREAM_BYTES = 16_000_000
WARM_UP_STREAMS = 16
MOST_TIMES = 1.5


def run(report: Report, given: Namespace) -> None:
    """Each size of the upstream's chunks by itself: the smaller they are, the more pieces there are to pass on."""
    for kib in given.chunks:
        framing = f"chunks of {kib} KiB" if kib else "no chunks"
        with ExitStack() as stack:
            stub = stack.enter_context(Stub(chunk=kib * 1024))
            among = [peers.start(name, report.complaints, stub.port) for name in given.peers]
            for peer in among:
                stack.enter_context(peer)
            # The readers have a process of their own, started before the clock runs.
            context = multiprocessing.get_context("spawn")
            readers = stack.enter_context(ProcessPoolExecutor(1, context))
            for peer in among:
                _spent(readers, peer, stub.numbers(WARM_UP_STREAMS))
            report.figures += _figures(framing, _rounds(readers, among, stub, given))


def _rounds(
    readers: ProcessPoolExecutor, among: list[peers.Peer], stub: Stub, given: Namespace
) -> dict[str, list[tuple[float, float]]]:
    """CPU and wall seconds per GB of each peer in each round; another one is first in each."""
    count, rounds = max(AT_ONCE, round(given.gigabytes * 1e9 / STREAM_BYTES)), {peer.name: [] for peer in among}
    for number in range(given.rounds):
        turn = number % len(among)
        for peer in among[turn:] + among[:turn]:
            rounds[peer.name].append(_spent(readers, peer, stub.numbers(count)))
    return rounds


def _spent(readers: ProcessPoolExecutor, peer: peers.Peer, numbers: list[int]) -> tuple[float, float]:
    spent, began = peers.cpu_seconds(peer), time.monotonic()
    gigabytes = readers.submit(read_all, peer.address, numbers).result() / 1e9
    took = (peers.cpu_seconds(peer) - spent) / gigabytes, (time.monotonic() - began) / gigabytes
    print(f"  {peer.name}: {took[0]:.2f} CPU s and {took[1]:.2f} s a GB", file=sys.stderr, flush=True)
    return took


def read_all(address: tuple[str, int], numbers: list[int]) -> int:
    """Reads all streams, `AT_ONCE` side by side; the bytes of them, every one of which was checked."""
    waiting, buffer, whole = iter(numbers), bytearray(pattern.PIECE), 0
    with selectors.EpollSelector() as ready:

        def begin() -> None:
            for number in waiting:
                stream = Stream(address)
                stream.connect()
                stream.ask(number, pattern.message(number, STREAM_BYTES))
                ready.register(stream.socket, selectors.EVENT_READ, stream)
                return

        for _ in range(AT_ONCE):
            begin()
        while ready.get_map():
            for key, _ in ready.select():
                stream = key.data
                stream.read(buffer)
                if stream.is_done:
                    whole += stream.position
                    ready.unregister(stream.socket)
                    stream.close()
                    begin()
    if whole != len(numbers) * STREAM_BYTES:
        raise ValueError(f"{whole} bytes instead of {len(numbers) * STREAM_BYTES}")
    return whole


def _figures(framing: str, rounds: dict[str, list[tuple[float, float]]]) -> list[Figure]:
    figures = []
    for name, taken in rounds.items():
        each = [cpu for cpu, _ in taken]
        pace = 1 / statistics.median(wall for _, wall in taken)
        detail = f"median of {len(each)}, {min(each):.2f} to {max(each):.2f}; {pace:.2f} GB a second"
        figures.append(Figure(f"CPU, {framing}, {name}", statistics.median(each), "s/GB", detail=detail))
    own = rounds.get("evensong")
    for name in rounds if own else ():
        if name == "evensong":
            continue
        # Round by round, since a machine has quicker and slower minutes.
        ratios = [ours / theirs for (ours, _), (theirs, _) in zip(own, rounds[name])]
        detail = f"median of {len(ratios)}, {min(ratios):.2f} to {max(ratios):.2f}; byte for byte equal"
        times = statistics.median(ratios)
        figures.append(Figure(f"CPU, {framing}, evensong / {name}", times, "×", most=MOST_TIMES, detail=detail))
    return figures
