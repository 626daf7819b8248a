"""Searches over a real engine: what Evensong adds to asking it directly, and its CPU time beside a Node service's.

All are asked in turns in one run, with the same words; each sends the engine the same request, which is Evensong's own,
taken down on its way.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
from argparse import Namespace
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from .. import machine
from ..report import Figure, Report, percentile
from . import asker, corpus, peers, request

ENGINE = "elasticsearch"
# One at a time is what Evensong adds; several at once would show how two processors are shared. CPU time is taken
# of both, since it is the same work.
ALONE, AT_ONCE = 1, 4
MOST_ADDED_MS, MOST_OF_NODE = 1, 1 / 3
# Compilers that work while a program runs need some thousands of requests to be done.
WARM_UP = 3_000


@dataclass
class Rounds:
    """Of one peer."""

    p50: dict[int, list[float]] = field(default_factory=lambda: {ALONE: [], AT_ONCE: []})
    p99: dict[int, list[float]] = field(default_factory=lambda: {ALONE: [], AT_ONCE: []})
    cpu_ms: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    empty: int = 0
    looked_at: int = 0


@dataclass(frozen=True)
class Peer:
    name: str
    address: tuple[str, int]
    # None for the engine asked directly, whose time is the same for all.
    pid: int | None
    template: request.Request | None

    def messages(self, count: int, seed: int) -> list[bytes]:
        if self.template:
            return request.messages(self.template, count, seed)
        return [asker.get(words) for words in corpus.queries(count, seed)]


def run(report: Report, given: Namespace) -> None:
    with ExitStack() as stack:
        engine = stack.enter_context(peers.Engine(ENGINE))
        report.notes.append(f"{engine.version}; {peers.node_version()}")
        data = stack.enter_context(peers.folder())
        among, template = [], request.usual()
        if "evensong" in given.peers:
            template = _own_request(report, engine, data, given)
            evensong = stack.enter_context(_evensong(report, data, engine.url))
            among.append(Peer("evensong", evensong.address, evensong.pid, None))
        else:
            engine.load(request.INDEX, request.MAPPING, given.documents)
        if "node" in given.peers:
            template.write(data / "request.json")
            service = peers.Node(peers.NODE_SERVICE, ENGINE=engine.url, REQUEST=str(data / "request.json"))
            service = stack.enter_context(service)
            among.append(Peer("node", service.address, service.pid, None))
        among.append(Peer("direct", engine.address, None, template))
        client = stack.enter_context(ProcessPoolExecutor(1, multiprocessing.get_context("spawn")))
        report.figures += _figures(_rounds(client, among, given), given)


def _evensong(report: Report, data: Path, url: str) -> peers.Evensong:
    return peers.Evensong(report.complaints, data, "--search-elasticsearch-url", url)


def _own_request(report: Report, engine: peers.Engine, data: Path, given: Namespace) -> request.Request:
    """Loads all documents through Evensong, and sees what a search of its own looks like."""
    with request.Recorder(engine.address) as recorder, _evensong(report, data, recorder.url) as evensong:
        took = evensong.load(given.documents)
        engine.refresh()
        template = request.taken_down(evensong, recorder).kept(engine)
    report.figures += [
        Figure("engine: documents a second by the bulk route", given.documents / took),
        Figure("engine: requests to it for one search", template.of, detail=template.path),
    ]
    return template


def _rounds(client: ProcessPoolExecutor, among: list[Peer], given: Namespace) -> dict[str, Rounds]:
    """Another one is first in each round, since a machine has quicker and slower minutes."""
    rounds = {peer.name: Rounds() for peer in among}
    for peer in among:
        client.submit(asker.load, peer.address, peer.messages(WARM_UP, given.seed), AT_ONCE).result()
    for number in range(given.rounds):
        turn = number % len(among)
        for at_once in (ALONE, AT_ONCE):
            for peer in among[turn:] + among[:turn]:
                _round(client, peer, at_once, rounds[peer.name], given.queries // 4, given.seed + 1 + number)
    return rounds


def _round(client: ProcessPoolExecutor, peer: Peer, at_once: int, into: Rounds, count: int, seed: int) -> None:
    messages = peer.messages(count, seed)
    spent = machine.cpu_seconds(peer.pid) if peer.pid else 0.0
    asked = client.submit(asker.load, peer.address, messages, at_once).result()
    spent = (machine.cpu_seconds(peer.pid) if peer.pid else 0.0) - spent
    into.p50[at_once].append(percentile(asked.latencies, 0.5))
    into.p99[at_once].append(percentile(asked.latencies, 0.99))
    if peer.pid and asked.latencies:
        into.cpu_ms.append(spent / len(asked.latencies) * 1e3)
    for what, times in asked.errors.items():
        into.errors[what] = into.errors.get(what, 0) + times
    into.looked_at += asked.looked_at
    into.empty += asked.looked_at - asked.with_hits
    shown = (
        f"{into.p50[at_once][-1]:.2f} ms p50 at {at_once}, {spent / max(1, len(asked.latencies)) * 1e3:.3f} CPU ms each"
    )
    print(f"  {peer.name}: {shown}", file=sys.stderr, flush=True)


def _figures(rounds: dict[str, Rounds], given: Namespace) -> list[Figure]:
    figures = []
    for name, each in rounds.items():
        for at_once in (ALONE, AT_ONCE):
            p99 = f"p99 {statistics.median(each.p99[at_once]):.2f}; median of {given.rounds} rounds"
            p50 = statistics.median(each.p50[at_once])
            figures.append(Figure(f"engine: {name}, p50 at {at_once} concurrent", p50, "ms", detail=p99))
        wrong = "; ".join(f"{times} × {what}" for what, times in each.errors.items())
        figures.append(Figure(f"engine: {name}, errors", sum(each.errors.values()), most=0, detail=wrong))
        found = f"of {each.looked_at} looked at"
        figures.append(
            Figure(f"engine: {name}, answers without a hit", each.empty, most=each.looked_at // 10, detail=found)
        )
        if each.cpu_ms:
            spread = f"{min(each.cpu_ms):.3f} to {max(each.cpu_ms):.3f}"
            figures.append(
                Figure(f"engine: {name}, CPU a request", statistics.median(each.cpu_ms), "ms", detail=spread)
            )
    if "direct" in rounds:
        figures += [_added(rounds, name) for name in rounds if name != "direct"]
    if "evensong" in rounds and "node" in rounds:
        # Round by round, as everything here.
        ratios = [ours / theirs for ours, theirs in zip(rounds["evensong"].cpu_ms, rounds["node"].cpu_ms)]
        spread = f"median of {len(ratios)}, {min(ratios):.2f} to {max(ratios):.2f}"
        ratio = statistics.median(ratios)
        figures.append(Figure("engine: CPU a request, evensong / node", ratio, "×", most=MOST_OF_NODE, detail=spread))
    return figures


def _added(rounds: dict[str, Rounds], name: str) -> Figure:
    added = [ours - theirs for ours, theirs in zip(rounds[name].p50[ALONE], rounds["direct"].p50[ALONE])]
    most = MOST_ADDED_MS if name == "evensong" else None
    spread = f"median of {len(added)}, {min(added):.2f} to {max(added):.2f}; one at a time"
    return Figure(
        f"engine: added by {name} to the p50 of a direct query",
        statistics.median(added),
        "ms",
        most=most,
        detail=spread,
    )
