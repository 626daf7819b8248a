"""The embedded index with 100,000 documents: how quickly it answers, in how much memory, and how soon after a start."""

from __future__ import annotations

import multiprocessing
import time
from argparse import Namespace
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from .. import machine
from ..report import Figure, Report, percentile
from . import asker, corpus, peers

AT_ONCE = 4
MOST_P50_MS, MOST_P99_MS = 5, 30
MOST_RSS_BYTES, MIB = 100 * 1024 * 1024, 1024 * 1024
MOST_START_MS = 1000
WARM_UP = 200
STARTS = 5
START_PATIENCE_SECONDS = 20.0


def run(report: Report, given: Namespace) -> None:
    with peers.folder() as data:
        with peers.Evensong(report.complaints, data) as server:
            took = server.load(given.documents)
            resident = machine.resident(server.pid)
            pace = f"{took:.1f} s, {corpus.LINES_A_REQUEST} a request; RSS {resident.whole / MIB:.0f} MiB behind it"
            report.figures.append(
                Figure("embedded: documents a second by the bulk route", given.documents / took, detail=pace)
            )
        # Started anew, so that what is measured is searching, and not what loading left behind.
        with peers.Evensong(report.complaints, data) as server:
            report.figures += _queries(server, given)
        report.figures.append(_starts(report, data, given))


def _queries(server: peers.Evensong, given: Namespace) -> list[Figure]:
    asked_for = corpus.queries(WARM_UP + given.queries, given.seed)
    messages = [asker.get(words) for words in asked_for]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as client:
        client.submit(asker.load, server.address, messages[:WARM_UP], AT_ONCE).result()
        spent = server.cpu_seconds()
        asked = client.submit(asker.load, server.address, messages[WARM_UP:], AT_ONCE).result()
        spent = server.cpu_seconds() - spent
    resident = machine.resident(server.pid)
    count = len(asked.latencies)
    pace = f"{count:,} at {AT_ONCE} concurrent, {count / asked.seconds:,.0f} a second"
    each = f"{spent / max(1, count) * 1e3:.2f} CPU ms each; the longest {max(asked.latencies, default=0):.1f} ms"
    anonymous = f"RssAnon {resident.anonymous / MIB:.1f} MiB, the rest are files such as the index"
    found = f"of {asked.looked_at} looked at"
    wrong = "; ".join(f"{times} × {what}" for what, times in asked.errors.items())
    return [
        Figure("embedded: two-term query, p50", percentile(asked.latencies, 0.5), "ms", most=MOST_P50_MS, detail=pace),
        Figure("embedded: two-term query, p99", percentile(asked.latencies, 0.99), "ms", most=MOST_P99_MS, detail=each),
        Figure("embedded: errors", sum(asked.errors.values()), most=0, detail=wrong),
        Figure(
            "embedded: answers without a hit",
            asked.looked_at - asked.with_hits,
            most=asked.looked_at // 10,
            detail=found,
        ),
        Figure(
            "embedded: VmRSS after the queries",
            resident.whole / MIB,
            "MiB",
            most=MOST_RSS_BYTES / MIB,
            detail=anonymous,
        ),
    ]


def _starts(report: Report, data: Path, given: Namespace) -> Figure:
    """From just before the process is made to the first search that found something. The files are in the kernel's
    cache: what a disk takes is the disk's."""
    taken = []
    words = " ".join(corpus.queries(1, given.seed)[0])
    for _ in range(STARTS):
        began = time.perf_counter()
        with peers.Evensong(report.complaints, data) as server:
            while not _finds(server, words):
                if time.perf_counter() - began > START_PATIENCE_SECONDS:
                    raise OSError(f"nothing found within {START_PATIENCE_SECONDS} s of the start")
                time.sleep(0.002)
            taken.append((time.perf_counter() - began) * 1e3)
    each = f"the longest of {STARTS}, the shortest {min(taken):.0f}"
    return Figure("embedded: start to the first answered search", max(taken), "ms", most=MOST_START_MS, detail=each)


def _finds(server: peers.Evensong, words: str) -> bool:
    try:
        return bool(server.search(q=words)["hits"])
    except OSError:
        return False
