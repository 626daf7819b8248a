"""How much later the first byte of a short stream comes through a peer than straight from the upstream.

All are asked in turn, request by request, so that a slower moment of the machine is everybody's.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack

from ..report import Figure, Report, percentile
from . import pattern, peers
from .stream import Stream
from .stub import Stub

REQUESTS = 600
WARM_UP = 60
# A tenth of a second of speech: little enough that the rest of it delays nobody.
STREAM_BYTES = 4_800
MOST_TIMES = 3
# An added latency below this is no measure for another one.
LEAST_ADDED_US = 20

Subject = peers.Peer | peers.Direct


def run(report: Report, given: Namespace) -> None:
    with ExitStack() as stack:
        stub = stack.enter_context(Stub())
        among: list[Subject] = [peers.Direct(stub.address)]
        among += [stack.enter_context(peers.start(name, report.complaints, stub.port)) for name in given.peers]
        for kind, asks in (("kept connections", _kept(stack, among)), ("fresh connections", _fresh(among))):
            taken = _in_turn(asks, stub)
            report.figures += _figures(kind, taken)


Ask = Callable[[int, bytes], float]


def _in_turn(asks: dict[str, Ask], stub: Stub) -> dict[str, list[float]]:
    """Microseconds of each request to each subject, without those that warm up."""
    taken: dict[str, list[float]] = {name: [] for name in asks}
    names = list(asks)
    for turn in range(WARM_UP + REQUESTS):
        # Another one is first each time: who comes after the others finds the machine awake.
        names.append(names.pop(0))
        for name, number in zip(names, stub.numbers(len(names))):
            took = asks[name](number, pattern.message(number, STREAM_BYTES))
            if turn >= WARM_UP:
                taken[name].append(took * 1e6)
    return taken


def _kept(stack: ExitStack, among: list[Subject]) -> dict[str, Ask]:
    buffer, asks = bytearray(pattern.PIECE), {}
    for subject in among:
        stream = stack.enter_context(Stream(subject.address))
        stream.connect()

        def ask(number: int, message: bytes, stream: Stream = stream) -> float:
            began = time.perf_counter()
            stream.ask(number, message)
            stream.read_first(buffer)
            took = time.perf_counter() - began
            stream.read_all(buffer)
            return took

        asks[subject.name] = ask
    return asks


def _fresh(among: list[Subject]) -> dict[str, Ask]:
    buffer, asks = bytearray(pattern.PIECE), {}
    for subject in among:

        def ask(number: int, message: bytes, subject: Subject = subject) -> float:
            with Stream(subject.address) as stream:
                began = time.perf_counter()
                stream.connect()
                stream.ask(number, message)
                stream.read_first(buffer)
                took = time.perf_counter() - began
                stream.read_all(buffer)
            return took

        asks[subject.name] = ask
    return asks


def _figures(kind: str, taken: dict[str, list[float]]) -> list[Figure]:
    figures, label = [], f"first byte, {kind}"
    middle = {name: percentile(each, 0.5) for name, each in taken.items()}
    for name, each in taken.items():
        p99 = f"p99 {percentile(each, 0.99):.0f} µs"
        if name == "direct":
            figures.append(Figure(f"{label}, {name}, p50", middle[name], "µs", detail=p99))
        else:
            added = middle[name] - middle["direct"]
            detail = f"p50 {middle[name]:.0f} µs in all, {p99}"
            figures.append(Figure(f"{label}, added by {name}, p50", added, "µs", detail=detail))
    if "evensong" in middle and "haproxy" in middle:
        figures.append(_against(label, *(middle[name] for name in ("direct", "evensong", "haproxy"))))
    return figures


def _against(label: str, direct: float, evensong: float, haproxy: float) -> Figure:
    if haproxy - direct < LEAST_ADDED_US:
        # What HAProxy adds drowns in the noise, so the whole latencies are compared.
        return Figure(f"{label}, evensong / haproxy, in all", evensong / haproxy, "×", most=MOST_TIMES)
    times = (evensong - direct) / (haproxy - direct)
    return Figure(f"{label}, evensong / haproxy, added", times, "×", most=MOST_TIMES)
