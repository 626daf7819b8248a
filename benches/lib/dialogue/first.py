"""From the language model's first clause to the first byte of its sound at the client, which listens already.

Both clocks are one. The model says its first clause and the beginning of the next at once, so that it is certain that
the clause is whole, and writes down when that was, just before it sends. Answers from the index have no such moment:
they are timed from the question, and are there for the record.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace

from .. import client, formats
from ..report import Figure, Report, percentile
from ..server import Server
from . import wire
from .llm import Llm

WARM_UP = 10
MOST_MS = 20
# Shorter than what is cut in two.
CLAUSE_CHARS = 56
# In which the client has attached.
BEFORE_MS = 50
NOTES = 100


def run(report: Report, given: Namespace) -> None:
    """Each format by itself."""
    for name in given.formats:
        with Llm() as llm, llm.server(report.complaints) as server:
            heard = [_turn(server.address, name, topic) for topic in range(1, WARM_UP + given.turns + 1)]
            said = llm.by_topic()
        late = [(at - said[topic]["clause_ms"] / 1e3) * 1e3 for topic, at in enumerate(heard, start=1)][WARM_UP:]
        report.figures += [
            _p(f"first, {name}: clause to sound", late, 0.5, MOST_MS),
            _p(f"first, {name}: clause to sound", late, 0.99),
        ]
    with Server(report.complaints, "--insecure-admin") as server:
        _put_notes(server.address)
        taken = [_found(server.address, number) for number in range(NOTES)][WARM_UP:]
    report.figures += [
        _p("first, from the index: question to sound", taken, 0.5),
        _p("first, from the index: question to sound", taken, 0.99),
    ]


def _p(name: str, taken: list[float], part: float, most: float | None = None) -> Figure:
    value = percentile(taken, part)
    return Figure(f"{name}, p{part * 100:.0f}", value, "ms", most=most, detail=f"{len(taken)} turns")


def _turn(address: wire.Address, format: str, topic: int) -> float:
    """When its first sound came."""
    said = " ".join(formats.sentence(topic * 2 + part, CLAUSE_CHARS) for part in (0, 1))
    with wire.connect(address) as mouth, wire.connect(address) as ear:
        told = wire.converse(mouth, text=f"topic={topic} first={BEFORE_MS} say: {said}", format=format)
        events = wire.listen(ear, told["streams"]["events"])
        _, at = wire.hear(ear, events, lambda event: bool(event.audio))
        # To its end, so that no turn pays for cancelling the one before.
        wire.hear(ear, events, lambda event: event.name == "done")
    return at


def _put_notes(address: wire.Address) -> None:
    """Something to be found, each by a number of its own."""
    lines = "\n".join(json.dumps(_note(number)) for number in range(NOTES))
    message = wire.post("/api/search/documents", lines.encode(), "application/x-ndjson")
    with wire.connect(address) as stream:
        answer = wire.ask(stream, message)
    if answer.status != 200 or answer.value["indexed"] != NOTES:
        raise client.Broken(f"notes were answered {answer.status}: {bytes(answer.body[:200])!r}")


def _note(number: int) -> dict[str, str]:
    text = f"The bell called Bell{number} rings again. {formats.sentence(number)}"
    return {"id": f"note-{number}", "type": "note", "title": f"Note {number}", "text": text}


def _found(address: wire.Address, number: int) -> float:
    """Milliseconds from the question to its first sound."""
    with wire.connect(address) as mouth, wire.connect(address) as ear:
        began = time.monotonic()
        told = wire.converse(mouth, text=f"What is said of Bell{number}?", format="pcm")
        if told["answering"] != "found":
            raise client.Broken(f"answered by {told['answering']}")
        events = wire.listen(ear, told["streams"]["events"])
        _, at = wire.hear(ear, events, lambda event: bool(event.audio))
        wire.hear(ear, events, lambda event: event.name == "done")
    return (at - began) * 1e3
