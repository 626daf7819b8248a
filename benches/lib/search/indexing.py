"""The indexer as people run it, `evensong index --once`, over a real GraphQL server process: how fast, whether it
grows, and that killing it at any moment loses nothing and doubles nothing."""

from __future__ import annotations

import http.client
import json
import math
import os
import random
import re
import subprocess
import sys
import time
from argparse import Namespace
from collections import Counter
from pathlib import Path

from .. import machine
from ..report import Figure, Report
from ..server import binary
from . import peers
from .watch import MIB, Watch

LEAST_PACE = 2000
SAMPLE_SECONDS = 0.1
# Memory is compared at rest, when the source has kept its answer back for so long that the index's writer is closed.
# While it works, RssAnon is a sawtooth: a writer's buffer fills and empties 15 MiB every few thousand records, and merging
# the largest segments takes 20 to 30 more for ten seconds, once in some 130,000. The slope of a line through that says
# only where such a merge fell: in a run of 600,000 records, the line through any 100,000 rose by -18 to +16 MiB.
RESTS = (0.5, 0.975)
REST_SECONDS, FIRST_BYTE_SECONDS, POLL_SECONDS = 12.0, 30, 0.02
# At rest it comes to 0.5 MiB, and over 600,000 records to 0.3 for each 100,000 (from 5.8 to 7.3). The bound is eleven
# bytes a record.
MOST_GROWTH_BYTES = 1 * MIB
KILLS = 10
# Of the time that a whole run takes; together they make about two thirds of it, so that none finds it finished.
KILL_AFTER = (0.01, 0.12)
PATIENCE_SECONDS = 1800.0
PAGE = 100
# As the source makes them, and nobody else.
OF_THE_SOURCE = re.compile(r"[A-Za-z0-9_-]{43}")
_IDS = """query($after: String) {
    transactions(first: 100, after: $after, sort: HEIGHT_ASC) { pageInfo { hasNextPage } edges { cursor node { id } } }
}"""


def run(report: Report, given: Namespace) -> None:
    with peers.Node(peers.SOURCE, "--port", "0", "--count", str(given.records)) as source:
        wanted = source_ids(source.address)
        with peers.folder() as data:
            figures, took = _whole_run(data, source, given)
            report.figures += figures
            report.figures += _compared("indexing", report, data, wanted)
        with peers.folder() as data:
            report.figures += _killed(data, source, took, given)
            report.figures += _compared("indexing, killed", report, data, wanted)


class Index:
    """One `evensong index --once`."""

    def __init__(self, data: Path, source: peers.Node):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EVENSONG_")}
        environment |= {"EVENSONG_DATA": str(data), "EVENSONG_GRAPHQL_URL": source.url}
        # A source that rests is not one that fails.
        environment["EVENSONG_UPSTREAM_FIRST_BYTE_SECONDS"] = str(FIRST_BYTE_SECONDS)
        self.log = data / "index.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [binary(), "index", "--once"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=data,
            )

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Waits for it, and for its word that all went well."""
        code = self.process.wait(PATIENCE_SECONDS)
        if code:
            said = self.log.read_text(errors="replace").splitlines()[-5:]
            raise OSError(f"evensong index --once ended with {code}: {said}")


def _whole_run(data: Path, source: peers.Node, given: Namespace) -> tuple[list[Figure], float]:
    began, before = time.monotonic(), _given(source)
    with Index(data, source) as index, Watch(index.process.pid, SAMPLE_SECONDS) as watch:
        first, last = (_at_rest(index, source, before + int(part * given.records)) for part in RESTS)
        index.end()
        took = time.monotonic() - began - len(RESTS) * REST_SECONDS
    pace = f"{given.records:,} in {took:.1f} s, the source beside it; at most {watch.most_rss / MIB:.0f} MiB RSS"
    at_work = max(anonymous for _, anonymous in watch.samples)
    said = f"from {first / MIB:.2f} to {last / MIB:.2f} MiB; at most {at_work / MIB:.0f} at work"
    return [
        Figure("indexing: records a second", given.records / took, least=LEAST_PACE, detail=pace),
        Figure(
            "indexing: RssAnon's growth at rest over the second half",
            (last - first) / MIB,
            "MiB",
            most=MOST_GROWTH_BYTES / MIB,
            detail=said,
        ),
    ], took


def _at_rest(index: Index, source: peers.Node, records: int) -> int:
    """The least of RssAnon while the source, which has given so many, keeps its answer back."""
    while _given(source) < records:
        if index.process.poll() is not None:
            raise OSError(f"evensong index --once ended before {records:,} records were asked for")
        time.sleep(POLL_SECONDS)
    _stall(source, True)
    least, until = math.inf, time.monotonic() + REST_SECONDS
    while time.monotonic() < until:
        time.sleep(SAMPLE_SECONDS)
        least = min(least, machine.resident(index.process.pid).anonymous)
    _stall(source, False)
    return least


def _given(source: peers.Node) -> int:
    return peers.ask(source.address, "GET", "/stats")["records"]


def _stall(source: peers.Node, is_on: bool) -> None:
    peers.ask(source.address, "POST", "/faults", json.dumps({"stall": is_on}).encode())


def _killed(data: Path, source: peers.Node, took: float, given: Namespace) -> list[Figure]:
    dice, killed, after = random.Random(given.seed), 0, []
    for _ in range(KILLS):
        after.append(dice.uniform(*KILL_AFTER) * took)
        with Index(data, source) as index:
            try:
                index.process.wait(after[-1])
            except subprocess.TimeoutExpired:
                index.process.kill()
                killed += 1
        print(f"  killed after {after[-1]:.2f} s", file=sys.stderr, flush=True)
    began = time.monotonic()
    with Index(data, source) as index:
        index.end()
    left = time.monotonic() - began
    moments = ", ".join(f"{seconds:.1f}" for seconds in after)
    detail = f"seed {given.seed}; after {moments} s; the last run took {left:.1f} s, a whole one {took:.1f}"
    return [Figure("indexing, killed: with SIGKILL while it ran", killed, least=KILLS, most=KILLS, detail=detail)]


def _compared(what: str, report: Report, data: Path, wanted: set[str]) -> list[Figure]:
    """What the index says it has, and what it gives when all of it is paged."""
    with peers.Evensong(report.complaints, data) as server:
        found, total = index_ids(server.address)
    own = {name for name in found if OF_THE_SOURCE.fullmatch(name)}
    others = len(found) - len(own)
    twice = {name: times for name, times in found.items() if times > 1}
    missing, strange = wanted - own, own - wanted
    pages = f"of {len(wanted):,} in the source; by cursors, oldest first; {others} documents of others beside them"
    claimed = f"{total['relation']} {total['value']:,}"
    return [
        Figure(f"{what}: records missing", len(missing), most=0, detail=pages),
        Figure(f"{what}: records given twice", len(twice), most=0, detail=", ".join(sorted(twice)[:3])),
        Figure(f"{what}: records that the source has not", len(strange), most=0, detail=", ".join(sorted(strange)[:3])),
        Figure(
            f"{what}: total that is claimed beyond what is there",
            _beyond(total, sum(found.values())),
            most=0,
            detail=claimed,
        ),
    ]


def _beyond(total: dict, there: int) -> int:
    """A total that is exact must be right; one that is a least must not be more than there is."""
    return abs(total["value"] - there) if total["relation"] == "eq" else max(0, total["value"] - there)


def index_ids(address: tuple[str, int]) -> tuple[Counter[str], dict]:
    """Every id in the index with how often it was given, and the total of the first page."""
    connection, found, cursor, total = http.client.HTTPConnection(*address, timeout=30), Counter(), None, None
    while True:
        path = f"/api/search?sort=oldest&limit={PAGE}" + (f"&cursor={cursor}" if cursor else "")
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise OSError(f"{path} was answered {answer.status}: {body[:200]!r}")
        page = json.loads(body)
        total = total or page["total"]
        found.update(hit["id"] for hit in page["hits"])
        if not (cursor := page["next_cursor"]):
            connection.close()
            return found, total
        if not page["hits"]:
            raise OSError("a page without hits that says there are more")


def source_ids(address: tuple[str, int]) -> set[str]:
    connection, ids, after = http.client.HTTPConnection(*address, timeout=30), set(), None
    while True:
        asked = json.dumps({"query": _IDS, "variables": {"after": after}})
        connection.request("POST", "/graphql", asked, {"Content-Type": "application/json"})
        page = json.loads(connection.getresponse().read())["data"]["transactions"]
        ids.update(edge["node"]["id"] for edge in page["edges"])
        if not page["pageInfo"]["hasNextPage"]:
            connection.close()
            return ids
        after = page["edges"][-1]["cursor"]
