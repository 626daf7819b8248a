#!/usr/bin/env python3
"""The bounds of dialogues, measured from outside: starts the server, a language model that does what it is told, and
clients; prints one table, and exits with 1 when a bound is broken. Linux, Python 3.10 or newer with nothing but the
standard library, Node.js 20 or newer; nginx is installed if it is not there.

    cargo build --release && benches/dialogue.py
    benches/dialogue.py --only leavers --leavers 1000 --seed 7
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
import time
from pathlib import Path

from lib import client, machine
from lib.dialogue import capacity, cuts, first, leavers, thinking, wire
from lib.report import Figure, Report

PARTS = {
    "thinking": thinking.run,
    "first": first.run,
    "capacity": capacity.run,
    "leavers": leavers.run,
    "cuts": cuts.run,
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts (%(default)s)")
    formats = "formats of first and cuts; capacity is of the first of them (%(default)s)"
    parser.add_argument("--format", default="mp3,pcm", help=formats)
    parser.add_argument("--turns", type=int, default=200, help="of first, for each format (%(default)s)")
    parser.add_argument("--leavers", type=int, default=10_000, help="dialogues that are left (%(default)s)")
    parser.add_argument("--cuts", type=int, default=1_000, help="readers cut off (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of who leaves when and how (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    given = parser.parse_args()
    given.only, given.formats = given.only.split(","), given.format.split(",")
    for what, wanted, known in (("part", given.only, PARTS), ("format", given.formats, wire.RATES)):
        for wrong in sorted(set(wanted) - set(known)):
            parser.error(f"unknown {what} {wrong}; known are {', '.join(known)}")
    return given


def main() -> int:
    given, report = arguments(), Report()
    if sys.platform != "linux":
        raise SystemExit("this reads /proc and needs Linux")
    machine.raise_open_files()
    for name in given.only:
        print(f"{name} …", file=sys.stderr, flush=True)
        began, others = time.monotonic(), machine.others_seconds()
        try:
            PARTS[name](report, given)
        except (OSError, client.Broken, asyncio.TimeoutError, KeyError, ValueError) as error:
            broken = Figure(f"{name}: could not be measured", math.nan, most=0, detail=repr(error)[:200])
            report.figures.append(broken)
        others = (machine.others_seconds() - others) / (time.monotonic() - began)
        report.figures.append(Figure(f"{name}: CPU time of others meanwhile", others, "s/s"))
    return report.close(given.json)


if __name__ == "__main__":
    sys.exit(main())
