"""How many dialogues at once are heard without a gap, against what the processors should give by what a second of
speech costs.

First the cost: CPU time of the server and its workers for each second of speech that clients get. Then the load grows
by steps, and stays. Each reader takes its events as they are played, a second ahead, with little room in its socket,
so that the server must keep pace with time; its clock starts with its first sound. At each look it asks its socket
for what is due, so a late look of ours is no gap of the server's: only what was not there counts. The language model,
the readers and the server share the machine, and what they take of it is in the table.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from argparse import Namespace
from dataclasses import dataclass, field

from .. import client, machine
from ..report import Figure, Report, percentile
from ..server import Server
from . import wire
from .llm import Llm

MIB = 1024 * 1024
# Room for more dialogues than the processors can speak: the budget is not what is measured.
BUDGET_BYTES = 4096 * MIB
# The cost is measured over this much speech, with so many readers that take all that comes.
COST_SECONDS, COST_AT_ONCE, COST_SENTENCES = 600, 4, 12
# A step is a part more than the one before, begun at this pace and then kept for as long.
STEP, BEGIN_A_SECOND, STAY_SECONDS = 1.25, 20.0, 10.0
GAP_MOST_MS = 100
LOOK_SECONDS = 0.025
AHEAD_SECONDS = 1.0
RECEIVE_BUFFER = 16 * 1024
READ_BYTES = 4096
TRIES, AGAIN_SECONDS = 20, 0.25
# Words come about as fast as from a quick model; the answer lasts longer than the bench.
LONG = "sentences=300 pace=40"
# Times what the cost allows: a load that goes beyond the processors would be no load.
STEPS_MOST = 1.5


@dataclass
class Player:
    """A client that plays what it is told."""

    format: str
    stream: socket.socket
    events: wire.Events
    # When its sound began, later by what was missing since.
    began: float | None = None
    audio_bytes: int = 0
    gap_ms: float = 0.0
    failure: str = ""

    def look(self) -> None:
        """Takes what is due and a little more; what is not there when it must be heard is a gap."""
        if self.failure:
            return
        try:
            while self._ahead() < AHEAD_SECONDS:
                self.events.feed(self.stream.recv(READ_BYTES))
                self._take()
        except BlockingIOError:
            pass
        except (OSError, client.Broken) as error:
            self.failure = repr(error)
        if self.began is not None:
            self.gap_ms = max(self.gap_ms, -self._ahead() * 1e3)

    def _take(self) -> None:
        for event in self.events.take():
            if event.is_last:
                raise client.Broken(f"{event.name}: {event.data[:120]}")
            sound = event.audio
            if sound:
                now = time.monotonic()
                self.began = now if self.began is None else self.began + max(0.0, -self._ahead())
                self.audio_bytes += len(sound)

    def _ahead(self) -> float:
        """Seconds that it has and has not played."""
        if self.began is None:
            return 0.0
        return self.audio_bytes / wire.RATES[self.format] - (time.monotonic() - self.began)


@dataclass
class Load:
    """All who listen, and how they came to."""

    server: Server
    format: str
    players: list[Player] = field(default_factory=list)
    refused: int = 0
    topics: int = 0

    def grow(self, count: int) -> bool:
        """Up to `count` players at the pace of beginning; false when somebody was not let in."""
        while len(self.players) < count:
            began = time.monotonic()
            player = self._begin()
            if not player:
                return False
            self.players.append(player)
            self.play(began + 1 / BEGIN_A_SECOND)
        return True

    def play(self, until: float) -> None:
        while True:
            for player in self.players:
                player.look()
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(LOOK_SECONDS, left))

    def _begin(self) -> Player | None:
        self.topics += 1
        asked = {"text": f"topic={self.topics} {LONG}", "format": self.format}
        for _ in range(TRIES):
            with wire.connect(self.server.address) as mouth:
                answer = wire.ask(mouth, wire.post(wire.CONVERSE, asked))
            if answer.status == 202:
                ear = wire.connect(self.server.address, RECEIVE_BUFFER)
                events = wire.listen(ear, answer.value["streams"]["events"])
                ear.setblocking(False)
                return Player(self.format, ear, events)
            if not answer.is_refusal:
                raise client.Broken(f"converse was answered {answer.status}: {bytes(answer.body[:200])!r}")
            self.refused += 1
            self.play(time.monotonic() + AGAIN_SECONDS)
        return None

    def worst(self) -> tuple[float, list[str]]:
        """The longest gap since this was asked last, and what ended streams."""
        gap = max(player.gap_ms for player in self.players)
        for player in self.players:
            player.gap_ms = 0.0
        return gap, [player.failure for player in self.players if player.failure]

    def close(self) -> None:
        for player in self.players:
            player.stream.close()


def run(report: Report, given: Namespace) -> None:
    """See the module; of the first of the formats."""
    name = given.formats[0]
    with Llm() as llm, llm.server(report.complaints) as server:
        cost, of = _cost(server, name)
    needed = max(1, int((os.cpu_count() or 1) / cost / 2))
    report.figures.append(Figure(f"capacity, {name}: CPU of a second of speech", cost * 1e3, "ms", detail=of))
    with Llm() as llm, llm.server(report.complaints, "--budget-bytes", str(BUDGET_BYTES)) as server:
        load = Load(server, name)
        try:
            reached, why, worst, spent = _climb(load, llm, needed)
        finally:
            load.close()
        idle_after = server.idle_after(time.monotonic())
    half = f"half of {os.cpu_count()} processors ÷ {cost * 1e3:.2f} ms"
    report.figures += [
        Figure(f"capacity, {name}: at once without a gap", reached, least=needed, detail=f"{half}; then {why}"),
        Figure(f"capacity, {name}: longest gap there", worst, "ms", most=GAP_MOST_MS, detail=spent),
        Figure(f"capacity, {name}: 503 on the way, and come again", load.refused),
        Figure(f"capacity, {name}: ledger idle after all left", idle_after * 1e3, "ms", most=1000),
    ]


def _cost(server: Server, name: str) -> tuple[float, str]:
    """CPU seconds of a second of speech, and over what."""
    _listen_to_all(server, name, 30)
    before = server.cpu_seconds()
    seconds = _listen_to_all(server, name, COST_SECONDS)
    spent = server.cpu_seconds() - before
    return spent / seconds, f"{spent:.1f} s for {seconds / 60:.1f} min, {COST_AT_ONCE} at once"


def _listen_to_all(server: Server, name: str, least: float) -> float:
    """Seconds of speech that were read as fast as it was made."""
    heard, topic = 0.0, 1_000_000
    while heard < least:
        ears = []
        for _ in range(COST_AT_ONCE):
            topic += 1
            with wire.connect(server.address) as mouth:
                told = wire.converse(mouth, text=f"topic={topic} sentences={COST_SENTENCES}", format=name)
            ear = wire.connect(server.address)
            ears.append((ear, wire.listen(ear, told["streams"]["events"])))
        for ear, events in ears:
            with ear:
                heard += _read_all(ear, events) / wire.RATES[name]
    return heard


def _read_all(ear: socket.socket, events: wire.Events) -> int:
    audio_bytes = 0
    while True:
        for event in events.take():
            audio_bytes += len(event.audio)
            if event.name == "done":
                return audio_bytes
            if event.is_last:
                raise client.Broken(f"{event.name}: {event.data[:120]}")
        events.feed(ear.recv(client.READ_BYTES))


def _climb(load: Load, llm: Llm, needed: int) -> tuple[int, str, float, str]:
    """The last number without a gap, why it was the last, its longest gap, and who took what of the processors."""
    count, reached, worst, spent = max(1, needed // 2), 0, float("nan"), ""
    while True:
        let_in = load.grow(count)
        began, before = time.monotonic(), _spent(load, llm)
        load.play(began + STAY_SECONDS)
        took, after = time.monotonic() - began, _spent(load, llm)
        gap, failures = load.worst()
        shares = [(later - earlier) / took for earlier, later in zip(before, after)]
        # A gap where others had the processors is theirs.
        names = ("server", "language model", "readers", "all")
        now = "CPU s/s: " + ", ".join(f"{name} {share:.2f}" for name, share in zip(names, shares))
        print(f"  {count} dialogues: longest gap {gap:.0f} ms; {now}", file=sys.stderr, flush=True)
        if not let_in:
            return reached, f"{len(load.players)} of {count} let in ({now})", worst, spent
        if failures:
            return reached, f"at {count} {len(failures)} ended: {failures[0]} ({now})", worst, spent
        if gap > GAP_MOST_MS:
            return reached, f"a gap of {gap:.0f} ms at {count} ({now})", worst, spent
        reached, worst, spent = count, gap, now
        if count >= needed * 2 * STEPS_MOST:
            return reached, "no more was tried", worst, spent
        count = int(count * STEP) + 1


def _spent(load: Load, llm: Llm) -> tuple[float, ...]:
    ours = load.server.cpu_seconds(), machine.cpu_seconds(llm.pid), time.process_time()
    return *ours, machine.busy_seconds()
