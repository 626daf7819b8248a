#!/usr/bin/env python3
"""The bounds of voice sessions, beside Node's ws package and a bare server on tokio: what thousands of idle ones cost; what is
left of large messages; peers that flood with pings and never read; messages that are never ended; and three thousand that end
badly. Prints one table, and exits with 1 when a bound is broken. Linux, Python 3.11 or newer with nothing but the standard
library, Node.js 20 or newer.

    cargo build --release --bin evensong --example ws_bare && benches/realtime.py
    benches/realtime.py --only idle --peers evensong,bare --sessions 1000 --seconds 20
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
import time
from pathlib import Path

from lib import client, machine
from lib.realtime import ends, flood, idle, large, peers, unfinished
from lib.report import Figure, Report

PARTS = {"idle": idle.run, "large": large.run, "flood": flood.run, "unfinished": unfinished.run, "ends": ends.run}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts (%(default)s)")
    parser.add_argument("--peers", default=",".join(peers.NAMES), help="who is measured in idle (%(default)s)")
    parser.add_argument("--sessions", type=int, default=5_000, help="that are idle (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="for which they are (%(default)s)")
    parser.add_argument("--large", type=int, default=1_000, help="that sent large messages (%(default)s)")
    parser.add_argument("--flooders", type=int, default=16, help="peers that ping and never read (%(default)s)")
    parser.add_argument("--unfinished", type=int, default=5_000, help="messages that are never ended (%(default)s)")
    parser.add_argument("--ends", type=int, default=1_000, help="sessions of each manner of ends (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of who ends when and how (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    given = parser.parse_args()
    given.only, given.peers = given.only.split(","), given.peers.split(",")
    for what, wanted, known in (("part", given.only, PARTS), ("peer", given.peers, peers.NAMES)):
        for wrong in sorted(set(wanted) - set(known)):
            parser.error(f"unknown {what} {wrong}; known are {', '.join(known)}")
    return given


def main() -> int:
    given, report = arguments(), Report()
    if sys.platform != "linux":
        raise SystemExit("this reads /proc and needs Linux")
    machine.raise_open_files()
    report.notes.append(peers.versions(given.peers if "idle" in given.only else ["evensong"]))
    for name in given.only:
        print(f"{name} …", file=sys.stderr, flush=True)
        began, others = time.monotonic(), machine.others_seconds()
        try:
            PARTS[name](report, given)
        except (OSError, client.Broken, asyncio.TimeoutError, ExceptionGroup, KeyError, ValueError) as error:
            broken = Figure(f"{name}: could not be measured", math.nan, most=0, detail=repr(error)[:300])
            report.figures.append(broken)
        others = (machine.others_seconds() - others) / (time.monotonic() - began)
        report.figures.append(Figure(f"{name}: CPU time of others meanwhile", others, "s/s"))
    return report.close(given.json)


if __name__ == "__main__":
    sys.exit(main())
