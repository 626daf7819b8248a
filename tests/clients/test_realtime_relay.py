"""Sound that comes in by a session, and what a realtime server behind Evensong makes of it: both ways word for word, and the words
before it and behind it as one conversation. The one behind is realtime_upstream.py, which says afterwards what it was sent; who
asks by text alone is answered here, by the language model that does what it is told."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, get, ready, start, stop
from realtime_upstream import Upstream, realtime_upstream
from relay import (
    KEY, LONG, MODEL, TRANSCRIPTION, VOICE, answer_to, appended, as_text, asks, error, ids, is_answer, nameless, replayed,
    settings, speaks, text_of, wants_transcripts, words,
)  # fmt: skip
from session import bare, in_loop, sdk, user
from test_realtime import assert_no_gap, number, served
from upstream_session import BYTES_A_MS, PCM, PCMA, PCMU, outward, silence, spoken, tone
from voice import Model, language_model


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("relay")


@pytest.fixture(scope="module")
def relay(behind: Upstream, model: Model, folder: Path) -> Iterator[Server]:
    with served(folder / "server", model, **settings(behind)) as relay:
        yield relay
    log = (folder / "server" / "stderr.log").read_text()
    assert KEY not in log, "the log has the key"


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


# A telephone's sound of either kind.
@pytest.mark.parametrize("form", [PCMU, PCMA], ids=lambda form: form["type"])
@in_loop
async def test_a_telephones_sound_comes_through_as_it_is(relay: Server, upstream: Upstream, form: dict[str, Any]) -> None:
    async with sdk(relay) as session:
        audio = {"input": {"format": form, "transcription": TRANSCRIPTION}, "output": {"format": form}}
        await session.connection.session.update(session={"type": "realtime", "audio": audio})
        told = (await session.until("session.updated"))["session"]["audio"]
        assert (told["input"]["format"], told["output"]["format"]) == (form, form)
        said = outward(form, words(440))
        # 20 ms each, as telephones have it.
        for at in range(0, len(said), 160):
            await session.send(appended(said[at : at + 160]))
        heard = await session.until("conversation.item.input_audio_transcription.completed")
        assert heard["transcript"] == text_of(440)
        answer = await session.answer()
        assert answer.done["status"] == "completed" and answer.transcript == answer_to(440)
        assert answer.audio == outward(form, spoken(answer_to(440)))
        assert_no_gap(session)
    assert upstream.audio() == said, "to the last sample"
    asked = upstream.received()[0]["session"]["audio"]
    assert (asked["input"]["format"], asked["output"]["format"]) == (form, form)
    assert "error" not in [event["type"] for event in upstream.sent()], "it understood all of it"


# Settings by the names that they had before, and what the server behind is to know of them.
OLDER = {
    "a format": ({"audio": {"input": {"format": "g711_ulaw"}, "output": {"format": "pcm16"}}}, {
        "audio": {"input": {"format": PCMU}, "output": {"format": PCM, "voice": VOICE}},
    }),
    "modalities": ({"modalities": ["text"]}, {"output_modalities": ["text"]}),
}  # fmt: skip


@pytest.mark.parametrize("older", OLDER)
@in_loop
async def test_older_names_of_settings_are_told_behind_by_the_newer(relay: Server, upstream: Upstream, older: str) -> None:
    """The server behind knows none of them, and would take nothing of an event that has one."""
    asked, known = OLDER[older]
    async with bare(relay) as session:
        await session.send({"type": "session.update", "session": {"type": "realtime", "instructions": "Be brief."} | asked})
        await session.until("session.updated")
        await session.send(appended(silence(0.1)))
        await upstream.until(lambda links: links and links[0]["sent_count"] > 1)
        told = upstream.received()[0]["session"]
        assert "error" not in [event["type"] for event in upstream.sent()], (told, upstream.sent()[-1])
        assert {name: told[name] for name in known} == known and told["instructions"] == "Be brief."


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
        await session.cut()
    assert not upstream.links()


def test_that_the_settings_are_known(relay: Server) -> None:
    """What was set stands in what is shown of the settings, but for the key."""
    shown = get(f"{relay.admin}/debug/config")[1]
    assert MODEL in shown and re.search(r"realtime\.upstream|\bupstream\b", shown)


# --- The end of the server -------------------------------------------------------------------------------


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
