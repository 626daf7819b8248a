"""What the tests of relayed sound have in common: a server before realtime_upstream.py, what is said to it, and what is known of
the answer beforehand."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from typing import Any

from conftest import Server
from realtime_upstream import Upstream
from session import Answer, Event, Session
from upstream_session import BYTES_A_MS, silence, spoken, tone, written_down
from voice import Model

KEY = "sk-known-to-two"
MODEL = "gpt-realtime-behind"
VOICE = "marin"
LOCAL = "That was answered here."
LONG = " ".join(f"word{number}" for number in range(40))
# How long it waits behind a lost connection before it asks for another.
RESTART_SECONDS = 5.0
# What a busy machine may add.
SLACK_SECONDS = 2.5
PART_MS = 100
TRANSCRIPTION = {"model": "gpt-4o-transcribe"}


def settings(upstream: Upstream, **others: str) -> dict[str, str]:
    return {
        "speech_engine": "tone",
        "realtime_upstream_base_url": upstream.url,
        "realtime_upstream_api_key": KEY,
        "realtime_upstream_model": MODEL,
        "realtime_upstream_voice": VOICE,
    } | others


async def speaks(session: Session, pcm: bytes) -> None:
    """Sound as microphones give it, in parts."""
    for at in range(0, len(pcm), PART_MS * BYTES_A_MS):
        await session.send(appended(pcm[at : at + PART_MS * BYTES_A_MS]))


def appended(pcm: bytes) -> Event:
    return {"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()}


def words(hertz: int, seconds: float = 1.0) -> bytes:
    """Somebody who says something, and waits."""
    return silence(0.3) + tone(hertz, seconds) + silence(0.5)


def text_of(hertz: int) -> str:
    return written_down(words(hertz))


def answer_to(hertz: int) -> str:
    return f"You said: {text_of(hertz)}"


async def wants_transcripts(session: Session) -> None:
    await session.send({
        "type": "session.update", "session": {"type": "realtime", "audio": {"input": {"transcription": TRANSCRIPTION}}},
    })  # fmt: skip
    await session.until("session.updated")


async def asks(session: Session, hertz: int) -> Answer:
    """A spoken question, and its answer to the end; the session is one that wants transcripts."""
    await speaks(session, words(hertz))
    told = await session.until("conversation.item.input_audio_transcription.completed")
    assert told["transcript"] == text_of(hertz)
    answer = await session.answer()
    is_answer(answer, answer_to(hertz))
    return answer


def is_answer(answer: Answer, text: str) -> None:
    """Asserts that it is the one of the server behind, whole, to the last sample."""
    assert answer.done["status"] == "completed", answer.done
    assert answer.transcript == text
    assert answer.audio == spoken(text), (len(answer.audio), len(spoken(text)))
    answer.is_in_order("response.output_audio.", "response.output_audio_transcript.")


async def is_answered_here(session: Session, model: Model) -> int:
    """Asks by text; the topic under which the model was asked."""
    topic = model.topic()
    answer = await session.say(f"topic={topic} say: {LOCAL}")
    assert answer.transcript == LOCAL and answer.done["status"] == "completed", answer.done
    return topic


async def error(session: Session, code: str, within: float = 15.0) -> Event:
    """The next error, which is this one."""
    said = await asyncio.wait_for(session.refusal(), within)
    assert said["code"] == code, said
    return said


def errors(session: Session, code: str) -> list[Event]:
    return [event for event in session.events if event["type"] == "error" and event["error"]["code"] == code]


def nameless(event: Event) -> Event:
    return {name: value for name, value in event.items() if name != "event_id"}


def replayed(upstream: Upstream, link: int = -1) -> list[Event]:
    """The items that it was told of before anything else, but for the session."""
    received = upstream.received(link)
    assert received[0]["type"] == "session.update", received[0]
    items = []
    for event in received[1:]:
        if event["type"] != "conversation.item.create":
            break
        items.append(event["item"])
    return items


def as_text(items: list[Event]) -> list[tuple[str, str, str]]:
    """What each says, and whose it is; all of them must be what the role may say."""
    for item in items:
        kind = "output_text" if item["role"] == "assistant" else "input_text"
        assert item["type"] == "message" and [part["type"] for part in item["content"]] == [kind], item
    return [(item["id"], item["role"], item["content"][0]["text"]) for item in items]


def ids(session: Session, role: str) -> list[str]:
    """Of items that were added, in order."""
    added = [event["item"] for event in session.events if event["type"] == "conversation.item.added"]
    return [item["id"] for item in added if item.get("role") == role]


def is_open(links: list[Event], count: int) -> bool:
    return len(links) == count and links[-1]["state"] == "open"


async def stays(is_so: Callable[[], Any], seconds: float) -> None:
    """Watches that it is so all the while."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        assert is_so(), f"not so after {seconds - ends + time.monotonic():.1f} s"
        await asyncio.sleep(0.1)


def held(server: Server) -> int:
    return server.ledger()["budget"]["held"]
