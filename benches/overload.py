#!/usr/bin/env python3
"""Five times as much as it can do: what is done stays what could be done, who is refused knows at
once, and who listens hears no gap. Prints one table and exits with 1 when a bound is broken. Linux
and wrk.

    cargo build --release && benches/overload.py
    benches/overload.py --engine tone --seconds 10

What "peak" means where load and server share a machine: the server and its workers get one half of
the processors, and the load the other half, in every phase alike. The peak is the most short requests
a second (some two seconds of wav each, no two alike) that the server completes on its half beside the
same listeners, over several numbers of connections that ask again as soon as they are answered. More than the load's half could
ask for would say nothing of the server, so the load's own CPU time is a figure with a bound: below it,
whatever saturated was the server. The overload is paced: connections pause between answer and next
request so that together they would ask five times the peak of a server that answers at once. Nothing
else may run on the machine meanwhile, or it is measured as well.

Those who are refused are measured by a client of its own, beside the load and on its processors, so its
times are longer than the server's alone. The listeners take pcm as it is played: only what the server
had not sent when it was due is a gap.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from lib import client, formats, machine
from lib.over_budget import Player
from lib.report import Figure, Report, percentile
from lib.server import Server

MIB = 1024 * 1024
LISTENERS = 8
# The longest text has four minutes of audio, more than the whole run.
TEXT_CHARS = 4000
PEAK_CONNECTIONS = (4, 8, 16, 32)
PEAK_SECONDS = 4
ROUNDS = 3
TIMES = 5
# A connection asks this often: rarely enough that one answer that takes long holds up little.
PAUSE_MS = 200
ASK_EVERY_SECONDS = 0.01
LOOK_SECONDS = 0.02
# What a connection waits for its answers is not spent asking: this many more make up for it.
MORE_CONNECTIONS = 1.7
MOST_CONNECTIONS = 4000
# Not asked of the test signal: two seconds of it cost no more than a dozen refusals, most of which is
# the kernel's work for the connection, so that four refusals for each of them are felt.
GOODPUT_LEAST = 0.9
LOAD_CPU_MOST = 0.9
# Of all processors; the kernel's own work for the sockets is in it.
OTHERS_MOST = 0.2


@dataclass(frozen=True)
class Load:
    """What wrk has counted."""

    spoken: int
    refused: int
    other: int
    broken: int
    seconds: float
    cpu_seconds: float

    @property
    def goodput(self) -> float:
        return self.spoken / self.seconds

    @property
    def offered(self) -> float:
        return (self.spoken + self.refused + self.other) / self.seconds


@dataclass(frozen=True)
class Round:
    """The peak, and right behind it the overload: a machine has quicker and slower minutes."""

    peak: Load
    over: Load


class Halves:
    """The processors: one half for the server, the other for everything that asks it."""

    def __init__(self) -> None:
        every = sorted(os.sched_getaffinity(0))
        if len(every) < 2:
            raise SystemExit("load and server need a processor each")
        middle = len(every) // 2
        self.server, self.load = set(every[:middle]), set(every[middle:])

    def start_server(self, server: Server) -> Server:
        """Children have the affinity of who starts them, before their first thread."""
        os.sched_setaffinity(0, self.server)
        try:
            return server.__enter__()
        finally:
            os.sched_setaffinity(0, self.load)


def wrk(server: Server, engine: str, connections: int, seconds: float, pause_ms: int) -> Load:
    script = Path(__file__).with_name("lib") / "load.lua"
    host, port = server.address
    command = [
        "wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds:.0f}s",
        "--timeout", "10s", "--script", str(script), f"http://{host}:{port}",
        "--", engine, str(pause_ms),
    ]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = [line for line in ran.stdout.splitlines() if line.startswith("FIGURES ")]
    if not figures:
        raise client.Broken(f"wrk said {ran.stdout[-500:]} {ran.stderr[-500:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Load(**json.loads(figures[0].removeprefix("FIGURES ")), cpu_seconds=cpu)


class Crowd(threading.Thread):
    """Listeners at the pace of speech, and one who asks again and again, until told to end."""

    def __init__(self, server: Server, engine: str):
        super().__init__(daemon=True)
        self.server, self.engine, self.over = server, engine, threading.Event()
        self.refused_ms: list[float] = []
        self.spoken_ms: list[float] = []
        self.untold = 0
        self.rss_most = 0
        self.players = [self._player(number) for number in range(LISTENERS)]

    def _player(self, number: int) -> Player:
        text = formats.prose(number, TEXT_CHARS)
        _, answer, stream = client.first_audio(self.server.address, text, "pcm")
        if not answer.has_audio:
            raise client.Broken(f"listener {number} was answered {answer.status}")
        stream.setblocking(False)
        return Player(stream, answer, time.monotonic())

    def run(self) -> None:
        asking = threading.Thread(target=self._ask, daemon=True)
        asking.start()
        while not self.over.wait(LOOK_SECONDS):
            for player in self.players:
                player.look()
            self.rss_most = max(self.rss_most, self.server.memory().server_rss)
        asking.join()
        for player in self.players:
            player.stream.close()

    def _ask(self) -> None:
        number = 0
        while not self.over.wait(ASK_EVERY_SECONDS):
            number += 1
            try:
                text = f"Asked for the {number}th time."
                seconds, answer, stream = client.first_audio(self.server.address, text, "wav")
                stream.close()
            except (OSError, client.Broken):
                self.untold += 1
                continue
            if answer.is_refusal:
                self.refused_ms.append(seconds * 1e3)
            elif answer.has_audio:
                self.spoken_ms.append(seconds * 1e3)
            else:
                self.untold += 1


def measure(report: Report, halves: Halves, engine: str, seconds: float) -> None:
    server = halves.start_server(Server(report.complaints, "--speech-engine", engine))
    try:
        wrk(server, engine, PEAK_CONNECTIONS[0], 1, 0)
        crowd = Crowd(server, engine)
        crowd.start()
        tried = {n: wrk(server, engine, n, PEAK_SECONDS, 0) for n in PEAK_CONNECTIONS}
        at, peak = max(tried.items(), key=lambda item: item[1].goodput)
        before, offered = server.memory().server_rss, TIMES * peak.goodput
        connections = max(
            at, min(MOST_CONNECTIONS, round(MORE_CONNECTIONS * offered * PAUSE_MS / 1e3))
        )
        rounds, others = [], []
        for _ in range(ROUNDS):
            peak = wrk(server, engine, at, PEAK_SECONDS, 0)
            busy, ours = machine.busy_seconds(), server.cpu_seconds() + time.process_time()
            over = wrk(server, engine, connections, seconds, PAUSE_MS)
            ours = server.cpu_seconds() + time.process_time() + over.cpu_seconds - ours
            others.append((machine.busy_seconds() - busy - ours) / over.seconds)
            rounds.append(Round(peak, over))
        crowd.over.set()
        crowd.join()
        idle_after = server.idle_after(time.monotonic())
        report.figures += [
            *_load_figures(engine, at, rounds, connections),
            *_crowd_figures(engine, crowd, before),
            Figure(f"{engine}: CPU time of others", max(others), "s/s", most=OTHERS_MOST),
            Figure(f"{engine}: ledger idle after all left", idle_after * 1e3, "ms", most=1000),
        ]
    finally:
        server.__exit__(None)


def _load_figures(engine: str, at: int, rounds: list[Round], connections: int) -> list[Figure]:
    ratios = sorted(one.over.goodput / one.peak.goodput for one in rounds)
    offered = min(one.over.offered / one.peak.goodput for one in rounds)
    pairs = ", ".join(f"{one.over.goodput:.0f} of {one.peak.goodput:.0f}" for one in rounds)
    busy = max(load.cpu_seconds / load.seconds for one in rounds for load in (one.peak, one.over))
    least = None if engine == "tone" else GOODPUT_LEAST
    spread = f"median; {ratios[0]:.2f} to {ratios[-1]:.2f}: {pairs} a second"
    return [
        Figure(f"{engine}: goodput / peak", statistics.median(ratios), least=least, detail=spread),
        Figure(
            f"{engine}: offered / peak",
            offered,
            least=TIMES,
            detail=f"{connections} connections; the peak with {at}",
        ),
        Figure(
            f"{engine}: answers other than 200 and 503",
            sum(one.over.other + one.peak.other for one in rounds),
            most=0,
        ),
        Figure(
            f"{engine}: connections that broke",
            sum(one.over.broken + one.peak.broken for one in rounds),
            most=0,
        ),
        Figure(f"{engine}: CPU time of the load", busy, "s/s", most=LOAD_CPU_MOST),
    ]


def _crowd_figures(engine: str, crowd: Crowd, rss_before: int) -> list[Figure]:
    p99, p50 = (percentile(crowd.refused_ms, part) for part in (0.99, 0.5))
    told = f"{len(crowd.refused_ms)} in all, p50 {p50:.1f} ms; {len(crowd.spoken_ms)} were let in"
    worst = max(player.gap_ms for player in crowd.players)
    with_gap = sum(player.gap_ms > 0 for player in crowd.players)
    broken = sum(player.is_broken for player in crowd.players)
    grown = (crowd.rss_most - rss_before) / MIB
    return [
        Figure(f"{engine}: refused, p99", p99, "ms", most=50, detail=told),
        Figure(f"{engine}: cut off without being told", crowd.untold, most=0),
        Figure(f"{engine}: listeners with a gap", with_gap, most=0, detail=f"of {LISTENERS}"),
        Figure(f"{engine}: longest gap", worst, "ms", most=0),
        Figure(f"{engine}: listeners that broke off", broken, most=0),
        Figure(
            f"{engine}: RSS at most", crowd.rss_most / MIB, "MiB", detail=f"grown by {grown:.1f}"
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", default="espeak,tone", help="one after the other (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="of each overload (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    given, report = parser.parse_args(), Report()
    if sys.platform != "linux" or not shutil.which("wrk"):
        raise SystemExit("this reads /proc and needs Linux, and wrk (Debian: wrk)")
    machine.raise_open_files()
    halves = Halves()
    for engine in given.engine.split(","):
        print(f"{engine} …", file=sys.stderr, flush=True)
        measure(report, halves, engine, given.seconds)
    return report.close(given.json)


if __name__ == "__main__":
    sys.exit(main())
