"""Readers that stall until every buffer on their way is full, are cut off, and go on behind what they have read: what
they have in the end is, byte for byte, what an uncut one has. In every other turn that one listens beside them; in the
others they are alone, speech is the test signal, and the same was said before to somebody else.

A cut reader has nothing of what its kernel held for it. It says FIN or RST, by lot, and comes again with the id of the
last event that it had whole. Behind a proxy, which may take more ahead than the server keeps behind a reader, or all of
it, `410` and `204` are honest answers as well; a gap never is.
"""

from __future__ import annotations

import fcntl
import itertools
import random
import socket
import struct
import termios
import threading
import time
from argparse import Namespace
from collections import Counter
from dataclasses import dataclass, field

from .. import client
from ..relay import peers
from ..report import Figure, Report, percentile
from ..server import Server
from . import wire
from .llm import Llm

KIB = 1024
RECEIVE_BUFFER = 32 * KIB
# About a minute and a half of speech: 4 MB of pcm.
SENTENCES = 20
AT_ONCE = 4
# Read between two cuts, at most; it may be less than an event.
READ_MOST_BYTES = 192 * KIB
# Nothing has come for so long: all on the way is full. Shorter than what a slow listener beside others is given.
FULL_SECONDS = 0.15
# A turn that is resumed nowhere is given up.
CUTS_A_TURN = 40
# A dialogue that can be gone on with waits so long for somebody who does.
GRACE_SECONDS = 5
PROXY_CUTS = 60

_NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream}; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header Host localhost; proxy_buffering off; proxy_read_timeout 60s;
        }}
    }}
}}
"""


class Nginx(peers.Nginx):
    """As one would put it before the server."""

    configuration = _NGINX


@dataclass
class Seen:
    """Of all readers."""

    cuts: Counter[str] = field(default_factory=Counter)
    # Cuts of readers for whom the buffers were full.
    full: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    # By status: 410, what it had not heard is no longer held; 204, the dialogue is over.
    gone: Counter[int] = field(default_factory=Counter)
    turns: int = 0
    # Milliseconds from the question for more to the first event.
    resumed_ms: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def run(report: Report, given: Namespace) -> None:
    """See the module."""
    grace = ("--dialogue-grace-seconds", str(GRACE_SECONDS))
    with Llm() as llm, llm.server(report.complaints, "--speech-tone=true", *grace) as server:
        seen = Seen()
        _all_turns(server.address, seen, given.cuts, given.seed, given.formats)
        idle_after = server.idle_after(time.monotonic())
        report.figures += _figures("cuts", seen, given.cuts, idle_after)
        report.figures += [Figure(f"cuts: answered {status}", seen.gone[status], most=0) for status in (204, 410)]
        with Nginx(server.port) as proxy:
            seen = Seen()
            _all_turns(proxy.address, seen, min(PROXY_CUTS, given.cuts), given.seed + 1, given.formats)
            idle_after = server.idle_after(time.monotonic())
        report.figures += _figures("cuts, behind nginx", seen, min(PROXY_CUTS, given.cuts), idle_after)
        # Either way nobody is told that it was whole.
        for status, detail in (
            (204, "the dialogue was over by then"),
            (410, "it had taken more ahead than is kept"),
        ):
            report.figures.append(Figure(f"cuts, behind nginx: answered {status}", seen.gone[status], detail=detail))


def _figures(name: str, seen: Seen, count: int, idle_after: float) -> list[Figure]:
    manners = ", ".join(f"{times} × {manner}" for manner, times in seen.cuts.items())
    detail = f"{manners}; {seen.turns} turns; buffers full at {seen.full}"
    wrong = ", ".join(f"{times} × {what}" for what, times in seen.wrong.most_common(3))
    p99 = f"p99 {percentile(seen.resumed_ms, 0.99):.1f} ms"
    return [
        Figure(f"{name}: cut off", seen.cuts.total(), least=count, detail=detail),
        Figure(f"{name}: turns that were not the same to the last byte", seen.wrong.total(), most=0, detail=wrong),
        Figure(f"{name}: back to the next event, p50", percentile(seen.resumed_ms, 0.5), "ms", detail=p99),
        Figure(f"{name}: ledger idle after all left", idle_after * 1e3, "ms", most=(GRACE_SECONDS + 1) * 1e3),
    ]


def _all_turns(address: wire.Address, seen: Seen, count: int, seed: int, names: list[str]) -> None:
    """Turns side by side, one after the other, until there were `count` cuts."""

    def turns(place: int) -> None:
        dice = random.Random(f"{seed}/{place}")
        number = 0
        while seen.cuts.total() < count:
            topic, number = (place + 1) * 10_000 + number, number + 1
            try:
                turn = _turn_beside if number % 2 else _turn_alone
                turn(address, topic, names[number // 2 % len(names)], dice, seen, count)
            except (OSError, client.Broken) as error:
                with seen.lock:
                    seen.wrong[repr(error)] += 1
                    if seen.wrong.total() > 20:
                        return

    threads = [threading.Thread(target=turns, args=(place,)) for place in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _turn_beside(address: wire.Address, topic: int, format: str, dice: random.Random, seen: Seen, count: int) -> None:
    """A turn with two listeners, of whom one is cut again and again."""
    with wire.connect(address) as mouth, wire.connect(address) as ear:
        text = f"topic={topic} sentences={SENTENCES}"
        told = wire.converse(mouth, text=text, format=format, resumable=True)
        path = told["streams"]["events"]
        whole = _Uncut(ear, wire.listen(ear, path))
        whole.start()
        try:
            cut = _cut_reader(address, path, dice, seen, count)
        finally:
            whole.join(client.PATIENCE_SECONDS)
    if whole.failure:
        raise client.Broken(f"the uncut listener: {whole.failure}")
    with seen.lock:
        seen.turns += 1
        if cut is not None and cut != whole.events:
            seen.wrong[_difference(cut, whole.events)] += 1


def _turn_alone(address: wire.Address, topic: int, format: str, dice: random.Random, seen: Seen, count: int) -> None:
    """The same turn twice, with one listener each."""
    asked = {"text": f"topic={topic} sentences={SENTENCES}", "format": format, "model": "tone", "resumable": True}
    with wire.connect(address) as mouth:
        with wire.connect(address) as ear:
            whole = _Uncut(ear, wire.listen(ear, wire.converse(mouth, **asked)["streams"]["events"]))
            whole.run()
        path = wire.converse(mouth, **asked)["streams"]["events"]
        cut = _cut_reader(address, path, dice, seen, count)
    if whole.failure:
        raise client.Broken(f"the uncut listener: {whole.failure}")
    with seen.lock:
        seen.turns += 1
        if cut is None:
            return
        places = [event.id for event in cut]
        if places != [f"1.{place + 1}" for place in range(len(cut))]:
            seen.wrong["events that are missing, or came twice"] += 1
        elif _said(cut) != _said(whole.events):
            seen.wrong["another text or sound than before"] += 1


def _said(events: list[wire.Event]) -> tuple[str, bytes]:
    """What was said in all, in whatever pieces."""
    text = "".join(event.value["text"] for event in events if event.name == "text")
    return text, b"".join(event.audio for event in events)


class _Uncut(threading.Thread):
    """Reads all that comes, as it comes."""

    def __init__(self, stream: socket.socket, answer: wire.Events):
        super().__init__(daemon=True)
        self.stream, self.answer = stream, answer
        self.events: list[wire.Event] = []
        self.failure = ""

    def run(self) -> None:
        try:
            while not self.answer.is_done:
                self.answer.feed(self.stream.recv(client.READ_BYTES))
                self.events += [event for event in self.answer.take() if event.id]
        except (OSError, client.Broken) as error:
            self.failure = repr(error)


def _cut_reader(
    address: wire.Address, path: str, dice: random.Random, seen: Seen, count: int
) -> list[wire.Event] | None:
    """What a reader has after all its cuts; nothing where its place was no longer held."""
    events: list[wire.Event] = []
    cut_at = time.perf_counter()
    for number in itertools.count():
        stream = wire.connect(address, RECEIVE_BUFFER)
        with stream:
            began = time.perf_counter()
            last_id = events[-1].id if events else ""
            answer = wire.Events()
            stream.sendall(wire.get(path, last_id))
            # The last time it reads to the end.
            is_last = number == CUTS_A_TURN or seen.cuts.total() >= count
            most = float("inf") if is_last else dice.randrange(READ_MOST_BYTES)
            fresh = False
            while not answer.is_done and answer.body_bytes < most:
                left = most - answer.body_bytes
                answer.feed(stream.recv(int(min(left, client.READ_BYTES)) or 1))
                if answer.status in (204, 410):
                    with seen.lock:
                        seen.gone[answer.status] += 1
                    return None
                if answer.status not in (0, 200):
                    away = time.perf_counter() - cut_at
                    raise client.Broken(f"answered {answer.status} behind {last_id}, {away:.2f} s after it was cut off")
                taken = [event for event in answer.take() if event.id]
                events += taken
                if taken and not fresh and number:
                    fresh = True
                    with seen.lock:
                        seen.resumed_ms.append((time.perf_counter() - began) * 1e3)
            if answer.is_done:
                return events
            is_full = _wait_until_full(stream)
            manner, cut_at = dice.choice(("FIN", "RST")), time.perf_counter()
            if manner == "RST":
                wire.reset_at_close(stream)
            else:
                stream.shutdown(socket.SHUT_WR)
                # A close with bytes unread says RST as well, so the FIN goes first and has its moment.
                time.sleep(0.005)
        with seen.lock:
            seen.cuts[manner] += 1
            seen.full += is_full


def _wait_until_full(stream: socket.socket) -> bool:
    """Until what waits in this socket has not grown for a while; whether it is about as much as it holds."""
    waiting, since = _waiting(stream), time.monotonic()
    while time.monotonic() < since + FULL_SECONDS:
        time.sleep(0.01)
        now = _waiting(stream)
        if now != waiting:
            waiting, since = now, time.monotonic()
    return waiting >= RECEIVE_BUFFER // 2


def _waiting(stream: socket.socket) -> int:
    """Bytes that have come and were not read (tcp(7), SIOCINQ)."""
    return struct.unpack("i", fcntl.ioctl(stream, termios.FIONREAD, b"\0" * 4))[0]


def _difference(cut: list[wire.Event], whole: list[wire.Event]) -> str:
    """Where the two part, in words."""
    for ours, theirs in zip(cut, whole):
        if ours != theirs:
            return f"{ours.name} {ours.id} where {theirs.name} {theirs.id} was told"
    return f"{len(cut)} events instead of {len(whole)}"
