#!/usr/bin/env python3
"""The bounds of speech that an upstream makes and Evensong passes on, beside nginx and HAProxy on the same streams:
starts a stub upstream and all three, in turns, prints one table, and exits with 1 when a bound is broken. Linux,
Python 3.10 or newer, nothing but the standard library; nginx and HAProxy are installed if they are not there.

    cargo build --release && benches/relay.py
    benches/relay.py --only cpu --peers nginx,haproxy --gigabytes 4
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
import time
from pathlib import Path

from lib import client, machine
from lib.relay import cpu, first_byte, leavers, peers, rotation, stalled
from lib.report import Figure, Report

PARTS = {
    "cpu": cpu.run,
    "first_byte": first_byte.run,
    "stalled": stalled.run,
    "leavers": leavers.run,
    "rotation": rotation.run,
}
MOST_CHUNK_KIB = 256


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts (%(default)s)")
    parser.add_argument("--peers", default=",".join(peers.NAMES), help="who is measured (%(default)s)")
    chunks = "KiB of the upstream's chunks in cpu, as 64,8; 0 for an answer with a length (%(default)s)"
    parser.add_argument("--chunks", default="64", help=chunks)
    parser.add_argument("--gigabytes", type=float, default=2, help="through each peer in each round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of cpu (%(default)s)")
    parser.add_argument("--streams", type=int, default=500, help="readers that stall (%(default)s)")
    parser.add_argument("--leavers", type=int, default=200, help="readers that leave (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="of rotation (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of when readers leave and clients rotate (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    given = parser.parse_args()
    given.only, given.peers = given.only.split(","), given.peers.split(",")
    given.chunks = [int(kib) for kib in given.chunks.split(",")]
    for what, wanted, known in (("part", given.only, PARTS), ("peer", given.peers, peers.NAMES)):
        for wrong in sorted(set(wanted) - set(known)):
            parser.error(f"unknown {what} {wrong}; known are {', '.join(known)}")
    if not all(0 <= kib <= MOST_CHUNK_KIB for kib in given.chunks):
        parser.error(f"chunks have at most {MOST_CHUNK_KIB} KiB")
    return given


def main() -> int:
    given, report = arguments(), Report()
    if sys.platform != "linux":
        raise SystemExit("this reads /proc and needs Linux")
    machine.raise_open_files()
    report.notes.append(peers.versions(given.peers))
    for name in given.only:
        print(f"{name} …", file=sys.stderr, flush=True)
        began, others = time.monotonic(), machine.others_seconds()
        try:
            PARTS[name](report, given)
        except (OSError, client.Broken, asyncio.TimeoutError) as error:
            broken = Figure(f"{name}: could not be measured", math.nan, most=0, detail=repr(error))
            report.figures.append(broken)
        others = (machine.others_seconds() - others) / (time.monotonic() - began)
        report.figures.append(Figure(f"{name}: CPU time of others meanwhile", others, "s/s"))
    return report.close(given.json)


if __name__ == "__main__":
    sys.exit(main())
