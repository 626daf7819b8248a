"""The stub upstream as the benches hold it: a process of its own, asked through a pipe, so that nothing but the
streams themselves is on its port."""

from __future__ import annotations

import itertools
import multiprocessing
import time

from . import engine
from .engine import Record

# So little that what is written has nearly been taken; the kernel doubles it.
SMALL_SEND_BUFFER = 16 * 1024
LOOK_SECONDS = 0.1


class Stub:
    """A running stub; it ends with its `with` block. A send buffer of 0 leaves it to the kernel, and
    chunks of 0 bytes are none: the answer says its length."""

    def __init__(self, send_buffer: int = 0, chunk: int = engine.CHUNK):
        # Not forked, so that it holds none of our sockets open.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, send_buffer, chunk)
        self._process = context.Process(target=engine.run, args=arguments, daemon=True)
        self._numbers = itertools.count(1)

    def __enter__(self) -> Stub:
        self._process.start()
        self.address = self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()

    @property
    def port(self) -> int:
        return self.address[1]

    def numbers(self, count: int) -> list[int]:
        """Numbers of new streams."""
        return list(itertools.islice(self._numbers, count))

    def records(self) -> dict[int, Record]:
        """All requests so far, by their stream's number; of one that was asked for twice the later."""
        self._pipe.send("look")
        return {record["number"]: Record(**record) for record in self._pipe.recv()}

    def settle(self, quiet: float = 1.0, patience: float = 30.0) -> dict[int, Record]:
        """Waits until nothing has been taken for `quiet` seconds."""
        until = time.monotonic() + patience
        before, since = self.records(), time.monotonic()
        while time.monotonic() < min(until, since + quiet):
            time.sleep(LOOK_SECONDS)
            now = self.records()
            if now != before:
                before, since = now, time.monotonic()
        return before
