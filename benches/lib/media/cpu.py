"""CPU time of each peer per request, in turns on the same files: a GET of 400 KB that is hot, one that is cold, and a 304.

Cold means that Evensong keeps no file in memory of its own: each is read from the kernel's page cache, which is warm for all.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path

from .. import machine
from ..report import Figure, Report
from . import files, peers

SCRIPT = Path(__file__).with_name("get.lua")
CONNECTIONS = 16
WARM_UP_SECONDS = 1
# (what is asked, who of ours answers, how many times nginx it may cost)
BOUNDS = (("GET", "evensong", 1.8), ("GET", "evensong, cold", 2.5), ("304", "evensong", 2.0))
Rounds = dict[tuple[str, str], list[float]]


def run(report: Report, given: Namespace) -> None:
    """Every peer runs all the time, and is idle while another is asked."""
    made = files.reel(given.files, given.seed)
    with ExitStack() as stack:
        folder = stack.enter_context(files.Folder(made))
        among = [stack.enter_context(peers.start(name, report.complaints, folder.root)) for name in given.peers]
        targets = {peer.name: peers.check(peer, made) for peer in among}
        for peer in among:
            for what in ("GET", "304"):
                _spent(peer, what, targets[peer.name], WARM_UP_SECONDS)
        rounds: Rounds = {}
        for number in range(given.rounds):
            turn = number % len(among)
            for what in ("GET", "304"):
                for peer in among[turn:] + among[:turn]:
                    took = _spent(peer, what, targets[peer.name], given.seconds)
                    rounds.setdefault((what, peer.name), []).append(took)
    mean = sum(len(file.content) for file in made) / len(made)
    report.notes.append(f"{len(made)} GIFs of {mean / 1e3:.0f} KB in the mean; cold: no cache in Evensong, a warm page cache for all")
    report.figures += _figures(rounds)


def _spent(peer: peers.Peer, what: str, targets: list[tuple[str, str]], seconds: float) -> float:
    """CPU microseconds of a request. Every answer must be the one that is meant."""
    before = machine.cpu_seconds(peer.pid)
    seen = _wrk(peer.address, what, targets, seconds)
    spent = machine.cpu_seconds(peer.pid) - before
    answered = seen["whole" if what == "GET" else "unchanged"]
    wrong = seen["whole"] + seen["unchanged"] - answered + seen["other"] + seen["broken"]
    if wrong or not answered:
        raise OSError(f"{peer.name}, {what}: {seen}")
    took = spent / answered * 1e6
    rate = answered / seen["seconds"]
    print(f"  {what} {peer.name}: {took:.1f} CPU µs a request, {rate:.0f} a second", file=sys.stderr, flush=True)
    return took


def _wrk(address: tuple[str, int], what: str, targets: list[tuple[str, str]], seconds: float) -> dict[str, float]:
    pairs = [part for path, tag in targets for part in (path, tag if what == "304" else "-")]
    command = ["wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds:.0f}s"]
    command += ["--timeout", "10s", "--script", str(SCRIPT), "http://%s:%d/" % address, "--", *pairs]
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds + 60)
    figures = re.search(r"^FIGURES (.*)$", ran.stdout, re.M)
    if not figures:
        raise OSError(f"wrk said {ran.stdout[-500:]} {ran.stderr[-500:]}")
    return json.loads(figures.group(1))


def _figures(rounds: Rounds) -> list[Figure]:
    figures = []
    for (what, name), each in rounds.items():
        # A 304 is found the same way, whatever is kept of the file.
        if (what, name) == ("304", "evensong, cold"):
            continue
        detail = f"median of {len(each)}, {min(each):.1f} to {max(each):.1f}"
        figures.append(Figure(f"CPU of a {what}, {name}", statistics.median(each), "µs", detail=detail))
    for what, name, most in BOUNDS:
        ours, theirs = rounds.get((what, name)), rounds.get((what, "nginx"))
        if ours is None or theirs is None:
            continue
        # Round by round, since a machine has quicker and slower minutes.
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
        detail = f"median of {len(ratios)}, {min(ratios):.2f} to {max(ratios):.2f}"
        figures.append(Figure(f"CPU of a {what}, {name} / nginx", statistics.median(ratios), "×", most=most, detail=detail))
    return figures
