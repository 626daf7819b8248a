#!/usr/bin/env python3
"""The bounds of search and indexing: the embedded index, a real engine beside a direct query and a Node service, the
indexer over a real GraphQL server, and rotation under load. Prints one table, and exits with 1 when a bound is broken
or could not be measured. Linux, Python 3.10 or newer, nothing but the standard library; engines come by
scripts/engine (Java, Maven), the sample source and the Node service by npm.

    cargo build --release && benches/search.py
    benches/search.py --only rotation --for 1h --engine opensearch
"""

from __future__ import annotations

import argparse
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from lib import client, machine
from lib.report import Figure, Report
from lib.search import embedded, engine, indexing, peers, rotation

PARTS = {
    "embedded": embedded.run,
    "engine": engine.run,
    "indexing": indexing.run,
    "rotation": rotation.run,
}
PEERS = ("evensong", "node", "direct")
UNITS = {"s": 1, "m": 60, "h": 3600}


def duration(text: str) -> float:
    """90s, 2m, 1h."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if not found or float(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text} is no time such as 90s, 2m or 1h")
    return float(found[1]) * UNITS[found[2]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts (%(default)s)")
    parser.add_argument("--peers", default=",".join(PEERS), help="who is measured in engine (%(default)s)")
    parser.add_argument("--documents", type=int, default=100_000, help="in embedded, engine, rotation (%(default)s)")
    parser.add_argument(
        "--queries", type=int, default=10_000, help="of embedded; a quarter a round of engine (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="of engine (%(default)s)")
    parser.add_argument("--records", type=int, default=200_000, help="of the source in indexing (%(default)s)")
    parser.add_argument("--for", dest="duration", type=duration, default="2m", help="of rotation (%(default)s)")
    parser.add_argument("--engine", default=engine.ENGINE, choices=rotation.ENGINES, help="of rotation (%(default)s)")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the words asked for and the moments of kills (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    given = parser.parse_args()
    given.only, given.peers = given.only.split(","), given.peers.split(",")
    for what, wanted, known in (("part", given.only, PARTS), ("peer", given.peers, PEERS)):
        for wrong in sorted(set(wanted) - set(known)):
            parser.error(f"unknown {what} {wrong}; known are {', '.join(known)}")
    return given


def needs_evensong(given: argparse.Namespace) -> bool:
    return given.only != ["engine"] or "evensong" in given.peers


def main() -> int:
    given, report = arguments(), Report()
    if sys.platform != "linux":
        raise SystemExit("this reads /proc and needs Linux")
    machine.raise_open_files()
    version = peers.Evensong.version() if needs_evensong(given) else "without Evensong"
    report.notes.append(f"{version}; Linux {os.uname().release}, {os.cpu_count()} processors; seed {given.seed}")
    for name in given.only:
        print(f"{name} …", file=sys.stderr, flush=True)
        began, others = time.monotonic(), machine.others_seconds()
        try:
            PARTS[name](report, given)
        except (OSError, client.Broken, subprocess.SubprocessError, ValueError, KeyError) as error:
            report.figures.append(Figure(f"{name}: could not be measured", math.nan, most=0, detail=repr(error)))
        others = (machine.others_seconds() - others) / (time.monotonic() - began)
        # The engine's own, too: it is no child of ours.
        report.figures.append(Figure(f"{name}: CPU time of others meanwhile", others, "s/s"))
    return report.close(given.json)


if __name__ == "__main__":
    sys.exit(main())
