"""A process's memory over time, and whether it grows."""

from __future__ import annotations

import math
import statistics
import threading
import time

from .. import machine

MIB = 1024 * 1024


class Watch:
    """Samples of RssAnon: what a process has written to and nobody else could give back. Pages of mapped files, such as
    an index, come and go with the kernel's cache and are no leak."""

    def __init__(self, pid: int, interval: float):
        self.pid, self.interval = pid, interval
        self.samples: list[tuple[float, int]] = []
        self.most_rss = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._loop)

    def __enter__(self) -> Watch:
        self.began = time.monotonic()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def _loop(self) -> None:
        while not self.over.wait(self.interval):
            resident = machine.resident(self.pid)
            if not resident.anonymous:
                return
            self.samples.append((time.monotonic() - self.began, resident.anonymous))
            self.most_rss = max(self.most_rss, resident.whole)

    def growth(self) -> tuple[float, str]:
        """Bytes over the second half of the time, by the line of least squares through its samples; and in words. Not a
        number where there are too few of them to say."""
        half = [sample for sample in self.samples if sample[0] >= self.samples[-1][0] / 2]
        if len(half) < 10:
            return math.nan, f"{len(half)} samples"
        slope, _ = statistics.linear_regression([at for at, _ in half], [rss for _, rss in half])
        span = half[-1][0] - half[0][0]
        low, high = (extreme(rss for _, rss in half) / MIB for extreme in (min, max))
        said = f"{slope / 1024:+.2f} KiB/s over {span:.0f} s, {len(half)} samples from {low:.1f} to {high:.1f} MiB"
        return slope * span, said
