"""Sound that is relayed, and what goes wrong with it: a server behind that is lost, slow, flooding or wrong, clients that leave at
every moment, and sessions that are over. Each test has a server behind to itself, which says afterwards what it was sent and how
its connections ended."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from relay import (
    LOCAL, LONG, PART_MS, RESTART_SECONDS, SLACK_SECONDS, answer_to, appended, as_text, asks, error, errors, held, is_answer,
    is_answered_here, is_open, replayed, speaks, stays, text_of, wants_transcripts, words,
)  # fmt: skip
from session import Session, bare, user
from stages import Stage, Stages, stages_of, waits
from test_realtime import GRACE_SECONDS, assert_no_gap, resumed, said
from upstream_session import BYTES_A_MS, silence, spoken

# How often it asks for a connection in vain, and for how long it waits for one.
ATTEMPTS_MOST = 3
CONNECT_SECONDS = 10.0
# Of sound that waits for the server behind; of all that a session may hold besides.
QUEUE_BYTES = 384 * 1024
BESIDES_BYTES = 2 * 1024 * 1024
CLOSED_WELL = {"code": 1000, "reason": "Normal closure"}


@pytest.fixture(scope="module")
def stages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    with stages_of(request, tmp_path_factory.mktemp("faults")) as stages:
        yield stages


# --- The server behind does what it should not ----------------------------------------------------------


@waits
async def test_sound_that_it_does_not_take_is_dropped_and_said_to_be(stage: Stage) -> None:
    relay, upstream = stage.relay, stage.upstream
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


@waits
async def test_a_session_is_over_whether_or_not_it_is_read(stage: Stage) -> None:
    """Nothing of the session waits for one who does not hear its good-bye."""
    relay, upstream = stage.relay, stage.upstream
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


@waits
async def test_what_the_client_does_not_take_is_not_read(stage: Stage) -> None:
    relay, upstream = stage.relay, stage.upstream
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


@waits
async def test_a_flood_that_is_taken_comes_through_within_bounds(stage: Stage) -> None:
    relay, upstream = stage.relay, stage.upstream
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
        # A good-bye would be said behind all that lies in between.
        await session.cut()


# What it sends, what the frame is made of, and by which code it is told (RFC 6455, 7.4.1).
BROKEN: dict[str, tuple[dict[str, Any], int]] = {
    "too large": ({"what": "oversize"}, 1009),
    "much too large": ({"what": "oversize", "bytes": 8 * 1024 * 1024}, 1009),
    "no JSON": ({"what": "send", "text": "<html>Bad gateway</html>"}, 1008),
    "no object": ({"what": "send", "text": "[1, 2]"}, 1008),
    "no type": ({"what": "send", "text": '{"event_id": "event_1"}'}, 1008),
    "binary": ({"what": "send", "base64": "AAECAw=="}, 1003),
    "no UTF-8": ({"what": "raw", "base64": base64.b64encode(b"\x81\x02\xff\xfe").decode()}, 1007),
    "no frame": ({"what": "raw", "base64": base64.b64encode(b"HTTP/1.1 400 Bad Request\r\n" * 8).decode()}, 1002),
    "masked": ({"what": "raw", "base64": base64.b64encode(b"\x81\x82\x00\x00\x00\x00{}").decode()}, 1002),
}


@pytest.mark.parametrize("case", BROKEN)
@waits
async def test_what_it_should_not_send_is_said_and_survived(stage: Stage, case: str) -> None:
    relay, upstream, model = stage.relay, stage.upstream, stage.model
    deed, code = BROKEN[case]
    async with bare(relay) as session:
        await wants_transcripts(session)
        await asks(session, 440)
        before = held(relay)
        upstream.does(**deed)
        await error(session, "upstream_lost", 5)
        assert held(relay) - before < BESIDES_BYTES
        (link,) = await upstream.until(lambda links: links[0]["state"] == "over", 3)
        told = link["close_received"]
        await is_answered_here(session, model)
        await upstream.until(lambda links: is_open(links, 2), RESTART_SECONDS + SLACK_SECONDS)
        await asks(session, 550)
        assert_no_gap(session)
    assert told and told["code"] == code, f"it was told {told}"


@waits
async def test_a_server_that_closes_is_answered(stage: Stage) -> None:
    relay, upstream = stage.relay, stage.upstream
    for number, code in enumerate((1000, 1001, 1011, 4000)):
        async with bare(relay) as session:
            await wants_transcripts(session)
            await asks(session, 440)
            upstream.does("close", code=code, reason="enough")
            lost = await error(session, "upstream_lost")
            assert str(code) in lost["message"], lost
            links = await upstream.until(lambda links: links[number]["state"] == "over", 3)
            assert links[number]["close_received"] and links[number]["close_received"]["code"] == code, links[number]


@pytest.mark.parametrize("greets", [True, False], ids=["greets", "does not"])
@waits
async def test_a_server_that_greets_nobody_is_talked_to(stage: Stage, greets: bool) -> None:
    """The settings are sent unasked, and nothing waits for what it says of its own."""
    relay, upstream = stage.relay, stage.upstream
    upstream.behaves(greets=greets)
    async with bare(relay) as session:
        await wants_transcripts(session)
        await asks(session, 440)
        assert ("session.created" in [event["type"] for event in upstream.sent()]) == greets
        assert_no_gap(session)


@waits
async def test_a_server_that_refuses_its_settings_is_still_a_server(stage: Stage) -> None:
    relay, upstream = stage.relay, stage.upstream
    upstream.behaves(refuses_updates=True)
    async with bare(relay) as session:
        await wants_transcripts(session)
        await speaks(session, words(440))
        assert (await error(session, "invalid_value"))["param"] == "session"
        answer = await session.answer()
        # It was not told to write anything down, and has a voice of its own.
        assert answer.done["status"] == "completed" and answer.transcript.startswith("You said:")
        upstream.behaves(refuses_updates=False)
        await wants_transcripts(session)
        await asks(session, 550)
        assert len(upstream.links()) == 1
        assert_no_gap(session)


@waits
async def test_a_server_that_says_nothing_harms_nobody(stage: Stage) -> None:
    """It takes the connection, and neither greets, reads nor answers."""
    relay, upstream = stage.relay, stage.upstream
    upstream.behaves(greets=False, reads=False)
    async with bare(relay) as session:
        await wants_transcripts(session)
        await speaks(session, words(440))
        await upstream.until(lambda links: is_open(links, 1))
        (row,) = [row for row in relay.ledger()["sessions"] if row["state"] == "live"]
        assert row["relay"] == "running" and not row["answering"], row
        upstream.behaves(reads=True)
        heard = await session.until("conversation.item.input_audio_transcription.completed")
        assert heard["transcript"] == text_of(440)
        is_answer(await session.answer(), answer_to(440))


@waits
async def test_a_message_in_fragments_is_one(stage: Stage) -> None:
    relay, upstream = stage.relay, stage.upstream
    async with bare(relay) as session:
        await wants_transcripts(session)
        await asks(session, 440)
        await session.until("rate_limits.updated")
        upstream.does("send", parts=['{"type": "rate_limits.updated", "event_id": "x", "ra', 'te_limits"', ": []}"])
        assert (await session.next())["rate_limits"] == []


# --- The server behind is lost --------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["close", "reset"])
@waits
async def test_a_lost_server_fails_its_answer_and_is_asked_again(stage: Stage, end: str) -> None:
    relay, upstream, model = stage.relay, stage.upstream, stage.model
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


@waits
async def test_it_is_asked_three_times_in_vain_and_again_when_somebody_speaks(stage: Stage) -> None:
    relay, upstream, model = stage.relay, stage.upstream, stage.model
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
@waits
async def test_a_server_that_cannot_be_reached_is_said_to_be(stage: Stage, fault: str) -> None:
    relay, upstream, model = stage.relay, stage.upstream, stage.model
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


@waits
async def test_a_server_that_never_answers_is_waited_for_for_ten_seconds(stage: Stage) -> None:
    relay, upstream, model = stage.relay, stage.upstream, stage.model
    upstream.behaves(hangs=True)
    async with bare(relay) as session:
        await wants_transcripts(session)
        began = time.monotonic()
        await speaks(session, words(440))
        await error(session, "upstream_unavailable")
        assert CONNECT_SECONDS - 0.5 < time.monotonic() - began < CONNECT_SECONDS + SLACK_SECONDS
        await upstream.until(lambda links: links[0]["state"] == "over", 1)
        await is_answered_here(session, model)


@waits
async def test_a_handshake_that_takes_long_is_waited_for(stage: Stage) -> None:
    relay, upstream = stage.relay, stage.upstream
    upstream.behaves(handshake_ms=4_000)
    async with bare(relay) as session:
        await wants_transcripts(session)
        await asks(session, 440)


# --- The client is away ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
@waits
async def test_nothing_of_the_server_behind_is_lost_over_cuts(stage: Stage, seed: int) -> None:
    relay, upstream = stage.relay, stage.upstream
    dice = random.Random(seed)
    upstream.behaves(answer=LONG, pace_ms=15)
    async with contextlib.AsyncExitStack() as connections:
        session = await connections.enter_async_context(bare(relay))
        await wants_transcripts(session)
        await speaks(session, words(440))
        await session.until("response.created")
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


@waits
async def test_a_device_that_moves_on_takes_its_connection_along(stage: Stage) -> None:
    relay, upstream = stage.relay, stage.upstream
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


@waits
async def test_who_is_away_has_nothing_asked_for_it(stage: Stage) -> None:
    """The server behind closes while nobody is there; it is asked again when somebody is."""
    patient, upstream, model = stage.patient, stage.upstream, stage.model
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


@waits
async def test_who_leaves_before_it_is_asked_again_has_it_asked_on_return(stage: Stage) -> None:
    patient, upstream = stage.patient, stage.upstream
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
@waits
async def test_who_leaves_while_it_connects_leaves_nothing_there(stage: Stage, leaves: str) -> None:
    patient, upstream = stage.patient, stage.upstream
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


@waits
async def test_a_hundred_that_leave_while_it_connects_leave_nothing(stage: Stage) -> None:
    relay, upstream = stage.relay, stage.upstream
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


@waits
async def test_a_session_that_is_over_says_good_bye_behind(stage: Stage) -> None:
    relay, upstream = stage.relay, stage.upstream
    async with bare(relay) as session:
        await wants_transcripts(session)
        await asks(session, 440)
    (link,) = await upstream.until(lambda links: links[0]["state"] == "over", GRACE_SECONDS + SLACK_SECONDS)
    assert link["close_received"] == CLOSED_WELL and link["closed_by_peer"], link
    assert link["lost"] is None, link


@waits
async def test_what_comes_late_for_a_session_that_is_over_goes_nowhere(stage: Stage) -> None:
    """It is in the middle of an answer, and does not stop."""
    relay, upstream = stage.relay, stage.upstream
    upstream.behaves(answer=" ".join([LONG] * 10), pace_ms=40)
    async with bare(relay) as session:
        await wants_transcripts(session)
        await speaks(session, words(440))
        await session.until("response.output_audio.delta")
    (link,) = await upstream.until(lambda links: links[0]["state"] == "over", GRACE_SECONDS + SLACK_SECONDS)
    assert link["close_received"] == CLOSED_WELL, link
    await asyncio.to_thread(relay.idle_within, SLACK_SECONDS)
    await stays(lambda: len(upstream.links()) == 1, RESTART_SECONDS + 1)


@waits
async def test_a_session_that_ends_before_it_is_asked_again_stays_ended(stage: Stage) -> None:
    relay, upstream = stage.relay, stage.upstream
    async with bare(relay) as session:
        await wants_transcripts(session)
        await asks(session, 440)
        upstream.does("reset")
        await error(session, "upstream_lost")
    await asyncio.to_thread(relay.idle_within, GRACE_SECONDS + SLACK_SECONDS)
    await stays(lambda: len(upstream.links()) == 1, RESTART_SECONDS + 1)


# --- What is told again ---------------------------------------------------------------------------------


async def told_again(stage: Stage, session: Session) -> list[tuple[str, str, str]]:
    """What the server behind is told of the conversation, when it was lost."""
    stage.upstream.does("reset")
    await error(session, "upstream_lost")
    await stage.upstream.until(lambda links: is_open(links, 2), RESTART_SECONDS + SLACK_SECONDS)
    await asks(session, 770)
    return as_text(replayed(stage.upstream))


@waits
async def test_items_are_told_again_in_the_order_of_the_conversation(stage: Stage) -> None:
    async with bare(stage.relay) as session:
        await wants_transcripts(session)
        first = await asks(session, 440)
        await session.until("rate_limits.updated")
        for name, behind in (("first", "root"), ("third", first.item_id), ("second", "first")):
            item = user(name) | {"id": name}
            await session.send({"type": "conversation.item.create", "item": item, "previous_item_id": behind})
            await session.until("conversation.item.done")
        wanted = [turn["text"] for turn in stage.upstream.links()[0]["turns"]]
        assert wanted == ["first", "second", text_of(440), answer_to(440), "third"]
        assert [text for _, _, text in await told_again(stage, session)] == wanted


@waits
async def test_what_was_not_heard_of_an_answer_is_not_told_again(stage: Stage) -> None:
    """The server behind forgets the words of what was cut short."""
    async with bare(stage.relay) as session:
        await wants_transcripts(session)
        answer = await asks(session, 440)
        await session.until("rate_limits.updated")
        await session.send({
            "type": "conversation.item.truncate", "item_id": answer.item_id, "content_index": 0, "audio_end_ms": 100,
        })  # fmt: skip
        await session.until("conversation.item.truncated")
        told = await told_again(stage, session)
        assert answer_to(440) not in [text for _, _, text in told], told


@waits
async def test_an_item_that_was_deleted_may_come_again(stage: Stage) -> None:
    """By the same name, which the server behind was told before it heard anything."""
    async with bare(stage.relay) as session:
        await wants_transcripts(session)
        await session.send({"type": "conversation.item.create", "item": user("Once.") | {"id": "mine"}})
        await session.until("conversation.item.done")
        await asks(session, 440)
        await session.until("rate_limits.updated")
        await session.send({"type": "conversation.item.delete", "item_id": "mine"})
        await session.until("conversation.item.deleted")
        await session.send({"type": "conversation.item.create", "item": user("Twice.") | {"id": "mine"}})
        done = await asyncio.wait_for(session.until("conversation.item.done"), 3)
        assert done["item"]["content"][0]["text"] == "Twice."
        assert ("mine", "user", "Twice.") in await told_again(stage, session)


@waits
async def test_an_answer_that_is_spoken_into_is_known_behind(stage: Stage) -> None:
    """It is given here, while the server behind is connected to."""
    relay, upstream, model = stage.relay, stage.upstream, stage.model
    async with bare(relay) as session:
        await wants_transcripts(session)
        question = f"topic={model.topic()} pace=100 say: {LONG}"
        await session.ask(question)
        await session.until("response.output_audio.delta")
        await speaks(session, words(440))
        answer = await session.answer()
        assert answer.done["status"] == "cancelled", answer.done
        is_answer(await session.answer(), answer_to(440))
        told = [turn["text"] for turn in upstream.links()[0]["turns"]]
        assert told[0] == question and told[-2:] == [text_of(440), answer_to(440)], told
        assert len(told) == 4 and told[1] and LONG.startswith(told[1]), told
        assert answer.done["status_details"]["reason"] == "turn_detected", "nobody asked for that"
