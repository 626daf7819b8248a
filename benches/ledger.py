#!/usr/bin/env python3
"""What it costs to look: 10,000 live streams, and how long `/debug/ledger`, `/debug/memory` and `/metrics` take
beside them, what the answer weighs, and what a neighbour notices. Linux, Python 3.10 or newer, nothing but the
standard library. What entering and leaving costs is in `cargo bench`.

    cargo build --release && benches/ledger.py
    benches/ledger.py --streams 1000
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from pathlib import Path

from lib import client, formats, h2, machine
from lib.report import Figure, Report, percentile
from lib.server import Server

# Of one HTTP/2 connection; the server allows 64.
STREAMS_A_CONNECTION = 60
LOOKS = 50
# Once a second at the most is how often people and scrapers look; this is the part of a core that it may take.
MOST_MS = 50
TEXT = "The same short phrase for everybody, which is made once and kept. " * 2


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=10_000, help="live streams (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    return parser.parse_args()


def open_streams(server: Server, count: int) -> list[h2.Connection]:
    """Streams that have begun and are not read."""
    body = json.dumps({"input": TEXT, "response_format": "wav"}).encode()
    connections: list[h2.Connection] = []
    for number in range(count):
        if number % STREAMS_A_CONNECTION == 0:
            connections.append(h2.Connection(server.address))
        connection = connections[-1]
        connection.until(connection.post(b"/v1/audio/speech", body))
    return connections


def timed(server: Server, path: str) -> tuple[list[float], int]:
    """Milliseconds of each look, and the bytes of the last answer."""
    taken, size = [], 0
    for _ in range(LOOKS):
        began = time.perf_counter()
        size = len(server.get(path))
        taken.append((time.perf_counter() - began) * 1e3)
    return taken, size


def neighbour(server: Server, taken: list[float], until: threading.Event) -> None:
    """Somebody else's first audio, over and over, while others look."""
    number = 0
    while not until.is_set():
        seconds, answer, stream = client.first_audio(server.address, formats.sentence(number), "wav")
        client.drain(stream, answer)
        taken.append(seconds * 1e3)
        number += 1


def run(report: Report, count: int) -> None:
    limits = ["--limits-slow-reader-seconds", "600", "--budget-bytes", str(16 << 30), "--speech-engine", "tone"]
    with Server(report.complaints, *limits) as server:
        connections = open_streams(server, count)
        ledger = server.ledger()
        kinds = {kind["kind"]: kind["live"] for kind in ledger["kinds"]}
        living = sum(kinds.values())
        detail = f"{living} things in all, on {len(connections)} connections"
        report.figures.append(Figure("live streams", kinds["speech_stream"], least=count, detail=detail))
        report.figures.append(Figure("ledger agrees with the process", int(ledger["agrees"]), least=1))
        # Alone first, so that the neighbour's own work is not in it.
        for path in ("/debug/ledger", "/debug/ledger?format=text", "/debug/memory", "/metrics"):
            taken, size = timed(server, path)
            detail = f"p99 {percentile(taken, 0.99):.1f} ms, {size / 1024:.0f} KiB"
            report.figures.append(Figure(path, percentile(taken, 0.5), "ms", most=MOST_MS, detail=detail))
        quiet: list[float] = []
        loud: list[float] = []
        for taken, looking in ((quiet, False), (loud, True)):
            over = threading.Event()
            other = threading.Thread(target=neighbour, args=(server, taken, over))
            other.start()
            timed(server, "/debug/ledger") if looking else time.sleep(1)
            over.set()
            other.join()
        detail = f"p50 {percentile(quiet, 0.5):.1f} ms while nobody looks"
        p50 = percentile(loud, 0.5)
        report.figures.append(Figure("a neighbour's first audio while others look", p50, "ms", most=100, detail=detail))
        for connection in connections:
            connection.socket.close()
        report.figures.append(Figure("idle after all left", server.idle_after(time.monotonic()) * 1e3, "ms", most=2000))


def main() -> int:
    given, report = arguments(), Report()
    if sys.platform != "linux":
        raise SystemExit("this reads /proc and needs Linux")
    machine.raise_open_files()
    run(report, given.streams)
    return report.close(given.json)


if __name__ == "__main__":
    sys.exit(main())
