"""Sound that comes in by a session, and what a realtime server behind Evensong makes of it: both ways word for word, the words
before it and behind it as one conversation, and whatever that server does wrong. The one behind is realtime_upstream.py, which
says afterwards what it was sent; who asks by text alone is answered here, by the language model that does what it is told."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, get, ready, start, stop
from realtime_upstream import Upstream, realtime_upstream
from session import Answer, Event, Session, bare, in_loop, sdk, user
from test_realtime import GRACE_SECONDS, assert_no_gap, number, resumed, said, served
from upstream_session import BYTES_A_MS, silence, spoken, tone, written_down
from voice import Model, language_model

KEY = "sk-known-to-two"
MODEL = "gpt-realtime-behind"
VOICE = "marin"
LOCAL = "That was answered here."
LONG = " ".join(f"word{number}" for number in range(40))
# How long it waits behind a lost connection before it asks for another, and how often it does so in vain.
RESTART_SECONDS = 5.0
ATTEMPTS_MOST = 3
CONNECT_SECONDS = 10.0
# What a busy machine may add.
SLACK_SECONDS = 2.5
# For those who wait longer than the others' sessions live.
PATIENT_SECONDS = 20
# Of sound that waits for the server behind; of all that a session may hold besides.
QUEUE_BYTES = 384 * 1024
BESIDES_BYTES = 2 * 1024 * 1024
PART_MS = 100
CLOSED_WELL = {"code": 1000, "reason": "Normal closure"}
TRANSCRIPTION = {"model": "gpt-4o-transcribe"}


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with language_model() as model:
        yield model


@pytest.fixture(scope="module")
def behind() -> Iterator[Upstream]:
    with realtime_upstream() as behind:
        yield behind


@pytest.fixture
def upstream(behind: Upstream) -> Iterator[Upstream]:
    """As it was at the start, with no connection of another test's to be counted."""
    behind.forgets()
    yield behind
    # Whoever waits for it is let go.
    behind.forgets()


def settings(upstream: Upstream, **others: str) -> dict[str, str]:
    return {
        "speech_engine": "tone",
        "realtime_upstream_base_url": upstream.url,
        "realtime_upstream_api_key": KEY,
        "realtime_upstream_model": MODEL,
        "realtime_upstream_voice": VOICE,
    } | others


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("relay")


@pytest.fixture(scope="module")
def relay(behind: Upstream, model: Model, folder: Path) -> Iterator[Server]:
    with served(folder / "server", model, **settings(behind)) as relay:
        yield relay
    log = (folder / "server" / "stderr.log").read_text()
    assert KEY not in log, "the log has the key"


@pytest.fixture(scope="module")
def patient(behind: Upstream, model: Model, folder: Path) -> Iterator[Server]:
    """One that waits longer for its clients."""
    asked = settings(behind, realtime_grace_seconds=str(PATIENT_SECONDS))
    with served(folder / "patient", model, **asked) as patient:
        yield patient
        patient.idle_within(PATIENT_SECONDS + SLACK_SECONDS)


# --- What is said, and what is known of it --------------------------------------------------------------


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


# --- A conversation -------------------------------------------------------------------------------------


@in_loop
async def test_a_spoken_question_is_answered_by_the_server_behind(relay: Server, upstream: Upstream) -> None:
    async with sdk(relay) as session:
        assert not upstream.links(), "nobody has said anything"
        told = session.connection
        asked = {"instructions": "Be brief.", "audio": {"input": {"transcription": TRANSCRIPTION}}}
        await told.session.update(session={"type": "realtime"} | asked)
        await session.until("session.updated")
        pcm = words(440)
        for at in range(0, len(pcm), 9_600):
            await told.input_audio_buffer.append(audio=base64.b64encode(pcm[at : at + 9_600]).decode())
        for name in ("speech_started", "speech_stopped", "committed"):
            await session.until(f"input_audio_buffer.{name}")
        heard = await session.until("conversation.item.input_audio_transcription.completed")
        assert heard["transcript"] == text_of(440)
        is_answer(await session.answer(), answer_to(440))
        assert_no_gap(session)
        (link,) = upstream.links()
    assert (link["path"], link["query"], link["headers"]["authorization"]) == (
        "/v1/realtime", {"model": [MODEL]}, f"Bearer {KEY}",
    )  # fmt: skip
    assert upstream.audio() == pcm, "to the last sample"
    first = upstream.received()[0]
    assert first["type"] == "session.update" and first["session"]["type"] == "realtime"
    assert "model" not in first["session"] and first["session"]["instructions"] == "Be brief."
    assert first["session"]["audio"]["input"]["transcription"] == TRANSCRIPTION
    assert first["session"]["audio"]["output"]["voice"] == VOICE
    assert "error" not in [event["type"] for event in upstream.sent()], "it understood all of it"


@in_loop
async def test_all_that_the_server_behind_says_comes_through(relay: Server, upstream: Upstream) -> None:
    async with bare(relay) as session:
        await wants_transcripts(session)
        before = len(session.events)
        await asks(session, 440)
        await session.until("rate_limits.updated")
        told = [nameless(event) for event in session.events[before:] if not event["type"].startswith("evensong.")]
        sent = [nameless(event) for event in upstream.sent()]
    assert [event["type"] for event in sent[:2]] == ["session.created", "session.updated"]
    assert told == sent[2:], "all but how it began, which the client did not"


# Numbers, names and letters that somebody might write anew in another way.
ODD = (
    '"first": 1.0, "exact": 12345678901234567890.10, "twice": {"z": null, "a": [1e2, -0, true]}, "escaped": "\\u00e9\\u2028\\/", '
    '"plain": "é 🎐", "": ""'
)


@in_loop
async def test_word_for_word_towards_the_client(relay: Server, upstream: Upstream) -> None:
    async with bare(relay) as session:
        await wants_transcripts(session)
        await asks(session, 440)
        await session.until("rate_limits.updated")
        # One that nobody knows yet, too.
        for name in ("rate_limits.updated", "response.hummed"):
            upstream.does("send", text=f'{{"type": "{name}", "event_id": "event_theirs", {ODD}}}')
            got = await asyncio.wait_for(session.connection.recv(), 5)
            pairs = spelled(got)
            assert [pair for pair in pairs if pair[0] != "event_id"] == [("type", name), *spelled(f"{{{ODD}}}")], got
            (own,) = [value for key, value in pairs if key == "event_id"]
            assert number(own) == number(session.last_id) + 1
            session.events.append({"type": name, "event_id": own})


def spelled(message: str | bytes) -> list[tuple[str, Any]]:
    """What an object has, in its order, numbers as they are written."""
    return json.loads(message, parse_float=str, parse_int=str, object_pairs_hook=list)


@in_loop
async def test_word_for_word_towards_the_server_behind(relay: Server, upstream: Upstream) -> None:
    wanted = [
        '{"event_id":"mine_1","type":"input_audio_buffer.clear"}',
        '{ "type" : "response.create", "response" : { "metadata" : { "a" : "b" }, "temperature" : 0.70 } }',
        '{"type":"conversation.item.create","item":{"type":"message","role":"user","id":"mine","content":'
        '[{"type":"input_text","text":"caf\\u00e9 🎐"}]},"previous_item_id":"root"}',
        '{"type":"conversation.item.retrieve","item_id":"mine"}',
        '{"type":"conversation.item.delete","item_id":"mine"}',
    ]
    async with bare(relay) as session:
        await wants_transcripts(session)
        await asks(session, 440)
        before = len(upstream.link()["received"])
        for message in wanted:
            await session.write(message)
        await session.until("conversation.item.deleted")
        got = [message["text"] for message in upstream.link()["received"][before:]]
    assert got == wanted


@in_loop
async def test_what_a_client_sends_while_it_connects_comes_in_its_order(relay: Server, upstream: Upstream) -> None:
    upstream.behaves(handshake_ms=800)
    async with bare(relay) as session:
        await wants_transcripts(session)
        pcm = words(330)
        await speaks(session, pcm)
        behind_it = [
            {"type": "conversation.item.create", "event_id": "mine_1", "item": user("Before you were there.") | {"id": "mine"}},
            {"type": "conversation.item.retrieve", "event_id": "mine_2", "item_id": "mine"},
        ]
        for event in behind_it:
            await session.write(json.dumps(event))
        links = await upstream.until(lambda links: links)
        assert links[0]["opened_at"] is None, "it has connected already"
        assert (await session.until("conversation.item.retrieved"))["item"]["id"] == "mine"
        texts = [message["text"] for message in upstream.link()["received"]]
        appends = [text for text in texts if "input_audio_buffer.append" in text]
        assert upstream.audio() == pcm
    assert texts[1:] == [*appends, *map(json.dumps, behind_it)]


@in_loop
async def test_a_conversation_that_began_in_writing_is_gone_on_with_by_voice(
    relay: Server, upstream: Upstream, model: Model
) -> None:
    topic = model.topic()
    first, second = f"topic={topic} say: Good evening.", f"topic={topic} say: Good night."
    async with bare(relay) as session:
        await wants_transcripts(session)
        await session.say(first)
        taken_out = await session.say(f"topic={topic} say: Never mind.")
        for item in (ids(session, "user")[-1], taken_out.item_id):
            await session.send({"type": "conversation.item.delete", "item_id": item})
            await session.until("conversation.item.deleted")
        await session.say(second)
        assert not upstream.links(), "nobody has said anything"
        mine, theirs = ids(session, "user"), ids(session, "assistant")
        await asks(session, 440)
        assert as_text(replayed(upstream)) == [
            (mine[0], "user", first), (theirs[0], "assistant", "Good evening."),
            (mine[2], "user", second), (theirs[2], "assistant", "Good night."),
        ]  # fmt: skip
        # It answered none of them, and none is told again.
        assert len(ids(session, "user")) == 4 and len(ids(session, "assistant")) == 4
        assert "error" not in [event["type"] for event in upstream.sent()]
        turns = upstream.links()[-1]["turns"]
    assert [turn["text"] for turn in turns[4:]] == [text_of(440), answer_to(440)]


@in_loop
async def test_who_has_spoken_may_write(relay: Server, upstream: Upstream) -> None:
    async with sdk(relay) as session:
        await wants_transcripts(session)
        await asks(session, 440)
        is_answer(await session.say("And in writing?"), "You said: And in writing?")
        written = await session.say("In writing, please.", output_modalities=["text"])
        written.is_written("You said: In writing, please.")
        assert len(upstream.links()) == 1
        assert_no_gap(session)


@in_loop
async def test_who_decides_when_it_was_said(relay: Server, upstream: Upstream) -> None:
    """As clients with a button do: no turn is detected, all is told."""
    async with sdk(relay) as session:
        audio = {"input": {"transcription": TRANSCRIPTION, "turn_detection": None}}
        await session.connection.session.update(session={"type": "realtime", "audio": audio})
        await session.until("session.updated")
        await speaks(session, tone(550, 0.6))
        await session.connection.input_audio_buffer.clear()
        await session.until("input_audio_buffer.cleared")
        await speaks(session, tone(440, 1.0))
        await session.connection.input_audio_buffer.commit()
        heard = await session.until("conversation.item.input_audio_transcription.completed")
        assert heard["transcript"] == text_of(440)
        await session.connection.response.create()
        is_answer(await session.answer(), answer_to(440))


@in_loop
async def test_settings_that_change_change_behind_as_well(relay: Server, upstream: Upstream) -> None:
    async with bare(relay) as session:
        await wants_transcripts(session)
        await asks(session, 440)
        await session.send({"type": "session.update", "session": {"type": "realtime", "instructions": "Whisper."}})
        updated = await session.until("session.updated")
        assert updated["session"]["instructions"] == "Whisper."
        is_answer(await session.say("Are you there?"), "You said: Are you there?")
        (told,) = [event["session"] for event in upstream.received()[1:] if event["type"] == "session.update"]
        assert told["instructions"] == "Whisper."
        assert_no_gap(session)


@in_loop
async def test_who_speaks_into_an_answer_interrupts_it(relay: Server, upstream: Upstream) -> None:
    async with bare(relay) as session:
        await wants_transcripts(session)
        upstream.behaves(answer=LONG, pace_ms=50)
        await speaks(session, words(440))
        for _ in range(4):
            await session.until("response.output_audio.delta")
        upstream.behaves(answer="You said: {question}")
        said_into_it = words(550)
        begins = len(silence(0.8))
        await speaks(session, said_into_it[:begins])
        await session.until("input_audio_buffer.speech_started")
        answer = await session.answer()
        assert (answer.done["status"], answer.done["status_details"]["reason"]) == ("cancelled", "turn_detected")
        assert answer.transcript and LONG.startswith(answer.transcript) and answer.transcript != LONG
        await session.send({
            "type": "conversation.item.truncate", "item_id": answer.item_id, "content_index": 0, "audio_end_ms": 200,
        })  # fmt: skip
        truncated = await session.until("conversation.item.truncated")
        assert (truncated["item_id"], truncated["audio_end_ms"]) == (answer.item_id, 200)
        await speaks(session, said_into_it[begins:])
        is_answer(await session.answer(), answer_to(550))


@in_loop
async def test_an_answer_of_the_server_behind_can_be_cancelled(relay: Server, upstream: Upstream) -> None:
    async with sdk(relay) as session:
        await wants_transcripts(session)
        upstream.behaves(answer=LONG, pace_ms=50)
        await speaks(session, words(440))
        await session.until("response.output_audio.delta")
        await session.connection.response.cancel()
        answer = await session.answer()
        assert (answer.done["status"], answer.done["status_details"]["reason"]) == ("cancelled", "client_cancelled")
        upstream.behaves(answer="You said: {question}", pace_ms=5)
        await asks(session, 550)


@in_loop
async def test_each_session_has_its_own_connection(relay: Server, upstream: Upstream) -> None:
    async def converses(hertz: int) -> None:
        async with bare(relay) as session:
            await wants_transcripts(session)
            for step in range(2):
                await asks(session, hertz + 10 * step)

    pitches = [300, 400, 500, 600, 700]
    await asyncio.gather(*map(converses, pitches))
    links = upstream.links()
    assert len(links) == len(pitches)
    heard = sorted([turn["text"] for turn in link["turns"] if turn["role"] == "user"] for link in links)
    assert heard == [[text_of(hertz), text_of(hertz + 10)] for hertz in pitches]


@in_loop
async def test_its_address_may_be_a_websockets(behind: Upstream, upstream: Upstream, model: Model, tmp_path: Path) -> None:
    base = upstream.url.replace("http", "ws", 1)
    asked = settings(behind, realtime_upstream_base_url=base, realtime_upstream_voice="")
    with served(tmp_path / "server", model, **asked) as relay:
        async with bare(relay) as session:
            await wants_transcripts(session)
            await asks(session, 440)
    assert upstream.link()["path"] == "/v1/realtime"
    assert "voice" not in upstream.received()[0]["session"].get("audio", {}).get("output", {}), "it has one of its own"


# --- Whose key it is ------------------------------------------------------------------------------------


@in_loop
async def test_its_key_is_told_to_nobody(relay: Server, upstream: Upstream, folder: Path) -> None:
    seen: list[str] = []
    async with bare(relay) as session:
        await wants_transcripts(session)
        await asks(session, 440)
        upstream.behaves(tells_key=True)
        upstream.does("error", text="Something is wrong")
        await session.refusal()
        upstream.does("close", code=4001, reason=f"bad key {KEY}")
        await error(session, "upstream_lost")
        seen += map(json.dumps, session.events)
    upstream.behaves(refuse=401)
    async with bare(relay) as session:
        await speaks(session, words(440))
        await error(session, "upstream_unavailable")
        seen += map(json.dumps, session.events)
    assert not [event for event in seen if KEY in event], "a client was told"
    for path in ("config", "ledger", "upstreams"):
        assert KEY not in get(f"{relay.admin}/debug/{path}")[1], path
    assert KEY not in (folder / "server" / "stderr.log").read_text(), "the log was told"


# --- The server behind is lost --------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["close", "reset"])
@in_loop
async def test_a_lost_server_fails_its_answer_and_is_asked_again(
    relay: Server, upstream: Upstream, model: Model, end: str
) -> None:
    async with bare(relay) as session:
        await wants_transcripts(session)
        first = await asks(session, 440)
        upstream.behaves(answer=LONG, pace_ms=20, end=end, ends_after=len(first.audio) // (PART_MS * BYTES_A_MS) + 6)
        await speaks(session, words(550))
        while (await session.next())["type"] != "response.done":
            pass
        lost = time.monotonic()
        broken = session.latest()
        assert broken.done["status"] == "failed" and broken.audio == spoken(LONG)[: len(broken.audio)]
        upstream.behaves(ends_after=0, answer="You said: {question}", pace_ms=5)
        if not errors(session, "upstream_lost"):
            await error(session, "upstream_lost")
        # In between, writing is answered here, by one who knows what was said; what is spoken is lost.
        await speaks(session, words(660, 0.2))
        topic = await is_answered_here(session, model)
        known = said(model, topic)
        # What was not answered stands before what was asked next.
        assert known[:2] == [text_of(440), answer_to(440)] and known[2].startswith(text_of(550)), known
        assert len(upstream.links()) == 1 and time.monotonic() < lost + RESTART_SECONDS, "that took too long to tell anything"
        await upstream.until(lambda links: is_open(links, 2), RESTART_SECONDS + SLACK_SECONDS)
        waited = upstream.links()[1]["accepted_at"] - upstream.links()[0]["ended_at"]
        assert RESTART_SECONDS - 0.2 < waited < RESTART_SECONDS + SLACK_SECONDS, waited
        await asks(session, 770)
        assert len(errors(session, "upstream_lost")) == 1
        assert_no_gap(session)
        told = as_text(replayed(upstream))
        assert [item[1:] for item in told[:3]] == [("user", text_of(440)), ("assistant", answer_to(440)), ("user", text_of(550))]
        assert told[1][0] == first.item_id
        assert told[-1][1:] == ("assistant", LOCAL) and told[-2][1] == "user"
        assert upstream.audio() == words(770), "what was said in between"
        assert "error" not in [event["type"] for event in upstream.sent()]
    assert len(upstream.links()) == 2


@in_loop
async def test_it_is_asked_three_times_in_vain_and_again_when_somebody_speaks(
    relay: Server, upstream: Upstream, model: Model
) -> None:
    upstream.behaves(refuse=500)
    async with bare(relay) as session:
        await wants_transcripts(session)
        await session.send(appended(silence(0.1)))
        for attempt in range(1, ATTEMPTS_MOST + 1):
            await error(session, "upstream_unavailable", RESTART_SECONDS + SLACK_SECONDS)
            assert len(upstream.links()) == attempt
            # While it waits, sound asks for nothing.
            await session.send(appended(silence(0.1)))
        began = [link["accepted_at"] for link in upstream.links()]
        assert all(RESTART_SECONDS - 0.2 < after - before for before, after in zip(began, began[1:])), began
        topic = await is_answered_here(session, model)
        await stays(lambda: len(upstream.links()) == ATTEMPTS_MOST, RESTART_SECONDS + 1)
        upstream.behaves(refuse=0)
        await asks(session, 550)
        assert len(upstream.links()) == 1 + ATTEMPTS_MOST
        assert [item[2] for item in as_text(replayed(upstream))] == [f"topic={topic} say: {LOCAL}", LOCAL]
        assert len(errors(session, "upstream_unavailable")) == ATTEMPTS_MOST


@pytest.mark.parametrize("fault", ["refused", "closed", "no WebSocket"])
@in_loop
async def test_a_server_that_cannot_be_reached_is_said_to_be(
    relay: Server, upstream: Upstream, model: Model, fault: str
) -> None:
    if fault == "closed":
        upstream.is_there(False)
    else:
        upstream.behaves(refuse=500 if fault == "refused" else 200)
    async with bare(relay) as session:
        await wants_transcripts(session)
        await speaks(session, words(440))
        await error(session, "upstream_unavailable")
        assert not errors(session, "upstream_lost"), "it was never there"
        await is_answered_here(session, model)


@in_loop
async def test_a_server_that_never_answers_is_waited_for_for_ten_seconds(
    relay: Server, upstream: Upstream, model: Model
) -> None:
    upstream.behaves(hangs=True)
    async with bare(relay) as session:
        await wants_transcripts(session)
        began = time.monotonic()
        await speaks(session, words(440))
        await error(session, "upstream_unavailable")
        assert CONNECT_SECONDS - 0.5 < time.monotonic() - began < CONNECT_SECONDS + SLACK_SECONDS
        await upstream.until(lambda links: links[0]["state"] == "over", 1)
        await is_answered_here(session, model)


@in_loop
async def test_a_handshake_that_takes_long_is_waited_for(relay: Server, upstream: Upstream) -> None:
    upstream.behaves(handshake_ms=4_000)
    async with bare(relay) as session:
        await wants_transcripts(session)
        await asks(session, 440)


# --- The client is away ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
@in_loop
async def test_nothing_of_the_server_behind_is_lost_over_cuts(relay: Server, upstream: Upstream, seed: int) -> None:
    dice = random.Random(seed)
    upstream.behaves(answer=LONG, pace_ms=15)
    async with contextlib.AsyncExitStack() as connections:
        session = await connections.enter_async_context(bare(relay))
        await wants_transcripts(session)
        await speaks(session, words(440))
        cuts = 0
        while not session.is_over():
            for _ in range(dice.randint(5, 25)):
                if (await session.next())["type"] == "response.done":
                    break
            else:
                await session.cut()
                cuts, after = cuts + 1, session.last_id
                back = bare(relay, before=session.events, greeted=False, resume=session.token, after=after)
                session = await connections.enter_async_context(back)
                await resumed(session, after)
        assert cuts > 1
        is_answer(session.latest(), LONG)
        assert_no_gap(session)
        assert len(upstream.links()) == 1, "the server behind was not to be asked anew"
        upstream.behaves(answer="You said: {question}", pace_ms=5)
        await asks(session, 550)


@in_loop
async def test_a_device_that_moves_on_takes_its_connection_along(relay: Server, upstream: Upstream) -> None:
    upstream.behaves(answer=LONG, pace_ms=15)
    async with bare(relay) as old:
        await wants_transcripts(old)
        await speaks(old, words(440))
        await old.until("response.output_audio.delta")
        async with bare(relay, None, old.events, False, resume=old.token, after=old.last_id) as new:
            await resumed(new, old.last_id)
            assert await old.ends() == 1008
            is_answer(await new.answer(), LONG)
            upstream.behaves(answer="You said: {question}", pace_ms=5)
            await asks(new, 550)
            assert_no_gap(new)
            assert len(upstream.links()) == 1


@in_loop
async def test_who_is_away_has_nothing_asked_for_it(patient: Server, upstream: Upstream, model: Model) -> None:
    """The server behind closes while nobody is there; it is asked again when somebody is."""
    async with bare(patient) as session:
        await wants_transcripts(session)
        await asks(session, 440)
        await session.until("rate_limits.updated")
        await session.cut()
    upstream.does("close", code=1011, reason="gone")
    await upstream.until(lambda links: links[0]["state"] == "over")
    await stays(lambda: len(upstream.links()) == 1, 2 * RESTART_SECONDS + 1)
    async with bare(patient, None, session.events, False, resume=session.token, after=session.last_id) as back:
        await resumed(back, session.last_id)
        await error(back, "upstream_lost")
        await upstream.until(lambda links: is_open(links, 2), RESTART_SECONDS + SLACK_SECONDS)
        await asks(back, 550)
        assert [item[2] for item in as_text(replayed(upstream))] == [text_of(440), answer_to(440)]
        assert_no_gap(back)
    assert len(upstream.links()) == 2


@in_loop
async def test_who_leaves_before_it_is_asked_again_has_it_asked_on_return(patient: Server, upstream: Upstream) -> None:
    async with bare(patient) as session:
        await wants_transcripts(session)
        await asks(session, 440)
        upstream.does("reset")
        await error(session, "upstream_lost")
        await session.cut()
    await stays(lambda: len(upstream.links()) == 1, RESTART_SECONDS + 2)
    async with bare(patient, None, session.events, False, resume=session.token, after=session.last_id) as back:
        await resumed(back, session.last_id)
        await upstream.until(lambda links: is_open(links, 2), SLACK_SECONDS)
        await asks(back, 550)


@pytest.mark.parametrize("leaves", ["cut", "close"])
@in_loop
async def test_who_leaves_while_it_connects_leaves_nothing_there(patient: Server, upstream: Upstream, leaves: str) -> None:
    upstream.behaves(hangs=True)
    async with bare(patient) as session:
        await wants_transcripts(session)
        await speaks(session, words(440))
        await upstream.until(lambda links: links and links[0]["state"] == "asked")
        left = time.monotonic()
        await (session.cut() if leaves == "cut" else session.connection.close())
        links = await upstream.until(lambda links: links[0]["state"] == "over", 1)
        assert links[0]["ended_at"] - left < 1
    await stays(lambda: len(upstream.links()) == 1, 2)
    upstream.behaves(hangs=False)
    async with bare(patient, None, session.events, False, resume=session.token, after=session.last_id) as back:
        await resumed(back, session.last_id)
        await asks(back, 550)


@in_loop
async def test_a_hundred_that_leave_while_it_connects_leave_nothing(relay: Server, upstream: Upstream) -> None:
    upstream.behaves(hangs=True)

    async def comes_and_goes(way: int) -> None:
        async with bare(relay) as session:
            await session.send(appended(words(440)))
            # Some before it has begun, some while it waits.
            if way % 3:
                await upstream.until(lambda links: len(links) > 30, 10)
            if way % 2:
                await session.cut()

    await asyncio.gather(*(comes_and_goes(way) for way in range(100)))
    await upstream.until(lambda links: all(link["state"] == "over" for link in links), 2)
    await asyncio.to_thread(relay.idle_within, GRACE_SECONDS + SLACK_SECONDS)
    assert not upstream.alive()
    seen = len(upstream.links())
    await stays(lambda: len(upstream.links()) == seen, 2)


# --- The session is over --------------------------------------------------------------------------------


@in_loop
async def test_a_session_that_is_over_says_good_bye_behind(relay: Server, upstream: Upstream) -> None:
    async with bare(relay) as session:
        await wants_transcripts(session)
        await asks(session, 440)
    (link,) = await upstream.until(lambda links: links[0]["state"] == "over", GRACE_SECONDS + SLACK_SECONDS)
    assert link["close_received"] == CLOSED_WELL and link["closed_by_peer"], link
    assert link["lost"] is None, link


@in_loop
async def test_what_comes_late_for_a_session_that_is_over_goes_nowhere(relay: Server, upstream: Upstream) -> None:
    """It is in the middle of an answer, and does not stop."""
    upstream.behaves(answer=" ".join([LONG] * 10), pace_ms=40)
    async with bare(relay) as session:
        await wants_transcripts(session)
        await speaks(session, words(440))
        await session.until("response.output_audio.delta")
    (link,) = await upstream.until(lambda links: links[0]["state"] == "over", GRACE_SECONDS + SLACK_SECONDS)
    assert link["close_received"] == CLOSED_WELL, link
    await asyncio.to_thread(relay.idle_within, SLACK_SECONDS)
    await stays(lambda: len(upstream.links()) == 1, RESTART_SECONDS + 1)


@in_loop
async def test_a_session_that_ends_before_it_is_asked_again_stays_ended(relay: Server, upstream: Upstream) -> None:
    async with bare(relay) as session:
        await wants_transcripts(session)
        await asks(session, 440)
        upstream.does("reset")
        await error(session, "upstream_lost")
    await asyncio.to_thread(relay.idle_within, GRACE_SECONDS + SLACK_SECONDS)
    await stays(lambda: len(upstream.links()) == 1, RESTART_SECONDS + 1)


@in_loop
async def test_a_server_that_stops_says_good_bye_behind(behind: Upstream, upstream: Upstream, tmp_path: Path) -> None:
    log = tmp_path / "stderr.log"
    named = {f"EVENSONG_{name.upper()}": value for name, value in settings(behind).items()}
    process = start(os.environ["EVENSONG_BIN"], tmp_path, log, named)
    try:
        async with bare(ready(process, log)) as session:
            await wants_transcripts(session)
            await asks(session, 440)
            stopped = asyncio.create_task(asyncio.to_thread(stop, process, log))
            assert await session.ends() == 1001
            await stopped
        (link,) = await upstream.until(lambda links: links[0]["state"] == "over", 1)
        assert link["close_received"] and link["close_received"]["code"] in (1000, 1001), link
    finally:
        process.kill()
        process.wait()


# --- The server behind does what it should not ----------------------------------------------------------


@in_loop
async def test_sound_that_it_does_not_take_is_dropped_and_said_to_be(relay: Server, upstream: Upstream) -> None:
    async with bare(relay) as session:
        await wants_transcripts(session)
        await asks(session, 440)
        await session.until("rate_limits.updated")
        before = held(relay)
        upstream.behaves(reads=False)
        reading = asyncio.create_task(error(session, "input_audio_overflow", 40))
        most = 0
        # As fast as it may be, which is twice as fast as anybody speaks.
        while not reading.done():
            await session.send(appended(silence(0.2)))
            most = max(most, held(relay) - before)
            await asyncio.sleep(0.11)
        await reading
        for _ in range(10):
            await session.send(appended(silence(0.2)))
            await asyncio.sleep(0.11)
        assert most < QUEUE_BYTES + BESIDES_BYTES, most
        upstream.behaves(reads=True)
        # Once for all of it; and then it goes on.
        while session.events[-1]["type"] != "input_audio_buffer.speech_started":
            await speaks(session, words(550))
            await asyncio.sleep(1)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(session.until("input_audio_buffer.speech_started"), 1)
        assert len(errors(session, "input_audio_overflow")) == 1
        assert len(upstream.links()) == 1


@in_loop
async def test_a_session_is_over_whether_or_not_it_is_read(relay: Server, upstream: Upstream) -> None:
    """Nothing of the session waits for one who does not hear its good-bye."""
    async with bare(relay) as session:
        await wants_transcripts(session)
        await asks(session, 440)
        await session.until("rate_limits.updated")
        upstream.behaves(reads=False)
        for _ in range(20):
            await session.send(appended(silence(0.2)))
        await (await session.connection.ping())
    await asyncio.to_thread(relay.idle_within, GRACE_SECONDS + SLACK_SECONDS)
    upstream.behaves(reads=True)
    await upstream.until(lambda links: links[0]["state"] == "over")


@in_loop
async def test_what_the_client_does_not_take_is_not_read(relay: Server, upstream: Upstream) -> None:
    async with bare(relay) as session:
        await wants_transcripts(session)
        await asks(session, 440)
        await session.until("rate_limits.updated")
        before, already = held(relay), upstream.links()[0]["sent_count"]
        upstream.does("flood")
        sent, most = -1, 0
        # Until it can send no more.
        while sent != (sent := upstream.links()[0]["sent_bytes"]):
            most = max(most, held(relay) - before)
            await asyncio.sleep(0.5)
        assert most < BESIDES_BYTES, most
        assert sent < 16 * 1024 * 1024, "most of it lies in two kernels, and that is less"
        upstream.does("calm")
        wanted = upstream.links()[0]["sent_count"] - already
        for _ in range(wanted):
            assert (await session.next())["type"] == "response.output_audio.delta"
        is_answer(await session.say("And now?"), "You said: And now?")
        assert_no_gap(session)
    assert len(upstream.links()) == 1


@in_loop
async def test_a_flood_that_is_taken_comes_through_within_bounds(relay: Server, upstream: Upstream) -> None:
    async with bare(relay) as session:
        await wants_transcripts(session)
        await asks(session, 440)
        before = held(relay)
        upstream.does("flood")
        most = 0
        for count in range(1_000):
            await session.next()
            if count % 100 == 0:
                most = max(most, held(relay) - before)
        upstream.does("calm")
        assert most < BESIDES_BYTES, most
        assert_no_gap(session)
        assert len(upstream.links()) == 1


# What it sends, and what the frame is made of.
BROKEN: dict[str, dict[str, Any]] = {
    "too large": {"what": "oversize"},
    "much too large": {"what": "oversize", "bytes": 8 * 1024 * 1024},
    "no JSON": {"what": "send", "text": "<html>Bad gateway</html>"},
    "no object": {"what": "send", "text": "[1, 2]"},
    "no type": {"what": "send", "text": '{"event_id": "event_1"}'},
    "binary": {"what": "send", "base64": "AAECAw=="},
    "no UTF-8": {"what": "raw", "base64": base64.b64encode(b"\x81\x02\xff\xfe").decode()},
    "no frame": {"what": "raw", "base64": base64.b64encode(b"HTTP/1.1 400 Bad Request\r\n" * 8).decode()},
    "masked": {"what": "raw", "base64": base64.b64encode(b"\x81\x82\x00\x00\x00\x00{}").decode()},
}


@pytest.mark.parametrize("case", BROKEN)
@in_loop
async def test_what_it_should_not_send_is_said_and_survived(
    relay: Server, upstream: Upstream, model: Model, case: str
) -> None:
    async with bare(relay) as session:
        await wants_transcripts(session)
        await asks(session, 440)
        before = held(relay)
        upstream.does(**BROKEN[case])
        fault = await asyncio.wait_for(session.refusal(), 5)
        assert held(relay) - before < BESIDES_BYTES
        if fault["code"] == "upstream_lost":
            await is_answered_here(session, model)
            await upstream.until(lambda links: is_open(links, 2), RESTART_SECONDS + SLACK_SECONDS)
        await asks(session, 550)
        assert_no_gap(session)


@in_loop
async def test_a_message_in_fragments_is_one(relay: Server, upstream: Upstream) -> None:
    async with bare(relay) as session:
        await wants_transcripts(session)
        await asks(session, 440)
        await session.until("rate_limits.updated")
        upstream.does("send", parts=['{"type": "rate_limits.updated", "event_id": "x", "ra', 'te_limits"', ": []}"])
        assert (await session.next())["rate_limits"] == []


# --- What clients do wrong ------------------------------------------------------------------------------


@in_loop
async def test_sound_comes_at_twice_its_speed_at_most(relay: Server, upstream: Upstream) -> None:
    async with bare(relay) as session:
        await wants_transcripts(session)
        began = time.monotonic()
        # Not so much more that it would be let go for it.
        for _ in range(36):
            await session.send(appended(silence(0.2)))
        await error(session, "rate_limit_exceeded")
        # Whatever is behind the last of it.
        await session.send({"type": "conversation.item.retrieve", "item_id": "nobody"})
        while (await session.refusal())["code"] == "rate_limit_exceeded":
            pass
        took = time.monotonic() - began
        heard_seconds = len(upstream.audio()) / BYTES_A_MS / 1000
        assert 4 < heard_seconds < 5 + 2 * took + 1, (heard_seconds, took)


@in_loop
async def test_sound_that_is_none_is_told_by_one_of_both(relay: Server, upstream: Upstream) -> None:
    async with bare(relay) as session:
        await wants_transcripts(session)
        for wrong in ({"type": "input_audio_buffer.append", "audio": "not base64"}, {"type": "input_audio_buffer.append"}):
            fault = await session.refusal(await session.send(wrong))
            assert fault["type"] == "invalid_request_error", fault
        await asks(session, 440)


@in_loop
async def test_no_name_makes_sound_of_other_events(relay: Server, upstream: Upstream) -> None:
    """Sound is counted by its bytes, all else by its number, whatever stands in it."""
    async with bare(relay) as session:
        for _ in range(150):
            await session.write('{"type": "output_audio_buffer.clear", "event_id": "input_audio_buffer.append"}')
        await error(session, "rate_limit_exceeded", 5)
    assert not upstream.links()


def test_that_the_settings_are_known(relay: Server) -> None:
    """What was set stands in what is shown of the settings, but for the key."""
    shown = get(f"{relay.admin}/debug/config")[1]
    assert MODEL in shown and re.search(r"realtime\.upstream|\bupstream\b", shown)
