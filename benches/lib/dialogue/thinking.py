"""How soon a client that listens is told that its question is being thought about.

The client follows its dialogue on one kept connection and asks on another; the language model says nothing, so that
each question also ends the turn before it, as somebody does who interrupts.
"""

from __future__ import annotations

import select
import socket
import time
from argparse import Namespace
from contextlib import ExitStack
from dataclasses import dataclass, field

from .. import client
from ..report import Figure, Report, percentile
from . import wire
from .llm import Llm

DIALOGUES = 8
TURNS, WARM_UP = 640, 64
MOST_MS = 5
SILENT = "end=mute What do you think?"


@dataclass
class Taken:
    """Milliseconds from the question on."""

    thinking: list[float] = field(default_factory=list)
    accepted: list[float] = field(default_factory=list)


class Talker:
    """One dialogue with its two connections."""

    def __init__(self, address: wire.Address, stack: ExitStack):
        self.mouth = stack.enter_context(wire.connect(address))
        self.ear = stack.enter_context(wire.connect(address))
        told = wire.converse(self.mouth, text=SILENT)
        self.dialogue, self.epoch = told["dialogueId"], told["epoch"]
        self.events = wire.listen(self.ear, wire.follow(told["streams"]["events"]))
        wire.hear(self.ear, self.events, lambda event: event.name == "thinking")
        self.both = select.poll()
        for end in (self.mouth, self.ear):
            self.both.register(end, select.POLLIN)

    def turn(self, taken: Taken) -> None:
        """One question, until it was accepted and the client was told of it."""
        answer, thinking, accepted = wire.Whole(), None, None
        message = wire.post(wire.CONVERSE, {"text": SILENT, "dialogueId": self.dialogue})
        began = time.perf_counter()
        self.mouth.sendall(message)
        while thinking is None or accepted is None:
            for descriptor, _ in self.both.poll(client.PATIENCE_SECONDS * 1e3):
                if descriptor == self.ear.fileno():
                    self.events.feed(self.ear.recv(client.READ_BYTES))
                    now = time.perf_counter()
                    if any(self._is_new(event) for event in self.events.take()):
                        thinking = now
                else:
                    answer.feed(self.mouth.recv(client.READ_BYTES))
                    accepted = time.perf_counter() if answer.is_done else None
        if answer.status != 202:
            raise client.Broken(f"converse was answered {answer.status}: {bytes(answer.body[:200])!r}")
        self.epoch = answer.value["epoch"]
        taken.thinking.append((thinking - began) * 1e3)
        taken.accepted.append((accepted - began) * 1e3)

    def _is_new(self, event: wire.Event) -> bool:
        """A turn that takes long says again that it thinks."""
        return event.name == "thinking" and event.value["epoch"] > self.epoch


def run(report: Report, given: Namespace) -> None:
    """See the module."""
    taken, first = Taken(), []
    with Llm() as llm, llm.server(report.complaints) as server:
        with ExitStack() as stack:
            talkers = [Talker(server.address, stack) for _ in range(DIALOGUES)]
            for number in range(WARM_UP + TURNS):
                talkers[number % DIALOGUES].turn(Taken() if number < WARM_UP else taken)
        for _ in range(given.turns):
            first.append(_from_nothing(server.address))
        idle_after = server.idle_after(time.monotonic())
    accepted = f"its answer p50 {percentile(taken.accepted, 0.5):.2f}, p99 {percentile(taken.accepted, 0.99):.2f} ms"
    p50, p99 = (percentile(taken.thinking, part) for part in (0.5, 0.99))
    report.figures += [
        Figure("thinking: question to event, p50", p50, "ms", detail=f"{TURNS} turns"),
        Figure("thinking: question to event, p99", p99, "ms", most=MOST_MS, detail=accepted),
        Figure("thinking: a new dialogue, attached and told, p50", percentile(first, 0.5), "ms"),
        Figure("thinking: ledger idle after all left", idle_after * 1e3, "ms", most=1000),
    ]


def _from_nothing(address: wire.Address) -> float:
    """Milliseconds of a whole beginning: connect, ask, attach, hear that it thinks."""
    began = time.perf_counter()
    with wire.connect(address) as mouth, wire.connect(address) as ear:
        told = wire.converse(mouth, text=SILENT)
        events = wire.listen(ear, told["streams"]["events"])
        wire.hear(ear, events, lambda event: event.name == "thinking")
        taken = (time.perf_counter() - began) * 1e3
        ear.shutdown(socket.SHUT_RDWR)
    return taken
