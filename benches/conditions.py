#!/usr/bin/env python3
"""Each combination of conditional headers and ranges, asked by curl of one file: a table of what RFC 9110 wants and what came.
The exit status is 1 when one of them differs. A server may leave ranges out (14.2), and one that sends tags that are weak
may not compare them strongly: that shows here as well. Python 3.10 or newer, and curl.

    cargo build --release && benches/conditions.py
    benches/conditions.py --server nginx
    benches/conditions.py --url http://127.0.0.1:8080/media/cat.0123….gif
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from email.utils import format_datetime, parsedate_to_datetime
from datetime import timedelta
from pathlib import Path

from lib import machine
from lib.media import files, peers

OTHER = '"another"'
SECONDS = 30
# So far before the file's own time that no clock is that wrong.
OLDER = timedelta(days=365)


@dataclass(frozen=True)
class Target:
    """The file, as a plain GET has it."""

    url: str
    body: bytes
    kind: str
    tag: str
    modified: str
    older: str
    # Whether a date says as surely as a tag which bytes are meant (8.8.2.2): it is a second before the answer's.
    is_date_strong: bool

    @property
    def size(self) -> int:
        return len(self.body)


@dataclass(frozen=True)
class Came:
    """What curl got."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Wanted:
    """A status, the parts of the file that the body must be made of, and where that is said."""

    status: int
    section: str
    parts: tuple[tuple[int, int], ...] = ()


def conditions(it: Target) -> list[tuple[str, list[str]]]:
    """What is asked of the conditions: words, and headers."""
    return [
        ("–", []),
        ("If-None-Match: its tag", [f"If-None-Match: {it.tag}"]),
        ("If-None-Match: another", [f"If-None-Match: {OTHER}"]),
        ("If-None-Match: *", ["If-None-Match: *"]),
        ("If-Modified-Since: its date", [f"If-Modified-Since: {it.modified}"]),
        ("If-Modified-Since: before", [f"If-Modified-Since: {it.older}"]),
        ("If-Match: its tag", [f"If-Match: {it.tag}"]),
        ("If-Match: another", [f"If-Match: {OTHER}"]),
        ("If-Unmodified-Since: before", [f"If-Unmodified-Since: {it.older}"]),
    ]


def ranges(it: Target) -> list[tuple[str, list[str]]]:
    """What is asked of ranges."""
    some = "Range: bytes=0-99"
    return [
        ("–", []),
        ("0-99", [some]),
        ("-100", ["Range: bytes=-100"]),
        ("0-9,20-29", ["Range: bytes=0-9,20-29"]),
        ("behind the end", [f"Range: bytes={it.size}-"]),
        ("0-99, If-Range: its tag", [some, f"If-Range: {it.tag}"]),
        ("0-99, If-Range: another", [some, f"If-Range: {OTHER}"]),
        ("0-99, If-Range: its date", [some, f"If-Range: {it.modified}"]),
    ]


def wanted(it: Target, condition: str, asked: str) -> Wanted:
    """RFC 9110, 13.2.2: the conditions in their order, and a range only where all of them let the request through."""
    if condition == "If-Match: another":
        return Wanted(412, "13.1.1")
    if condition == "If-Match: its tag" and it.tag.startswith("W/"):
        # Compared strongly, and no weak tag is equal to itself.
        return Wanted(412, "13.1.1")
    if condition == "If-Unmodified-Since: before":
        return Wanted(412, "13.1.4")
    if condition in ("If-None-Match: its tag", "If-None-Match: *"):
        return Wanted(304, "13.1.2")
    if condition == "If-Modified-Since: its date":
        return Wanted(304, "13.1.3")
    return _ranged(it, asked)


def _ranged(it: Target, asked: str) -> Wanted:
    whole = ((0, it.size),)
    if asked == "–":
        return Wanted(200, "15.3.1", whole)
    if asked == "-100":
        return Wanted(206, "14.1.2", ((it.size - 100, it.size),))
    if asked == "0-9,20-29":
        return Wanted(206, "14.6", ((0, 10), (20, 30)))
    if asked == "behind the end":
        return Wanted(416, "15.5.17")
    weak = asked.endswith("its tag") and it.tag.startswith("W/")
    weak |= asked.endswith("its date") and not it.is_date_strong
    if asked.endswith("another") or weak:
        return Wanted(200, "13.1.5", whole)
    return Wanted(206, "13.1.5" if "If-Range" in asked else "14.2", ((0, 100),))


def faults(it: Target, expected: Wanted, came: Came) -> list[str]:
    """What differs; nothing where it is as it should be."""
    found = []
    if came.status != expected.status:
        return [f"status {came.status}"]
    length = came.headers.get("content-length")
    if came.status == 304:
        if came.body:
            found.append("a body")
        if length not in (None, str(it.size)):
            found.append(f"content-length {length}")
    elif length not in (None, str(len(came.body))):
        found.append(f"content-length {length} before {len(came.body)} bytes")
    if came.status in (200, 206, 304) and came.headers.get("etag") != it.tag:
        found.append(f"etag {came.headers.get('etag')}")
    if came.status == 416 and came.headers.get("content-range") != f"bytes */{it.size}":
        found.append(f"content-range {came.headers.get('content-range')}")
    if expected.parts:
        found += _body_faults(it, expected, came)
    return found


def _body_faults(it: Target, expected: Wanted, came: Came) -> list[str]:
    if len(expected.parts) > 1:
        return _multipart_faults(it, expected, came)
    ((start, end),) = expected.parts
    found = [] if came.body == it.body[start:end] else [f"{len(came.body)} other bytes"]
    told = came.headers.get("content-range")
    meant = f"bytes {start}-{end - 1}/{it.size}" if came.status == 206 else None
    if told != meant:
        found.append(f"content-range {told}")
    if came.headers.get("content-type") != it.kind:
        found.append(f"content-type {came.headers.get('content-type')}")
    return found


def _multipart_faults(it: Target, expected: Wanted, came: Came) -> list[str]:
    """RFC 9110, 14.6: each part with its own head, and none in the answer's."""
    named = re.match(r"multipart/byteranges; *boundary=\"?([^\";]+)", came.headers.get("content-type", ""))
    if not named or "content-range" in came.headers:
        return [f"no multipart: {came.headers.get('content-type')}, content-range {came.headers.get('content-range')}"]
    mark = b"--" + named.group(1).encode()
    # The first stands at the beginning or behind a line end, the last one is followed by two hyphens.
    first, *parts, last = (b"\r\n" + came.body.removeprefix(b"\r\n")).split(b"\r\n" + mark)
    if first or not last.startswith(b"--") or len(parts) != len(expected.parts):
        return [f"{len(parts)} parts"]
    found = []
    for part, (start, end) in zip(parts, expected.parts, strict=True):
        head, _, body = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head.decode().split("\r\n"))}
        if body != it.body[start:end] or fields.get("content-range") != f"bytes {start}-{end - 1}/{it.size}":
            found.append(f"part {fields.get('content-range')} with {len(body)} bytes")
        if fields.get("content-type") != it.kind:
            found.append(f"part of type {fields.get('content-type')}")
    return found


def curl(url: str, headers: list[str]) -> Came:
    """One GET by curl, as it came."""
    with tempfile.TemporaryDirectory(prefix="evensong-curl-") as folder:
        head, body = Path(folder, "head"), Path(folder, "body")
        command = ["curl", "--silent", "--show-error", "--http1.1", "--max-time", str(SECONDS)]
        command += ["--dump-header", str(head), "--output", str(body), url]
        command += [part for header in headers for part in ("--header", header)]
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if ran.returncode:
            raise SystemExit(f"curl {url}, {headers}: {ran.stderr.strip()}")
        first, *lines = head.read_text(encoding="latin-1").strip().split("\n")
        pairs = (line.partition(":") for line in lines)
        fields = {name.lower(): value.strip() for name, _, value in pairs}
        return Came(int(first.split(" ")[1]), fields, body.read_bytes() if body.exists() else b"")


def target(url: str) -> Target:
    """The file as it is, from a GET without conditions."""
    came = curl(url, [])
    missing = [name for name in ("etag", "last-modified", "content-type", "date") if name not in came.headers]
    if came.status != 200 or missing:
        raise SystemExit(f"{url} was answered {came.status}, without {', '.join(missing) or 'a fault'}")
    modified = parsedate_to_datetime(came.headers["last-modified"])
    strong = parsedate_to_datetime(came.headers["date"]) - modified >= timedelta(seconds=1)
    older = format_datetime(modified - OLDER, usegmt=True)
    kind, tag = came.headers["content-type"], came.headers["etag"]
    return Target(url, came.body, kind, tag, came.headers["last-modified"], older, strong)


def started(stack: ExitStack, name: str, complaints: list[str]) -> str:
    """A server over one file; the file's address."""
    made = files.reel(1, seed=1)
    folder = stack.enter_context(files.Folder(made))
    peer = stack.enter_context(peers.start(name, complaints, folder.root))
    print(f"{peers.versions([name])}\n")
    return "http://%s:%d%s" % (*peer.address, peer.paths(made)[0])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=("evensong", "nginx", "express"), default="evensong", help="started over a file of its own (%(default)s)")
    parser.add_argument("--url", help="a file of a server that runs already")
    return parser.parse_args()


def main() -> int:
    given, complaints, wrong, count = arguments(), [], 0, 0
    machine.raise_open_files()
    with ExitStack() as stack:
        it = target(given.url or started(stack, given.server, complaints))
        print(f"A file of {it.size:,} bytes, {it.kind}, tag {it.tag}, modified {it.modified}.\n")
        print("| condition | range | RFC 9110 | came | |\n|---|---|---|---|---|")
        for condition, fields in conditions(it):
            for asked, more in ranges(it):
                expected, came = wanted(it, condition, asked), curl(it.url, fields + more)
                found = faults(it, expected, came)
                wrong, count = wrong + bool(found), count + 1
                seen = f"{came.status}, {len(came.body):,} bytes"
                verdict = f"**FAILED**: {'; '.join(found)}" if found else "ok"
                print(f"| {condition} | {asked} | {expected.status} (§{expected.section}) | {seen} | {verdict} |")
    print(f"\n{count - wrong} of {count} as RFC 9110 has it.")
    for line in complaints:
        print(f"    {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
