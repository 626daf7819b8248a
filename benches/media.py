#!/usr/bin/env python3
"""The bounds of media, beside nginx and Express on the same files: CPU time of a GET of 400 KB, hot and cold, and of a 304; a
thousand downloads that stall; an hour of browsing. Prints one table, and exits with 1 when a bound is broken. Linux, Python 3.10
or newer, wrk; nginx and Express are installed if they are not there.

    cargo build --release && benches/media.py
    benches/media.py --only cpu --peers nginx,express --rounds 3
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import time
from pathlib import Path

from lib import client, machine
from lib.media import browse, cpu, peers, stalled
from lib.report import Figure, Report

PARTS = {"cpu": cpu.run, "stalled": stalled.run, "browse": browse.run}
# On the command line; "cold" is Evensong without its cache.
PEERS = {"evensong": "evensong", "cold": "evensong, cold", "nginx": "nginx", "express": "express"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts (%(default)s)")
    parser.add_argument("--peers", default=",".join(PEERS), help="who is measured in cpu (%(default)s)")
    parser.add_argument("--files", type=int, default=24, help="GIFs of 300 to 500 KB (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of cpu, three at least (%(default)s)")
    parser.add_argument("--seconds", type=float, default=4, help="of each turn of cpu (%(default)s)")
    parser.add_argument("--clients", type=int, default=1000, help="downloads that stall (%(default)s)")
    parser.add_argument("--minutes", type=int, default=60, help="of browsing (%(default)s)")
    parser.add_argument("--pace", type=float, default=100, help="GETs a second while browsing (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the files (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    given = parser.parse_args()
    given.only, given.peers = given.only.split(","), given.peers.split(",")
    for what, wanted, known in (("part", given.only, PARTS), ("peer", given.peers, PEERS)):
        for wrong in sorted(set(wanted) - set(known)):
            parser.error(f"unknown {what} {wrong}; known are {', '.join(known)}")
    if given.rounds < 3:
        parser.error("a median wants three rounds at least")
    given.peers = [PEERS[name] for name in given.peers]
    return given


def main() -> int:
    given, report = arguments(), Report()
    if sys.platform != "linux" or not shutil.which("wrk"):
        raise SystemExit("this reads /proc and asks by wrk: it needs Linux and wrk")
    machine.raise_open_files()
    ours = [PEERS["evensong"]] if set(given.only) != {"cpu"} else []
    report.notes.append(peers.versions(given.peers if "cpu" in given.only else ours))
    for name in given.only:
        print(f"{name} …", file=sys.stderr, flush=True)
        began, others = time.monotonic(), machine.others_seconds()
        try:
            PARTS[name](report, given)
        except (OSError, client.Broken) as error:
            broken = Figure(f"{name}: could not be measured", math.nan, most=0, detail=repr(error))
            report.figures.append(broken)
        others = (machine.others_seconds() - others) / (time.monotonic() - began)
        report.figures.append(Figure(f"{name}: CPU time of others meanwhile", others, "s/s"))
    return report.close(given.json)


if __name__ == "__main__":
    sys.exit(main())
