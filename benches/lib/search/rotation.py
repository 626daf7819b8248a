"""Fifty searches a second over a real engine, whose client is replaced every ten seconds: nobody notices, and neither
sockets nor memory grow."""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from argparse import Namespace
from collections import Counter

from .. import machine
from ..report import Figure, Report, percentile
from . import asker, corpus, engine, peers
from .watch import MIB, Watch

A_SECOND = 50
ASKERS = 5
ROTATE_SECONDS = 10.0
ROTATE = "/debug/upstreams/rotate"
SAMPLES = 600
# How long what is in flight may last after the last rotation.
DRAIN_SECONDS = 5.0
WARM_UP_SECONDS = 5.0
# The allocator's own coming and going. An hour of losing a connection's buffers at each rotation is ten times it.
MOST_GROWTH_BYTES = 2 * MIB
ENGINES = (engine.ENGINE, "opensearch")


class Load:
    """Asks at its pace until told to end, whatever comes back; who is late asks at once."""

    def __init__(self, address: tuple[str, int], seed: int):
        self.address = address
        self.words = corpus.queries(5000, seed)
        self.errors: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.late = 0
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._loop, args=(place,)) for place in range(ASKERS)]

    def __enter__(self) -> Load:
        self.began = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def _loop(self, place: int) -> None:
        number, connection = place, http.client.HTTPConnection(*self.address, timeout=asker.PATIENCE_SECONDS)
        while True:
            wait = self.began + number / A_SECOND - time.monotonic()
            if self.over.wait(max(0.0, wait)):
                connection.close()
                return
            self.late += wait < -1
            self._ask(connection, number)
            number += ASKERS

    def _ask(self, connection: http.client.HTTPConnection, number: int) -> None:
        began = time.perf_counter()
        try:
            path = asker.get(self.words[number % len(self.words)]).split(b" ")[1].decode()
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                self.errors[f"status {answer.status}: {body[:120]!r}"] += 1
            elif "hits" not in json.loads(body):
                self.errors["an answer without hits"] += 1
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.errors[repr(error)] += 1
            connection.close()
        self.latencies.append((time.perf_counter() - began) * 1e3)


def run(report: Report, given: Namespace) -> None:
    with peers.Engine(given.engine) as node, peers.folder() as data:
        if node.version not in " ".join(report.notes):
            report.notes.append(node.version)
        server = peers.Evensong(report.complaints, data, "--search-elasticsearch-url", node.url)
        with server:
            server.load(given.documents)
            report.figures += _under_load(server, node.address[1], given)


def _under_load(server: peers.Evensong, port: int, given: Namespace) -> list[Figure]:
    sockets, rotations, seen = [], 0, set()
    with Load(server.address, given.seed) as load:
        load.over.wait(WARM_UP_SECONDS)
        first = machine.connections_towards(port)
        before = len(first)
        with Watch(server.pid, given.duration / SAMPLES) as watch:
            began = time.monotonic()
            until = began + given.duration
            while (now := time.monotonic()) < until:
                if now - began >= (rotations + 1) * ROTATE_SECONDS:
                    server.post(ROTATE)
                    rotations += 1
                    print(f"  rotation {rotations}: {sockets[-1]} sockets before it", file=sys.stderr, flush=True)
                open_now = machine.connections_towards(port)
                sockets.append(len(open_now))
                seen |= open_now
                load.over.wait(min(1.0, max(0.0, until - time.monotonic())))
        # Sockets of old generations are gone while searches go on.
        rotated = time.monotonic()
        while (after := len(machine.connections_towards(port))) > before and time.monotonic() < rotated + DRAIN_SECONDS:
            load.over.wait(0.05)
    third = max(1, len(sockets) // 3)
    early, most = max(sockets[:third]), max(sockets[-third:])
    growth, said = watch.growth()
    wrong = "; ".join(f"{times} × {what}" for what, times in load.errors.most_common(4))
    p99 = f"p99 {percentile(load.latencies, 0.99):.1f} ms; {load.late} came more than a second late"
    flat = f"{before} before, at most {max(sockets)} during, {after} after; at most {early} in the first third"
    return [
        Figure("rotation: times", rotations, least=int(given.duration / ROTATE_SECONDS) - 1),
        # That they were rotations at all: each client opens its own.
        Figure("rotation: new sockets to the engine", len(seen - first), least=rotations),
        Figure("rotation: searches", len(load.latencies), least=A_SECOND * given.duration * 0.95, detail=p99),
        Figure("rotation: errors", load.errors.total(), most=0, detail=wrong),
        Figure("rotation: sockets to the engine in the last third", most, most=early + 1, detail=flat),
        Figure("rotation: sockets to the engine after it", after, most=before),
        Figure(
            "rotation: RssAnon's growth in the second half",
            growth / MIB,
            "MiB",
            most=MOST_GROWTH_BYTES / MIB,
            detail=said,
        ),
    ]
