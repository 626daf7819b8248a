"""A full budget: those who are in do not notice, those who are not are told at once.

The players take bytes as a loudspeaker would. At each look a player asks its socket for what real
time has made due, so a late look of ours is no gap of the server's: only what was not there counts.
"""

from __future__ import annotations

import socket
import time
from argparse import Namespace
from dataclasses import dataclass

from . import client, formats
from .report import Figure, Report, percentile
from .server import Server

MIB = 1024 * 1024
BUDGET_BYTES = 16 * MIB
TEXT_CHARS = 4000
RUN_SECONDS = 12.0
LOOK_SECONDS = 0.025
# A player starts this long after its first audio, and may not be without any after that.
START_SECONDS = 0.2
# In a burst refused clients come at once, not one after the other.
BURST = 40
BURST_EVERY_SECONDS = 1.0
FILL_MOST = 200


@dataclass
class Player:
    """A client that plays pcm while it comes."""

    stream: socket.socket
    answer: client.Answer
    first: float
    gap_ms: float = 0.0
    is_broken: bool = False

    def look(self) -> None:
        """Takes what is due by now; what is missing beyond the start's lead is a gap."""
        due = int((time.monotonic() - self.first + START_SECONDS) * formats.PCM_BYTES_PER_SECOND)
        try:
            while self.answer.audio_bytes < due and not self.answer.is_done:
                missing = due - self.answer.audio_bytes
                self.answer.feed(self.stream.recv(min(missing, client.READ_BYTES)))
        except BlockingIOError:
            pass
        except (OSError, client.Broken):
            self.is_broken = True
        late = (due - self.answer.audio_bytes) / formats.PCM_BYTES_PER_SECOND - START_SECONDS
        if not self.answer.is_done:
            self.gap_ms = max(self.gap_ms, late * 1e3)


@dataclass
class Refused:
    """What those who came too late were told."""

    taken_ms: list[float]
    burst_ms: list[float]
    let_in: int = 0
    # Cut off before they could read a 503 with Retry-After.
    untold: int = 0


def run(report: Report, given: Namespace) -> None:
    """See the module; the players are pcm, since its bytes are time. Those who are refused ask for
    every format."""
    names = given.formats
    with Server(report.complaints, "--budget-bytes", str(BUDGET_BYTES)) as server:
        players = _fill(server)
        refused, reserved_most = Refused([], []), 0
        began = burst_at = time.monotonic()
        number = 0
        while (now := time.monotonic()) < began + RUN_SECONDS:
            for player in players:
                player.look()
            _ask(server, names[number % len(names)], refused)
            number += 1
            if now >= burst_at:
                burst_at = now + BURST_EVERY_SECONDS
                _burst(server, names, refused)
                reserved_most = max(reserved_most, server.ledger()["budget"]["reserved"])
            time.sleep(LOOK_SECONDS)
        for player in players:
            player.stream.close()
        idle_after = server.idle_after(time.monotonic())
    report.figures += [
        Figure("over budget: streams let in", len(players), least=8),
        Figure("over budget: most reserved", reserved_most / MIB, "MiB", most=BUDGET_BYTES / MIB),
        *_refused_figures(refused),
        *_player_figures(players),
        Figure("over budget: ledger idle after all left", idle_after * 1e3, "ms", most=1000),
    ]


def _refused_figures(refused: Refused) -> list[Figure]:
    return [
        _told("over budget: 503 with Retry-After, one by one", refused.taken_ms),
        _told(f"over budget: 503 with Retry-After, {BURST} at once", refused.burst_ms),
        Figure("over budget: cut off without being told", refused.untold, most=0),
        Figure("over budget: let in all the same", refused.let_in, most=0),
    ]


def _told(name: str, taken_ms: list[float]) -> Figure:
    detail = f"{len(taken_ms)} in all, p50 {percentile(taken_ms, 0.5):.1f} ms"
    return Figure(f"{name}, p99", percentile(taken_ms, 0.99), "ms", most=50, detail=detail)


def _player_figures(players: list[Player]) -> list[Figure]:
    worst = max(player.gap_ms for player in players)
    with_gap = sum(player.gap_ms > 0 for player in players)
    return [
        Figure("over budget: streams without audio at some moment", with_gap, most=0),
        Figure("over budget: longest gap", worst, "ms", most=100),
        Figure("over budget: streams that broke off", sum(p.is_broken for p in players), most=0),
    ]


def _fill(server: Server) -> list[Player]:
    """Lets players in until one is refused."""
    players: list[Player] = []
    for number in range(FILL_MOST):
        text = formats.prose(number, TEXT_CHARS)
        _, answer, stream = client.first_audio(server.address, text, "pcm")
        if not answer.has_audio:
            stream.close()
            break
        stream.setblocking(False)
        players.append(Player(stream, answer, time.monotonic()))
        for player in players:
            player.look()
    return players


def _ask(server: Server, name: str, refused: Refused) -> None:
    try:
        seconds, answer, stream = client.first_audio(server.address, formats.sentence(1), name)
    except (OSError, client.Broken):
        refused.untold += 1
        return
    stream.close()
    _count(answer, seconds, refused, refused.taken_ms)


def _burst(server: Server, names: list[str], refused: Refused) -> None:
    """All connect, then all ask, then all are read."""
    waiting = []
    for number in range(BURST):
        name = names[number % len(names)]
        message = client.request(formats.sentence(number), name)
        began, stream = time.perf_counter(), socket.create_connection(server.address, 5)
        waiting.append((began, stream, client.Answer(name), message))
    for _, stream, _, message in waiting:
        try:
            stream.sendall(message)
        except OSError:
            pass  # refused already; what it was told may still be there to be read
    for began, stream, answer, _ in waiting:
        with stream:
            try:
                while not (answer.has_audio or answer.is_done):
                    answer.feed(stream.recv(client.READ_BYTES))
            except (OSError, client.Broken):
                refused.untold += 1
            else:
                _count(answer, time.perf_counter() - began, refused, refused.burst_ms)


def _count(answer: client.Answer, seconds: float, refused: Refused, taken_ms: list[float]) -> None:
    if answer.is_refusal:
        taken_ms.append(seconds * 1e3)
    elif answer.status == 200:
        refused.let_in += 1
    else:
        refused.untold += 1
