"""Voice sessions as OpenAI's Python SDK has them: text in and sound out, turns that know each other, what is cut short, taken
back or looked at, and what is wrong; and, on a bare WebSocket, cuts that are gone on with and the codes of closing. The
language model is the stub that does what it is told."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import websockets
from audio import RATE, Sound
from conftest import Server, evensong
from session import Event, Session, bare, in_loop, sdk, user
from voice import Model, language_model
from websockets.exceptions import InvalidStatus

ANSWER = (
    "The evening is quiet in the valley. Bells ring from the old tower, and a dog answers them. "
    "Nobody knows why it does that. Then the lights go out, one after the other."
)
# For that long, sessions wait for clients that have gone. Whatever is gone on with here is so at once.
GRACE_SECONDS = 3
# Beyond a session's grace, for what it left to be freed.
FREED_SECONDS = 2.0
MESSAGE_BYTES = 256 * 1024
BAD_EVENTS_A_MINUTE = 20


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with language_model() as model:
        yield model


@contextlib.contextmanager
def served(folder: Path, model: Model | None, **settings: str) -> Iterator[Server]:
    """A server, perhaps with that model, which is idle in the end."""
    asked = {"realtime_grace_seconds": str(GRACE_SECONDS)}
    if model:
        asked |= {"answer_llm_base_url": f"{model.url}/v1", "answer_llm_model": "stub"}
    with evensong(folder, **(asked | settings)) as server:
        yield server
        # Those that were only closed wait for somebody to come back.
        server.idle_within(GRACE_SECONDS + FREED_SECONDS)


@pytest.fixture(scope="module")
def assistant(server: Server, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`server` is there so that this is skipped where there is no voice."""
    with served(tmp_path_factory.mktemp("realtime") / "server", model) as assistant:
        yield assistant


@pytest.fixture(scope="module")
def signal(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One whose voice is the test signal: the same words are the same samples, whenever they are spoken."""
    with served(tmp_path_factory.mktemp("signal") / "server", model, speech_engine="tone") as signal:
        yield signal


def said(model: Model, topic: int) -> list[str]:
    """What the model was told that was said, when it was asked last about that."""
    return [message["content"] for message in model.asked(topic) if message["role"] != "system"]


def bare_words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


# --- Turns --------------------------------------------------------------------------------------------


@in_loop
async def test_a_session_says_who_it_is(assistant: Server) -> None:
    async with sdk(assistant) as session:
        created = session.events[0]["session"]
        assert created["type"] == "realtime" and created["id"]
        assert created["output_modalities"] == ["audio"]
        assert created["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": RATE}


@in_loop
async def test_text_in_and_sound_out(assistant: Server, model: Model) -> None:
    async with sdk(assistant) as session:
        told = session.connection
        question = f"topic={model.topic()} pace=5 say: {ANSWER}"
        await told.conversation.item.create(item=user(question))
        added = await session.until("conversation.item.added")
        assert added["item"]["content"] == [{"type": "input_text", "text": question}]
        assert (await session.until("conversation.item.done"))["item"]["id"] == added["item"]["id"]
        await told.response.create()
        answer = await session.answer()
    answer.is_spoken(ANSWER)
    deltas = answer.named("response.output_audio.delta")
    assert len(deltas) > 3, "it comes while it is made"
    assert not any(len(base64.b64decode(delta["delta"])) % 2 for delta in deltas), "whole samples"


@in_loop
async def test_it_thinks_out_loud_without_sound(assistant: Server, model: Model) -> None:
    async with sdk(assistant) as session:
        answer = await session.say(f"topic={model.topic()} first=300 say: {ANSWER}")
    names = [event["type"] for event in session.events]
    assert names.index("evensong.thinking") < names.index("response.output_audio.delta")
    answer.is_spoken(ANSWER)


@in_loop
async def test_a_slow_answer_is_heard_while_it_is_written(assistant: Server, model: Model) -> None:
    topic = model.topic()
    async with sdk(assistant) as session:
        await session.ask(f"topic={topic} first=100 pace=60 say: {ANSWER}")
        await session.until("response.output_audio.delta")
        assert model.turn(topic)["state"] == "open", "it was heard when all was written"
        answer = await session.answer()
    answer.is_spoken(ANSWER)


@in_loop
async def test_text_alone(assistant: Server, model: Model) -> None:
    async with sdk(assistant) as session:
        written = await session.say(f"topic={model.topic()} say: {ANSWER}", output_modalities=["text"])
        written.is_written(ANSWER)
        # It was that response's wish and no other's.
        (await session.say(f"topic={model.topic()} say: {ANSWER}")).is_spoken(ANSWER)


@in_loop
async def test_what_is_updated_holds_for_all_that_comes(assistant: Server, model: Model) -> None:
    async with sdk(assistant) as session:
        wanted = {"type": "realtime", "instructions": "Answer like a bell-ringer.", "output_modalities": ["text"]}
        await session.connection.session.update(session=wanted)
        updated = (await session.until("session.updated"))["session"]
        assert {name: updated[name] for name in wanted} == wanted
        assert updated["id"] == session.events[0]["session"]["id"]
        topic = model.topic()
        for _ in range(2):
            (await session.say(f"topic={topic} say: {ANSWER}")).is_written(ANSWER)
        told = [message["content"] for message in model.asked(topic)]
        assert "Answer like a bell-ringer." in " ".join(told[:-1])
        await session.connection.session.update(session={"type": "realtime", "output_modalities": ["audio"]})
        updated = (await session.until("session.updated"))["session"]
        assert updated["instructions"] == "Answer like a bell-ringer.", "what is not named stays"
        (await session.say(f"topic={topic} say: {ANSWER}")).is_spoken(ANSWER)


@in_loop
async def test_a_turn_knows_those_before_it(assistant: Server, model: Model) -> None:
    topic = model.topic()
    first, second = f"topic={topic} say: Good evening.", f"topic={topic} say: Good night."
    async with sdk(assistant) as session:
        one = await session.say(first)
        other = await session.say(second)
    assert (one.transcript, other.transcript) == ("Good evening.", "Good night.")
    assert one.id != other.id and one.item_id != other.item_id
    assert said(model, topic) == [first, "Good evening.", second]


@in_loop
async def test_small_talk_needs_no_model(server: Server, tmp_path: Path) -> None:
    with served(tmp_path / "server", None) as alone:
        async with sdk(alone) as session:
            answer = await session.say("Hello")
    assert answer.done["status"] == "completed" and answer.transcript
    Sound.of_pcm(answer.audio).is_speech_of(answer.transcript)


@in_loop
async def test_no_two_items_have_one_name(signal: Server, model: Model) -> None:
    """Whoever gives names may give one that would be given here."""
    async with bare(signal) as session:
        await session.say(f"topic={model.topic()} say: One.")
        for name in ("item_2", "item_3", "item_r2"):
            await session.send({"type": "conversation.item.create", "item": user("Mine.") | {"id": name}})
            await session.until("conversation.item.done")
        await session.say(f"topic={model.topic()} say: Two.")
    names = [event["item"]["id"] for event in session.events if event["type"] == "conversation.item.added"]
    assert len(names) == len(set(names)), names


# --- Cut short, taken back, looked at -----------------------------------------------------------------


@in_loop
async def test_who_cancels_hears_nothing_of_it_any_more(assistant: Server, model: Model) -> None:
    topic, other = model.topic(), model.topic()
    async with sdk(assistant) as session:
        await session.ask(f"topic={topic} pace=30 say: {ANSWER} {ANSWER} {ANSWER}")
        for _ in range(4):
            await session.until("response.output_audio.delta")
        await session.connection.response.cancel()
        answer = await session.answer()
        assert answer.done["status"] == "cancelled"
        assert answer.done["status_details"]["reason"] == "client_cancelled"
        said = answer.transcript
        assert said and f"{ANSWER} {ANSWER} {ANSWER}".startswith(said) and len(said) < 3 * len(ANSWER)
        assert model.ended(topic)["state"] == "left"
        seen = len(session.events)
        next_answer = await session.say(f"topic={other} say: {ANSWER}")
        next_answer.is_spoken(ANSWER)
        behind = session.events[seen:]
        assert not [event for event in behind if event.get("response_id") == answer.id], "it went on"
        assert not [event for event in behind if event.get("item_id") == answer.item_id], "it went on"


@in_loop
async def test_what_does_not_run_cannot_be_cancelled(assistant: Server, model: Model) -> None:
    async with sdk(assistant) as session:
        error = await session.refusal(await session.send({"type": "response.cancel"}))
        assert error["code"] == "response_cancel_not_active", error
        (await session.say(f"topic={model.topic()} say: {ANSWER}")).is_spoken(ANSWER)


@in_loop
async def test_one_answer_is_given_at_a_time(assistant: Server, model: Model) -> None:
    async with sdk(assistant) as session:
        await session.ask(f"topic={model.topic()} pace=20 say: {ANSWER}")
        await session.until("response.output_audio.delta")
        error = await session.refusal(await session.send({"type": "response.create"}))
        assert error["code"] == "conversation_already_has_active_response", error
        (await session.answer()).is_spoken(ANSWER)


@in_loop
async def test_what_was_not_heard_was_not_said(assistant: Server, model: Model) -> None:
    topic = model.topic()
    heard_ms = 2000
    async with sdk(assistant) as session:
        answer = await session.say(f"topic={topic} say: {ANSWER}")
        await session.connection.conversation.item.truncate(
            item_id=answer.item_id, content_index=0, audio_end_ms=heard_ms
        )
        truncated = await session.until("conversation.item.truncated")
        told = (truncated["item_id"], truncated["content_index"], truncated["audio_end_ms"])
        assert told == (answer.item_id, 0, heard_ms)
        await session.say(f"topic={topic} say: Good night.")
    heard, whole = bare_words(said(model, topic)[1]), bare_words(ANSWER)
    assert heard == whole[: len(heard)], heard
    # A fast reader says five words a second, a slow one not even two.
    assert 2 <= len(heard) <= 12, heard


@in_loop
async def test_an_answer_is_cut_where_it_was_heard_to(assistant: Server, model: Model) -> None:
    """As voice clients interrupt: they cancel, and say how far they had played."""
    topic, played_ms = model.topic(), 1000
    async with sdk(assistant) as session:
        await session.ask(f"topic={topic} pace=20 say: {ANSWER} {ANSWER}")
        await session.until("response.created")
        while len(session.latest().audio) < 2 * played_ms * RATE * 2 / 1e3:
            await session.until("response.output_audio.delta")
        item = session.latest().item_id
        await session.connection.response.cancel()
        await session.connection.conversation.item.truncate(item_id=item, content_index=0, audio_end_ms=played_ms)
        await session.until("response.done")
        if not any(event["type"] == "conversation.item.truncated" for event in session.events):
            await session.until("conversation.item.truncated")
        await session.say(f"topic={topic} say: Good night.")
    _, told, _ = said(model, topic)
    heard = bare_words(told)
    assert 1 <= len(heard) <= 6 and heard == bare_words(ANSWER)[: len(heard)], heard


@in_loop
async def test_items_can_be_looked_at_and_taken_out(assistant: Server, model: Model) -> None:
    topic = model.topic()
    first = f"topic={topic} say: Good evening."
    async with sdk(assistant) as session:
        items = session.connection.conversation.item
        answer = await session.say(first)
        asked = session.events[[event["type"] for event in session.events].index("conversation.item.added")]
        for wanted, role in ((asked["item"]["id"], "user"), (answer.item_id, "assistant")):
            await items.retrieve(item_id=wanted)
            item = (await session.until("conversation.item.retrieved"))["item"]
            assert (item["id"], item["role"], item["type"]) == (wanted, role, "message")
            (part,) = item["content"]
            assert (part.get("text") or part.get("transcript")) == (first if role == "user" else "Good evening.")
        for taken in (asked["item"]["id"], answer.item_id):
            await items.delete(item_id=taken)
            assert (await session.until("conversation.item.deleted"))["item_id"] == taken
            await session.refusal(await session.send({"type": "conversation.item.retrieve", "item_id": taken}))
        second = f"topic={topic} say: Good night."
        await session.say(second)
    assert said(model, topic) == [second], "it remembers what was taken out"


@in_loop
async def test_a_client_may_bring_what_was_said_before(assistant: Server, model: Model) -> None:
    topic = model.topic()
    before: list[Event] = [
        user("Who are you?") | {"id": "brought_1"},
        {
            "type": "message", "role": "assistant", "id": "brought_2",
            "content": [{"type": "output_text", "text": "A bell-ringer."}],
        },
    ]  # fmt: skip
    question = f"topic={topic} say: Every evening."
    async with sdk(assistant) as session:
        for item in before:
            await session.connection.conversation.item.create(item=item)
            added = await session.until("conversation.item.added")
            assert added["item"]["id"] == item["id"], "its ids are kept"
        await session.say(question)
    assert said(model, topic) == ["Who are you?", "A bell-ringer.", question]


# --- What is wrong ------------------------------------------------------------------------------------

WRONG: dict[str, Event] = {
    "unknown event": {"type": "conversation.item.invent"},
    "no item": {"type": "conversation.item.create"},
    "item of another type": {"type": "conversation.item.create", "item": 5},
    "unknown role": {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": "nobody", "content": [{"type": "input_text", "text": "x"}]},
    },
    "item that is not there": {"type": "conversation.item.delete", "item_id": "item_0"},
    "nothing to look at": {"type": "conversation.item.retrieve", "item_id": "item_0"},
    "nothing to cut": {"type": "conversation.item.truncate", "item_id": "item_0", "content_index": 0, "audio_end_ms": 1},
    "modality of its own": {"type": "response.create", "response": {"output_modalities": ["smell"]}},
    "unknown voice": {
        "type": "session.update",
        "session": {"type": "realtime", "audio": {"output": {"voice": "nobody"}}},
    },
    "no session": {"type": "session.update", "session": 5},
}


@in_loop
async def test_what_is_wrong_is_named_and_the_session_goes_on(assistant: Server, model: Model) -> None:
    async with sdk(assistant) as session:
        for case, wrong in WRONG.items():
            named = await session.send(wrong)
            error = await session.refusal(named)
            assert error["type"] == "invalid_request_error", (case, error)
        # Those that have no id cannot be named.
        for broken in ("{", "[]", '"session.update"', '{"event_id": "x"}', ""):
            await session.write(broken)
            await session.refusal()
        (await session.say(f"topic={model.topic()} say: {ANSWER}")).is_spoken(ANSWER)


@in_loop
async def test_who_does_nothing_but_wrong_is_let_go(assistant: Server) -> None:
    async with bare(assistant) as session:
        for _ in range(BAD_EVENTS_A_MINUTE + 5):
            await session.send({"type": "conversation.item.invent"})
        assert await session.ends() == 1008
        errors = [event for event in session.events if event["type"] == "error"]
        # The one that is too many may be told of, too.
        assert BAD_EVENTS_A_MINUTE <= len(errors) <= BAD_EVENTS_A_MINUTE + 2


@in_loop
async def test_sound_as_a_question_wants_somebody_who_hears(assistant: Server, model: Model) -> None:
    silence = base64.b64encode(bytes(RATE // 5)).decode()
    async with sdk(assistant) as session:
        named = await session.send({"type": "input_audio_buffer.append", "audio": silence})
        assert (await session.refusal(named))["code"] == "input_audio_unavailable"
        named = await session.send({"type": "input_audio_buffer.commit"})
        assert (await session.refusal(named))["code"] == "input_audio_unavailable"
        (await session.say(f"topic={model.topic()} say: {ANSWER}")).is_spoken(ANSWER)


# What the model does, and whether something of the answer is heard before.
FAULTS = {"die": True, "reset": True, "cut": True, "error": True, "broken": True, "html": False, "failed": False}


@in_loop
async def test_a_model_that_fails_fails_its_response_alone(assistant: Server, model: Model) -> None:
    async with sdk(assistant) as session:
        for end, is_heard in FAULTS.items():
            await session.ask(f"topic={model.topic()} after=14 end={end} say: {ANSWER}")
            # There may be an error beside it.
            while (await session.next())["type"] != "response.done":
                pass
            answer = session.latest()
            assert answer.done["status"] == "failed", (end, answer.done)
            assert answer.done["status_details"]["error"]["type"], (end, answer.done)
            assert bool(answer.transcript) == is_heard and ANSWER.startswith(answer.transcript), end
            # It is not asked once more with the next question.
            asked = [event["item"] for event in session.events if event["type"] == "conversation.item.added"]
            await session.connection.conversation.item.delete(
                item_id=[item for item in asked if item["role"] == "user"][-1]["id"]
            )
            await session.until("conversation.item.deleted")
            (await session.say(f"topic={model.topic()} say: All is well.")).is_spoken("All is well.")


# --- Codes of closing ---------------------------------------------------------------------------------


@in_loop
async def test_a_message_may_have_256_kib_and_not_a_byte_more(assistant: Server) -> None:
    async with bare(assistant) as session:
        # A space more or less is nothing to JSON.
        event = '{"type": "conversation.item.invent", "event_id": "long"}'
        await session.write(event.ljust(MESSAGE_BYTES))
        assert (await session.refusal("long"))["type"] == "invalid_request_error"
        await session.write(event.ljust(MESSAGE_BYTES + 1))
        assert await session.ends() == 1009


@in_loop
async def test_so_may_its_fragments_together(assistant: Server) -> None:
    async with bare(assistant) as session:
        event = '{"type": "conversation.item.invent", "event_id": "torn"}'
        await session.connection.send([event[:20], event[20:30], event[30:]])
        await session.refusal("torn")
        await session.connection.send([" " * (MESSAGE_BYTES // 4)] * 5)
        assert await session.ends() == 1009


@pytest.mark.parametrize(("message", "code"), [(b"{}", 1003), (b"\xff\xfe", 1007)])
@in_loop
async def test_what_is_no_text_is_not_taken(assistant: Server, message: bytes, code: int) -> None:
    async with bare(assistant) as session:
        await session.connection.send(message, text=code == 1007)
        assert await session.ends() == code


# Frames that break RFC 6455; those with a mask have one of zeros.
BROKEN = {
    "no mask": b"\x81\x02{}",
    "unknown opcode": b"\x83\x80" + bytes(4),
    "reserved bits": b"\xf1\x82" + bytes(4) + b"{}",
    "a ping in parts": b"\x09\x80" + bytes(4),
    "a part of nothing": b"\x80\x82" + bytes(4) + b"{}",
    "a close with an odd code": b"\x88\x82" + bytes(4) + b"\x03\xed",
}


@in_loop
async def test_what_is_no_frame_ends_the_connection_and_not_the_session(assistant: Server) -> None:
    for case, frame in BROKEN.items():
        async with bare(assistant) as session:
            session.raw(frame)
            assert await session.ends() == 1002, case
        errors = [event["error"] for event in session.events if event["type"] == "error"]
        assert not errors or errors[-1]["code"] == "UNKNOWN_ERROR", (case, errors)
        async with bare(assistant, None, session.events, False, resume=session.token) as back:
            assert (await back.next())["type"] == "evensong.resumed", case


@in_loop
async def test_good_bye_is_answered(assistant: Server) -> None:
    async with bare(assistant) as session:
        await session.connection.close(1000, "thank you")
        assert session.code == 1000


@in_loop
async def test_signs_of_life_are_answered(assistant: Server) -> None:
    async with bare(assistant) as session:
        await (await session.connection.ping(b"still there?"))


# --- Cut off, and back --------------------------------------------------------------------------------

LONG = " ".join([ANSWER] * 2)


async def unbroken(server: Server, question: str) -> Session:
    async with bare(server) as session:
        await session.say(question)
    return session


async def often_cut(server: Server, question: str, dice: random.Random) -> tuple[Session, int]:
    """The same question, on a connection that is cut again and again; and how often that was."""
    cuts = 0
    async with contextlib.AsyncExitStack() as connections:
        session = await connections.enter_async_context(bare(server))
        await session.ask(question)
        # What a client said just before it was cut off may not have come; that is its own to say again.
        await session.until("response.created")
        while not session.is_over():
            for _ in range(dice.randint(1, 12)):
                if (await session.next())["type"] == "response.done":
                    return session, cuts
            await session.cut()
            cuts, after = cuts + 1, session.last_id
            back = bare(server, before=session.events, greeted=False, resume=session.token, after=after)
            session = await connections.enter_async_context(back)
            await resumed(session, after)
        return session, cuts


async def resumed(session: Session, after: str) -> None:
    """The first event says from where it goes on, and is not one of the log."""
    first = await session.next()
    assert (first["type"], first["from"]) == ("evensong.resumed", number(after) + 1), first


def number(event_id: str) -> int:
    """An event's place in the log."""
    return int(re.fullmatch(r"event_(\d+)", event_id)[1])


@pytest.mark.parametrize("seed", range(4))
@in_loop
async def test_nothing_is_lost_or_told_twice_over_cuts(signal: Server, model: Model, seed: int) -> None:
    question = f"topic={model.topic()} pace=10 say: {LONG}"
    whole = (await unbroken(signal, question)).latest()
    session, cuts = await often_cut(signal, question, random.Random(seed))
    answer = session.latest()
    assert cuts > 1
    assert (answer.transcript, answer.done["status"]) == (LONG, "completed")
    assert answer.audio == whole.audio, "the same words are the same samples"
    answer.is_in_order("response.output_audio.", "response.output_audio_transcript.")
    assert_no_gap(session)


def assert_no_gap(session: Session) -> None:
    """Events of one log are numbered one by one."""
    numbers = [number(event["event_id"]) for event in session.events if event["type"] != "evensong.resumed"]
    assert numbers == list(range(1, len(numbers) + 1)), numbers


@in_loop
async def test_an_answer_goes_on_where_its_client_was_cut_off(signal: Server, model: Model) -> None:
    question = f"topic={model.topic()} pace=20 say: {LONG}"
    whole = (await unbroken(signal, question)).latest()
    async with bare(signal) as session:
        await session.ask(question)
        for _ in range(3):
            await session.until("response.output_audio.delta")
        await session.cut()
    async with bare(signal, None, session.events, False, resume=session.token, after=session.last_id) as back:
        await resumed(back, session.last_id)
        answer = await back.answer()
        assert answer.audio == whole.audio and answer.transcript == LONG
        assert_no_gap(back)
        # It is the same session, with what was said in it.
        topic = model.topic()
        (await back.say(f"topic={topic} say: {ANSWER}")).is_in_order("response.output_audio.")
        assert said(model, topic)[:2] == [question, LONG]


@in_loop
async def test_what_is_known_to_have_come_is_not_kept(signal: Server, model: Model) -> None:
    """A client that names an event from long before has a gap, and is told so."""
    async with bare(signal) as session:
        before = session.last_id
        await session.say(f"topic={model.topic()} say: {ANSWER}")
        # What is asked behind the answer is answered behind the server's own question whether that came.
        for _ in range(2):
            await (await session.connection.ping())
        await session.cut()
    async with bare(signal, greeted=False, resume=session.token, after=before) as back:
        await refused(back, "session_lost")
    async with bare(signal, None, session.events, False, resume=session.token, after=session.last_id) as back:
        await resumed(back, session.last_id)
        assert (await back.say(f"topic={model.topic()} say: Still here.")).transcript == "Still here."


@in_loop
async def test_of_two_connections_the_later_one_has_the_session(signal: Server, model: Model) -> None:
    async with bare(signal) as old:
        await old.say(f"topic={model.topic()} say: {ANSWER}")
        async with bare(signal, None, old.events, False, resume=old.token, after=old.last_id) as new:
            await resumed(new, old.last_id)
            assert await old.ends() == 1008, "it is told that it lost"
            # Its late end was not the session's.
            assert (await new.say(f"topic={model.topic()} say: Still here.")).transcript == "Still here."


@in_loop
async def test_a_device_can_move_on_while_its_old_connection_still_speaks(signal: Server, model: Model) -> None:
    """From one network to another: what the old one was told meanwhile is told again."""
    async with bare(signal) as old:
        # Slowly, so that what it is told while another one connects is no more than a device may be behind.
        await old.ask(f"topic={model.topic()} pace=300 say: {ANSWER}")
        await old.until("response.output_audio.delta")
        read = list(old.events)
        rest = asyncio.create_task(old.ends())
        async with bare(signal, None, read, False, resume=old.token, after=read[-1]["event_id"]) as new:
            await resumed(new, read[-1]["event_id"])
            answer = await new.answer()
            assert await rest == 1008
    assert answer.transcript == ANSWER
    assert_no_gap(new)


async def refused(session: Session, code: str) -> None:
    assert (await session.refusal())["code"] == code
    assert await session.ends() == 1008


@in_loop
async def test_what_nobody_gave_out_is_unknown(assistant: Server) -> None:
    async with bare(assistant) as session:
        token = session.token
    middle = len(token) // 2
    other = "A" if token[middle] != "A" else "B"
    for forged in ("x", "0" * 64, token[:-8], token[:middle] + other + token[middle + 1 :], token + "A" * 4):
        async with bare(assistant, greeted=False, resume=forged, after=session.last_id) as stranger:
            await refused(stranger, "unknown_session")


@in_loop
async def test_what_is_over_is_lost(assistant: Server) -> None:
    async with bare(assistant) as session:
        pass
    assistant.idle_within(GRACE_SECONDS + FREED_SECONDS)
    async with bare(assistant, greeted=False, resume=session.token, after=session.last_id) as late:
        await refused(late, "session_lost")


# --- Whose it is --------------------------------------------------------------------------------------


@in_loop
async def test_a_session_is_its_owners(server: Server, model: Model, tmp_path: Path) -> None:
    file, binary = tmp_path / "keys.toml", os.environ["EVENSONG_BIN"]

    def key(name: str, scope: str) -> str:
        command = [binary, "keys", "--keys-file", str(file), "add", name, "--scope", scope]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]

    ann, bob, speaker = key("ann", "dialogue"), key("bob", "dialogue"), key("speaker", "speech")

    def protocols(key: str) -> list[str]:
        return ["realtime", f"openai-insecure-api-key.{key}"]

    with served(tmp_path / "server", model, keys_file=str(file)) as guarded:
        for wrong, status in ((None, 401), (protocols("nobody"), 401), (protocols(speaker), 403)):
            with pytest.raises(InvalidStatus) as turned_away:
                async with bare(guarded, wrong):
                    pass
            assert turned_away.value.response.status_code == status
        # By a header, as the SDK does it; by a subprotocol and by a ticket, as browsers have to.
        async with sdk(guarded, ann) as session:
            assert (await session.say(f"topic={model.topic()} say: Yes.")).transcript == "Yes."
        async with bare(guarded, protocols(ann)) as session:
            assert session.connection.subprotocol == "realtime"
            token, last = session.token, session.last_id
        bearer = {"Authorization": f"Bearer {ann}"}
        ticket = httpx.post(f"{guarded.url}/api/tickets", headers=bearer).json()["ticket"]
        async with bare(guarded, ticket=ticket) as session:
            assert (await session.say(f"topic={model.topic()} say: Yes.")).transcript == "Yes."
        with pytest.raises(InvalidStatus):
            async with bare(guarded, ticket=ticket):
                pass
        # What is another's is as if it were not there.
        async with bare(guarded, protocols(bob), greeted=False, resume=token, after=last) as foreign:
            await refused(foreign, "unknown_session")
        async with bare(guarded, protocols(ann), greeted=False, resume=token, after=last) as own:
            assert (await own.next())["type"] == "evensong.resumed"


@in_loop
async def test_a_page_from_elsewhere_is_not_let_in(assistant: Server) -> None:
    url = f"{assistant.url}/v1/realtime".replace("http", "ws", 1)
    with pytest.raises(InvalidStatus) as turned_away:
        async with websockets.connect(url, origin="https://elsewhere.example"):
            pass
    assert turned_away.value.response.status_code == 403
