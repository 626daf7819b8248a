"""An hour of browsing at a hundred GIFs a minute, compressed in time: no browser keeps anything, and neither does the server.
Its memory must be flat."""

from __future__ import annotations

import http.client
import math
import statistics
import threading
import time
from argparse import Namespace
from collections import Counter

from .. import machine
from ..report import Figure, Report
from . import files, peers

MIB = 1024 * 1024
A_MINUTE = 100
BROWSERS = 4
WARM_UP_GETS = 600
SAMPLE_SECONDS = 0.1
# Samples that follow each other say nearly the same, so the line is drawn through the means of so many stretches; Student's
# t of 95 % for two fewer.
STRETCHES, STUDENT = 20, 2.101
# The allocator's own coming and going. One file in a thousand that stays would be 2.4 MB.
MOST_GROWTH_MIB = 2.0


class Browsers:
    """Fetches files, one after the other in each browser, at a pace in all; every byte is compared."""

    def __init__(self, address: tuple[str, int], targets: list[tuple[files.File, str]], a_second: float):
        self.address, self.targets, self.a_second = address, targets, a_second
        self.wrong: Counter[str] = Counter()
        self.fetched = 0
        self.lock = threading.Lock()

    def browse(self, count: int) -> float:
        """Fetches so many, and says in how many seconds."""
        began, numbers = time.monotonic(), iter(range(count))
        threads = [threading.Thread(target=self._loop, args=(numbers, began)) for _ in range(BROWSERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.monotonic() - began

    def _loop(self, numbers: object, began: float) -> None:
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        while True:
            with self.lock:
                number = next(numbers, None)
            if number is None:
                return connection.close()
            time.sleep(max(0.0, began + number / self.a_second - time.monotonic()))
            file, path = self.targets[number % len(self.targets)]
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                body = answer.read()
                fault = "" if answer.status == 200 and body == file.content else f"{answer.status} with {len(body)} bytes"
            except (OSError, http.client.HTTPException) as error:
                fault = repr(error)
                connection.close()
            with self.lock:
                self.fetched += not fault
                self.wrong[fault] += bool(fault)


class Watch:
    """VmRSS of a process over time."""

    def __init__(self, pid: int):
        self.pid, self.samples, self.over = pid, [], threading.Event()
        self.thread = threading.Thread(target=self._loop)

    def __enter__(self) -> Watch:
        self.began = time.monotonic()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def _loop(self) -> None:
        while not self.over.wait(SAMPLE_SECONDS):
            self.samples.append((time.monotonic() - self.began, machine.resident(self.pid).whole))

    def slope(self) -> tuple[float, float, float]:
        """Bytes a second: the line's, and between what it is with 95 % confidence."""
        if len(self.samples) < 3 * STRETCHES:
            return math.nan, math.nan, math.nan
        size = len(self.samples) / STRETCHES
        cuts = [self.samples[round(n * size) : round((n + 1) * size)] for n in range(STRETCHES)]
        times = [statistics.mean(at for at, _ in cut) for cut in cuts]
        means = [statistics.mean(rss for _, rss in cut) for cut in cuts]
        slope, base = statistics.linear_regression(times, means)
        rest = sum((rss - base - slope * at) ** 2 for at, rss in zip(times, means)) / (STRETCHES - 2)
        spread = sum((at - statistics.mean(times)) ** 2 for at in times)
        either = STUDENT * math.sqrt(rest / spread)
        return slope, slope - either, slope + either


def run(report: Report, given: Namespace) -> None:
    made = files.reel(given.files, given.seed)
    count = given.minutes * A_MINUTE
    with files.Folder(made) as folder, peers.Evensong(report.complaints, folder.root, "--media-hot-bytes", "0") as server:
        targets = list(zip(made, server.paths(made), strict=True))
        browsers = Browsers(server.address, targets, given.pace)
        browsers.browse(WARM_UP_GETS)
        browsers.fetched = 0
        with Watch(server.pid) as watch:
            took = browsers.browse(count)
        slope, low, high = watch.slope()
        idle_after = server.idle_after(time.monotonic())
    # A line is of the whole time, and this is how long that took.
    growth, least, most = (each * took / MIB for each in (slope, low, high))
    detail = f"95 % between {least:+.2f} and {most:+.2f}; {count} GETs in {took:.0f} s, for {given.minutes} min"
    minute = f"from {min(r for _, r in watch.samples) / MIB:.1f} to {max(r for _, r in watch.samples) / MIB:.1f} MiB"
    wrong = "; ".join(f"{times} × {what}" for what, times in browsers.wrong.most_common(3) if what)
    report.figures += [
        Figure("browse: GIFs fetched whole", browsers.fetched, least=count, detail=wrong),
        Figure("browse: RSS's growth, caches off", growth, "MiB", most=MOST_GROWTH_MIB, detail=detail),
        Figure("browse: a minute of it", growth / given.minutes * 1024, "KiB", detail=minute),
        Figure("browse: ledger idle after", idle_after * 1e3, "ms", most=1000),
    ]
