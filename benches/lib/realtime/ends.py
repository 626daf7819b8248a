"""Sessions that end badly in the middle of an answer: with an error of each kind, gone without a good word, cut off and gone on
with. What of them is still there afterwards; and of what was gone on with, whether anything was lost or told twice.

Who ends when and how is drawn beforehand, so that a seed tells the whole run.
"""

from __future__ import annotations

import asyncio
import random
import time
from argparse import Namespace
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlencode

from .. import client, machine
from ..dialogue.llm import Llm
from ..report import Figure, Report
from ..server import Server
from . import wire
from .crowd import in_parts
from .peers import GRACE_SECONDS, MIB

AT_ONCE = 24
# As many come first, so that what only grows to a size has grown.
WARM_UP_PART = 5
BUDGET_BYTES = 512 * MIB
TRIES, AGAIN_SECONDS = 40, 0.25
IDLE_PATIENCE_SECONDS = 15.0
# Events of an answer that are read before the end, and seconds away before one comes back.
EVENTS_MOST, AWAY_SECONDS = 20, 0.3
# What breaks the protocol, and the code by which that is told.
ERRORS = {
    "binary": (wire.frame(wire.BINARY, b"{}"), 1003),
    "no UTF-8": (wire.frame(wire.TEXT, b"\xff\xfe"), 1007),
    "unknown opcode": (wire.frame(3, b""), 1002),
    "no mask": (b"\x81\x02{}", 1002),
    "too large": (wire.head(wire.TEXT, 256 * 1024 + 1), 1009),
}
# Of which the model itself has the fault.
MODEL = ("die", "reset", "error", "broken")
GONE = ("RST", "FIN", "close 1000", "close 4000")


@dataclass
class Ended:
    """What was seen of them."""

    ends: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    resumes: int = 0
    gaps: int = 0


@dataclass(frozen=True)
class Session:
    """One, as it will be."""

    topic: int
    manner: str
    how: str
    events: int
    away: float
    question: str

    @staticmethod
    def draw(topic: int, manner: str, dice: random.Random) -> Session:
        how = dice.choice({"error": (*ERRORS, *MODEL), "abrupt": GONE, "resumed": ("RST", "FIN")}[manner])
        question = f"topic={topic} first={dice.randint(0, 100)} pace={dice.randint(10, 60)} sentences=2"
        if how in MODEL:
            question = f"topic={topic} pace={dice.randint(0, 20)} after={dice.randint(1, 12)} end={how} sentences=2"
        return Session(topic, manner, how, dice.randint(1, EVENTS_MOST), dice.uniform(0, AWAY_SECONDS), question)


def run(report: Report, given: Namespace) -> None:
    """See the module."""
    more = ("--realtime-grace-seconds", str(GRACE_SECONDS), "--budget-bytes", str(BUDGET_BYTES))
    with Llm() as llm, llm.server(report.complaints, *more) as server:
        asyncio.run(_crowd(server, max(1, given.ends // WARM_UP_PART), given.seed + 1, Ended(), 1_000_000))
        server.idle_after(time.monotonic(), IDLE_PATIENCE_SECONDS)
        before = server.ledger()
        llm.reset()
        ended, began = Ended(), time.monotonic()
        asyncio.run(_crowd(server, given.ends, given.seed, ended, 1))
        end = time.monotonic()
        idle_after = server.idle_after(end, IDLE_PATIENCE_SECONDS)
        after, stats, left = server.ledger(), llm.stats(), machine.connections(server.port)
    took = f"{end - began:.0f} s, seed {given.seed}; no room and asked again: {ended.refused}"
    failed = ", ".join(f"{count} × {what}" for what, count in ended.failed.most_common(4))
    hows = ", ".join(f"{count} × {how}" for how, count in ended.ends.most_common())
    report.figures += [
        Figure("ends: sessions", ended.ends.total(), least=3 * given.ends, detail=f"{took}; {hows}"),
        Figure("ends: gone on with", ended.resumes, least=given.ends),
        Figure("ends: events lost or told twice by that", ended.gaps, most=0),
        Figure("ends: ended otherwise", ended.failed.total(), most=0, detail=failed),
        Figure("ends: ledger idle after the last", idle_after, "s", most=GRACE_SECONDS + 1),
        *_ledger_figures(before, after),
        Figure("ends: connections of clients", left, most=0),
        Figure("ends: requests still open at the language model", stats["open"], most=0),
    ]


def _ledger_figures(before: dict, after: dict) -> list[Figure]:
    """What the server's own books say, to the last byte."""
    living = {kind["kind"]: kind["live"] for kind in after["kinds"] if kind["live"] and not kind["standing"]}
    held = after["budget"]["held"] + after["budget"]["reserved"]
    held += sum(kind["bytes"] for kind in after["kinds"] if not kind["standing"])
    figures = [
        Figure("ends: alive in the ledger", sum(living.values()), most=0, detail=str(living or "")),
        Figure("ends: bytes kept", held, "B", most=0),
        Figure("ends: ledger agrees with the process", int(after["agrees"]), least=1),
    ]
    # Beside the connections that are kept for the model's next request.
    for name, kept in (("fds", "upstream_socket"), ("tasks", "upstream_task")):
        was, now = (
            ledger["process"][name] - sum(kind["live"] for kind in ledger["kinds"] if kind["kind"] == kept)
            for ledger in (before, after)
        )
        figures.append(Figure(f"ends: {name} after", now, most=was))
    return figures


async def _crowd(server: Server, each: int, seed: int, ended: Ended, first_topic: int) -> None:
    dice = random.Random(seed)
    manners = ["error", "abrupt", "resumed"] * each
    dice.shuffle(manners)
    sessions = [Session.draw(first_topic + number, manner, dice) for number, manner in enumerate(manners)]

    async def one(session: Session) -> None:
        try:
            await _end(server.address, session, ended)
            ended.ends[f"{session.manner}: {session.how}"] += 1
        except (OSError, client.Broken, asyncio.TimeoutError) as error:
            ended.failed[f"{session.manner}, {session.how}: {error!r}"] += 1

    await in_parts(sessions, one, AT_ONCE)


async def _end(address: wire.Address, session: Session, ended: Ended) -> None:
    socket = await wire.WebSocket.open(address)
    try:
        token = await _begun(socket, session, ended)
        if session.how in MODEL:
            if (await _answered(socket))["status"] != "failed":
                raise client.Broken("the answer was to fail")
            return
        for _ in range(session.events):
            event = await socket.next()
            if event is None or event["type"] in ("response.done", "error"):
                break
        if session.manner == "error":
            message, code = ERRORS[session.how]
            socket.transport.write(message)
            if (got := await socket.ended()) != code:
                raise client.Broken(f"closed with {got} and not with {code}")
        elif session.how.startswith("close"):
            socket.transport.write(wire.close(int(session.how.split()[1])))
            await socket.ended()
        else:
            socket.cut(reset=session.how == "RST")
        if session.manner == "resumed":
            await asyncio.sleep(session.away)
            socket = await _come_again(address, socket, token, ended)
    finally:
        # Its last number counts what came, whoever took it.
        ended.gaps += socket.gaps
        socket.cut(reset=False)


async def _begun(socket: wire.WebSocket, session: Session, ended: Ended) -> str:
    """Asks until an answer is begun, since a full server may refuse; the session's token."""
    token, text = "", {"type": "input_text", "text": session.question}
    item = {"type": "message", "role": "user", "content": [text]}
    socket.send({"type": "conversation.item.create", "item": item})
    for _ in range(TRIES):
        socket.send({"type": "response.create"})
        while True:
            event = await socket.next()
            if event is None:
                raise client.Broken(f"ended with {socket.code} before an answer was begun")
            if event["type"] == "evensong.resume_token":
                token = event["token"]
            if event["type"] in ("response.created", "error"):
                break
        if event["type"] == "response.created":
            return token
        ended.refused += 1
        await asyncio.sleep(AGAIN_SECONDS)
    raise client.Broken(f"refused {TRIES} times: {event['error']}")


async def _answered(socket: wire.WebSocket) -> dict:
    while event := await socket.next():
        if event["type"] == "response.done":
            return event["response"]
    raise client.Broken(f"ended with {socket.code} within an answer")


async def _come_again(address: wire.Address, old: wire.WebSocket, token: str, ended: Ended) -> wire.WebSocket:
    """Goes on behind the last event that came, to the end of the answer, which may have come already."""
    query = urlencode({"resume": token, "after": f"event_{old.last}"})
    # What came and was not taken is looked at as well.
    is_over = False
    while event := await old.next():
        is_over = is_over or event["type"] == "response.done"
    socket = await wire.WebSocket.open(address, f"{wire.PATH}&{query}", last=old.last)
    try:
        event = await socket.next()
        if event is None or event["type"] != "evensong.resumed":
            raise client.Broken(f"behind {old.last} came {event}")
        if not is_over:
            done = await _answered(socket)
            if done["status"] != "completed":
                raise client.Broken(f"gone on with, it was {done['status']}")
        ended.resumes += 1
        ended.gaps += old.gaps
    except BaseException:
        socket.cut(reset=False)
        raise
    return socket
