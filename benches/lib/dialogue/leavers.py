"""Dialogues that are begun and left at random moments, in each manner that there is, some of them to be gone on with:
what of them is still there afterwards, and how soon the language model knew.

Who leaves, when and how is drawn beforehand, so that a seed tells the whole run. A leave is timed from just before the
socket is told to the moment at which the model's own server saw its connection end; both clocks are one.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from .. import client
from ..report import Figure, Report, percentile
from ..search.watch import Watch
from ..server import Server
from . import wire
from .llm import Llm

KIB, MIB = 1024, 1024 * 1024
AT_ONCE = 24
# As many come first, so that what only grows to a size has grown.
WARM_UP_PART = 5
# From attaching on; the model needs longer than that for most of its answers.
STAY_SECONDS, AWAY_SECONDS = 0.9, 0.5
GULPS_MOST = 3
# For those whom nobody attaches to, and for those who may come again. Both are settings, here short, so that the end of
# the run needs no waiting for.
ATTACH_SECONDS = GRACE_SECONDS = 2
IDLE_PATIENCE_SECONDS = 15.0
MOST_LEAVE_MS = 50
# What the other benches call flat, and an allocator's own coming and going.
MOST_GROWTH_BYTES = 2 * MIB
MOST_KEPT_BYTES = 64
SAMPLE_SECONDS = 0.25
ALLOCATED_LOOKS = 4
TRIES, AGAIN_SECONDS = 40, 0.5

# How it is left, and how often: by its listener's socket, by a word, by another question, by never being listened to,
# or not before its end.
MANNERS = {"FIN": 25, "RST": 25, "close": 25, "DELETE": 10, "question": 5, "unheard": 3, "done": 7}
RESUMED_PART = 10


@dataclass
class Leaver:
    """One dialogue, as it will be."""

    topic: int
    manner: str
    # Listens to the sound itself instead of events.
    is_plain: bool
    is_resumed: bool
    text: str
    stay: float
    away: float
    gulps: int

    @staticmethod
    def draw(topic: int, dice: random.Random) -> Leaver:
        manner = dice.choices(list(MANNERS), MANNERS.values())[0]
        is_resumed = topic % RESUMED_PART == 0
        if is_resumed:
            manner = dice.choice(("FIN", "RST", "close"))
        pace, first, sentences = dice.randint(40, 160), dice.randint(0, 200), dice.randint(3, 6)
        text = f"topic={topic} first={first} pace={pace} sentences={sentences}"
        if manner == "done":
            text = f"topic={topic} sentences=1"
        return Leaver(
            topic,
            manner,
            not is_resumed and dice.random() < 0.25,
            is_resumed,
            text,
            # Some in the first milliseconds.
            dice.uniform(0, STAY_SECONDS) * (0.02 if dice.random() < 0.2 else 1),
            dice.uniform(0, AWAY_SECONDS),
            dice.randint(0, GULPS_MOST),
        )


@dataclass
class Crowd:
    """What was seen of them."""

    left: Counter[str] = field(default_factory=Counter)
    # By topic: when nobody was left who wanted it.
    left_at: dict[int, float] = field(default_factory=dict)
    resumed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)


def run(report: Report, given: Namespace) -> None:
    """See the module."""
    short = ("--dialogue-attach-seconds", str(ATTACH_SECONDS), "--dialogue-grace-seconds", str(GRACE_SECONDS))
    with Llm() as llm, llm.server(report.complaints, *short, "--memory-interval-seconds", "1") as server:
        asyncio.run(_crowd(server, given.leavers // WARM_UP_PART, given.seed + 1, Crowd(), 1_000_000))
        server.idle_after(time.monotonic(), IDLE_PATIENCE_SECONDS)
        before, allocated = server.ledger(), _allocated(server)
        llm.reset()
        crowd, began = Crowd(), time.monotonic()
        with Watch(server.pid, SAMPLE_SECONDS) as watch:
            asyncio.run(_crowd(server, given.leavers, given.seed, crowd, 1))
        end = time.monotonic()
        idle_after = server.idle_after(end, IDLE_PATIENCE_SECONDS)
        after, kept = server.ledger(), _allocated(server) - allocated
        stats = llm.stats()
    manners = ", ".join(f"{count} × {manner}" for manner, count in crowd.left.most_common())
    failed = ", ".join(f"{count} × {what}" for what, count in crowd.failed.most_common(4))
    refused = ", ".join(f"{count} × {why}" for why, count in crowd.refused.items()) or "none"
    took = f"{end - began:.0f} s, seed {given.seed}; {manners}; 503 and came again: {refused}"
    growth, said = watch.growth()
    report.figures += [
        Figure("leavers: dialogues left", crowd.left.total(), least=given.leavers, detail=took),
        Figure("leavers: gone on with by the last event's id", crowd.resumed, least=given.leavers // RESUMED_PART),
        Figure("leavers: failed otherwise", crowd.failed.total(), most=0, detail=failed),
        Figure("leavers: ledger idle after the last", idle_after * 1e3, "ms", most=(GRACE_SECONDS + 1) * 1e3),
        *_ledger_figures(before, after, given.leavers),
        Figure(
            "leavers: allocated more than before, a dialogue",
            kept / given.leavers,
            "B",
            most=MOST_KEPT_BYTES,
            detail=f"{kept / KIB:+.0f} KiB in all",
        ),
        Figure(
            "leavers: RssAnon's growth in the second half",
            growth / MIB,
            "MiB",
            most=MOST_GROWTH_BYTES / MIB,
            detail=said,
        ),
        *_model_figures(stats, crowd),
    ]


def _ledger_figures(before: dict, after: dict, count: int) -> list[Figure]:
    """What the server's own books say, to the last byte."""
    living = {kind["kind"]: kind["live"] for kind in after["kinds"] if kind["live"] and not kind["standing"]}
    held = after["budget"]["held"] + after["budget"]["reserved"]
    held += sum(kind["bytes"] for kind in after["kinds"] if not kind["standing"])
    ever = {kind["kind"]: kind["ever"] for kind in after["kinds"]}
    figures = [
        Figure("leavers: dialogues that the ledger knew", ever.get("dialogue", 0), least=count),
        Figure("leavers: of them alive", sum(living.values()), most=0, detail=str(living or "")),
        Figure("leavers: bytes kept, a dialogue", held / count, "B", most=0),
        Figure("leavers: ledger agrees with the process", int(after["agrees"]), least=1),
    ]
    # Beside the connections that are kept for the model's next request.
    for name, kept in (("fds", "upstream_socket"), ("tasks", "upstream_task")):
        was, now = (ledger["process"][name] - _live(ledger, kept) for ledger in (before, after))
        figures.append(Figure(f"leavers: {name} after", now, most=was))
    return figures


def _live(ledger: dict, name: str) -> int:
    return sum(kind["live"] for kind in ledger["kinds"] if kind["kind"] == name)


def _model_figures(stats: dict, crowd: Crowd) -> list[Figure]:
    """The same, as the language model saw it."""
    turns = {turn["topic"]: turn for turn in stats["turns"]}
    asked = [topic for topic in crowd.left_at if topic in turns]
    late = [turns[topic]["ended_ms"] - crowd.left_at[topic] * 1e3 for topic in asked if turns[topic]["state"] == "left"]
    detail = f"p50 {percentile(late, 0.5):.1f}, at most {max(late, default=float('nan')):.1f}, of {len(late)}"
    states = Counter(turn["state"] for turn in turns.values())
    said = ", ".join(f"{count} × {state}" for state, count in states.items())
    p99 = percentile(late, 0.99)
    return [
        Figure("leavers: requests still open at the language model", stats["open"], most=0, detail=said),
        Figure("leavers: leave to the model's seeing it, p99", p99, "ms", most=MOST_LEAVE_MS, detail=detail),
    ]


def _allocated(server: Server) -> int:
    """Bytes that are in use by the allocator's books when nobody is there: the least of the watch's next samples, since
    looking needs some as well."""

    def newest() -> dict[str, int]:
        return json.loads(server.get("/debug/memory"))["samples"][-1]

    looks, last = [], newest()["at_ms"]
    while len(looks) < ALLOCATED_LOOKS:
        time.sleep(0.1)
        sample = newest()
        if sample["at_ms"] > last:
            looks.append(sample["allocated_bytes"])
            last = sample["at_ms"]
    return min(looks)


async def _crowd(server: Server, count: int, seed: int, crowd: Crowd, first_topic: int) -> None:
    dice = random.Random(seed)
    waiting = iter([Leaver.draw(first_topic + number, dice) for number in range(count)])

    async def clients() -> None:
        mouth: socket.socket | None = None
        for leaver in waiting:
            try:
                mouth = mouth or await client.connect(server.address, b"")
                await _live_and_leave(server.address, mouth, leaver, crowd)
                crowd.left[leaver.manner] += 1
            except (OSError, client.Broken, asyncio.TimeoutError) as error:
                crowd.failed[f"{leaver.manner}: {error!r}"] += 1
                if mouth:
                    mouth.close()
                mouth = None
        if mouth:
            mouth.close()

    await asyncio.gather(*(clients() for _ in range(AT_ONCE)))


async def _live_and_leave(address: wire.Address, mouth: socket.socket, leaver: Leaver, crowd: Crowd) -> None:
    told = await _converse(mouth, leaver, crowd)
    dialogue = told["dialogueId"]
    if leaver.manner == "unheard":
        # In time, so that the last of them is over with the rest.
        return
    path = told["streams"]["audio" if leaver.is_plain else "events"]
    ear = await client.connect(address, wire.get(path))
    answer = client.Answer("mp3") if leaver.is_plain else wire.Events()
    try:
        if leaver.manner == "done":
            return await _read(ear, answer)
        await _stay(ear, answer, leaver)
        if leaver.is_resumed and not answer.is_done:
            # There is nothing behind which to go on before the first event.
            await _read(ear, answer, lambda: bool(answer.take() or answer.last_id))
            await _leave(ear, leaver)
            await asyncio.sleep(leaver.away)
            ear, answer = await _come_again(address, path, answer.last_id)
            crowd.resumed += 1
            await asyncio.sleep(leaver.stay / 2)
        if leaver.manner == "DELETE":
            crowd.left_at[leaver.topic] = time.monotonic()
            gone = await _ask(mouth, wire.delete(f"/api/voice/dialogues/{dialogue}"))
            if gone.status not in (204, 404):
                raise client.Broken(f"DELETE was answered {gone.status}")
        elif leaver.manner == "question":
            crowd.left_at[leaver.topic] = time.monotonic()
            message = wire.post(wire.CONVERSE, {"text": "end=mute Wait, what?", "dialogueId": dialogue})
            again = await _ask(mouth, message)
            if again.status not in (202, 404) and not again.is_refusal:
                raise client.Broken(f"a second question was answered {again.status}")
        elif answer.status and not leaver.is_resumed:
            # Who has no head yet may not be a listener yet, and its dialogue waits for one for a while.
            crowd.left_at[leaver.topic] = time.monotonic()
        await _leave(ear, leaver)
    finally:
        ear.close()


async def _converse(mouth: socket.socket, leaver: Leaver, crowd: Crowd) -> dict:
    asked = {"text": leaver.text, "resumable": leaver.is_resumed}
    for _ in range(TRIES):
        answer = await _ask(mouth, wire.post(wire.CONVERSE, asked))
        if answer.status == 202:
            return answer.value
        if not answer.is_refusal:
            raise client.Broken(f"converse was answered {answer.status}: {bytes(answer.body[:200])!r}")
        crowd.refused[answer.value["type"]] += 1
        await asyncio.sleep(AGAIN_SECONDS)
    raise client.Broken(f"refused {TRIES} times")


async def _ask(mouth: socket.socket, message: bytes) -> wire.Whole:
    loop, answer = asyncio.get_running_loop(), wire.Whole()
    await loop.sock_sendall(mouth, message)
    while not answer.is_done:
        answer.feed(await asyncio.wait_for(loop.sock_recv(mouth, client.READ_BYTES), client.PATIENCE_SECONDS))
    return answer


async def _read(ear: socket.socket, answer: client.Answer, is_enough: Callable[[], bool] = lambda: False) -> None:
    """Reads until then, or until the end."""
    loop = asyncio.get_running_loop()
    while not is_enough() and not answer.is_done:
        answer.feed(await asyncio.wait_for(loop.sock_recv(ear, client.READ_BYTES), client.PATIENCE_SECONDS))
        if answer.status not in (0, 200):
            raise client.Broken(f"the stream was answered {answer.status}")


async def _stay(ear: socket.socket, answer: client.Answer, leaver: Leaver) -> None:
    """Stays for its time and reads now and then, so that some leave while the server sends, some while it is blocked,
    some while it waits for the model."""
    for _ in range(leaver.gulps):
        await asyncio.sleep(leaver.stay / (leaver.gulps + 1))
        try:
            data = ear.recv(client.READ_BYTES)
        except BlockingIOError:
            continue
        answer.feed(data)
        if answer.status not in (0, 200):
            raise client.Broken(f"the stream was answered {answer.status}")
        if answer.is_done:
            return
    await asyncio.sleep(leaver.stay / (leaver.gulps + 1))


async def _come_again(address: wire.Address, path: str, last_id: str) -> tuple[socket.socket, wire.Events]:
    """Goes on behind its last event: the next one is the next."""
    ear, answer = await client.connect(address, wire.get(path, last_id)), wire.Events()
    try:
        loop = asyncio.get_running_loop()
        while not answer.is_done:
            answer.feed(await asyncio.wait_for(loop.sock_recv(ear, client.READ_BYTES), client.PATIENCE_SECONDS))
            if answer.status == 204:
                break
            if answer.status not in (0, 200):
                raise client.Broken(f"behind {last_id} it was answered {answer.status}")
            if named := [event for event in answer.take() if event.id]:
                epoch, seq = (int(part) for part in last_id.split("."))
                if named[0].id != f"{epoch}.{seq + 1}":
                    raise client.Broken(f"behind {last_id} came {named[0].id}")
                break
    except BaseException:
        ear.close()
        raise
    return ear, answer


async def _leave(ear: socket.socket, leaver: Leaver) -> None:
    if leaver.manner == "RST":
        wire.reset_at_close(ear)
    elif leaver.manner == "FIN":
        # Its other half stays open until the server has closed as well.
        loop = asyncio.get_running_loop()
        try:
            ear.shutdown(socket.SHUT_WR)
            while await asyncio.wait_for(loop.sock_recv(ear, client.READ_BYTES), client.PATIENCE_SECONDS):
                pass
        except OSError:
            pass  # it closed with something of ours unread
    ear.close()
