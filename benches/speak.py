#!/usr/bin/env python3
"""The bounds of speech, measured from outside: starts the server, prints one table, and exits with 1
when a bound is broken. Linux, Python 3.10 or newer, nothing but the standard library.

    cargo build --release && benches/speak.py
    benches/speak.py --only stalled --format wav --clients 100
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
from pathlib import Path

from lib import client, cpu, first_audio, formats, leavers, machine, over_budget, stalled
from lib.report import Figure, Report

PARTS = {
    "first_audio": first_audio.run,
    "cpu": cpu.run,
    "stalled": stalled.run,
    "leavers": leavers.run,
    "over_budget": over_budget.run,
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--format", default="wav,pcm", help="formats, mixed in turn (%(default)s)")
    parser.add_argument("--only", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--clients", type=int, default=300, help="clients that stall (%(default)s)")
    parser.add_argument("--leavers", type=int, default=5000, help="clients that leave (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of how they leave (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    given = parser.parse_args()
    given.formats = given.format.split(",")
    given.only = given.only.split(",") if given.only else list(PARTS)
    for wrong in sorted(set(given.formats) - set(formats.BOUNDS)):
        parser.error(f"unknown format {wrong}; known are {', '.join(formats.BOUNDS)}")
    for wrong in sorted(set(given.only) - set(PARTS)):
        parser.error(f"unknown part {wrong}; known are {', '.join(PARTS)}")
    return given


def main() -> int:
    given, report = arguments(), Report()
    if sys.platform != "linux":
        raise SystemExit("this reads /proc and needs Linux")
    machine.raise_open_files()
    for name in given.only:
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            PARTS[name](report, given)
        except (OSError, client.Broken, asyncio.TimeoutError) as error:
            broken = Figure(f"{name}: could not be measured", math.nan, most=0, detail=repr(error))
            report.figures.append(broken)
    return report.close(given.json)


if __name__ == "__main__":
    sys.exit(main())
