"""Sound of a session where no server listens, but somebody writes down what is said: it is kept until the client says that it is
all, and what was written down is answered like a text. Who writes is a server of this file with OpenAI's
`/audio/transcriptions`, which takes a sound for the tone that it is, and does what it is told."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import threading
import time
import wave
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from conftest import Server
from relay import appended, error, speaks, words
from session import Answer, Event, Session, bare, in_loop, sdk
from test_realtime import GRACE_SECONDS, assert_no_gap, resumed, said, served
from upstream_session import PCM, PCMA, PCMU, RATE, outward, silence, tone, written_down
from voice import Model, language_model

KEY = "sk-writes-down"
SCRIBE = "whisper-large"
COMPLETED = "conversation.item.input_audio_transcription.completed"
FAILED = "conversation.item.input_audio_transcription.failed"
MOST_SECONDS = 60
LEAST_SECONDS = 0.1


class Scribe(ThreadingHTTPServer):
    """Writes down what is said; `is_free` is whether it does so now, and `answer` what it says instead, if anything."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Writes)
        self.is_free = threading.Event()
        self.begins_anew()

    def begins_anew(self) -> None:
        self.heard: list[bytes] = []
        self.asked: list[dict[str, str]] = []
        self.keys: list[str | None] = []
        self.left = 0
        self.answer: tuple[int, Any] | None = None
        # What stands before each text, by which the language model is told what to do.
        self.before = ""
        self.is_free.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, *_: Any) -> None:
        self.left += 1


class Writes(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scribe

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        parts = form(self.headers["content-type"], body)
        scribe = self.server
        scribe.keys.append(self.headers["authorization"])
        scribe.asked.append({name: part.decode() for name, part in parts.items() if name != "file"})
        with wave.open(io.BytesIO(parts["file"])) as sound:
            assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (RATE, 1, 2)
            pcm = sound.readframes(sound.getnframes())
        assert len(pcm) == len(parts["file"]) - 44, "its head says how long it is"
        scribe.heard.append(pcm)
        while not scribe.is_free.wait(0.05):
            self.connection.settimeout(0.01)
            with contextlib.suppress(TimeoutError):
                if not self.connection.recv(1):
                    raise ConnectionResetError
        status, told = scribe.answer or (200, {"text": scribe.before + written_down(pcm)})
        answer = json.dumps(told).encode()
        self.send_response(status if self.path == "/v1/audio/transcriptions" else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


def form(content_type: str, body: bytes) -> dict[str, bytes]:
    """The parts of a form, by their names."""
    whole: Message = BytesParser().parsebytes(b"content-type: " + content_type.encode() + b"\r\n\r\n" + body)
    parts = {}
    for part in whole.get_payload():
        parts[part.get_param("name", header="content-disposition")] = part.get_payload(decode=True)
    return parts


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with language_model() as model:
        yield model


@pytest.fixture(scope="module")
def writes() -> Iterator[Scribe]:
    with Scribe() as scribe:
        threading.Thread(target=scribe.serve_forever, daemon=True).start()
        yield scribe
        scribe.shutdown()


@pytest.fixture
def scribe(writes: Scribe) -> Iterator[Scribe]:
    writes.begins_anew()
    yield writes
    writes.is_free.set()


@pytest.fixture(scope="module")
def hearing(writes: Scribe, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    asked = {"base_url": writes.url, "api_key": KEY, "model": SCRIBE}
    settings = {f"answer_transcriber_{name}": value for name, value in asked.items()}
    folder = tmp_path_factory.mktemp("hear") / "server"
    with served(folder, model, speech_engine="tone", **settings) as hearing:
        yield hearing
    assert KEY not in (folder / "stderr.log").read_text(), "the log has the key"


async def is_written_down(session: Session, text: str) -> Event:
    """What was committed is written down as this; its item."""
    committed = await session.until("input_audio_buffer.committed")
    added = await session.until("conversation.item.added")
    assert added["item"]["id"] == committed["item_id"] and added["item"]["role"] == "user"
    assert added["previous_item_id"] == committed["previous_item_id"]
    (part,) = added["item"]["content"]
    assert (part["type"], part["transcript"]) == ("input_audio", None), part
    written = await session.until(COMPLETED)
    assert (written["item_id"], written["content_index"], written["transcript"]) == (committed["item_id"], 0, text)
    done = await session.until("conversation.item.done")
    assert done["item"]["id"] == committed["item_id"] and done["item"]["content"][0]["transcript"] == text
    return done["item"]


@in_loop
async def test_a_spoken_question_is_written_down_and_answered(hearing: Server, scribe: Scribe, model: Model) -> None:
    topic = model.topic()
    scribe.before = f"topic={topic} say: It was "
    question = scribe.before + written_down(words(440))
    async with sdk(hearing) as session:
        told = session.connection
        pcm = words(440)
        for at in range(0, len(pcm), 9_600):
            await told.input_audio_buffer.append(audio=base64.b64encode(pcm[at : at + 9_600]).decode())
        await told.input_audio_buffer.commit()
        await is_written_down(session, question)
        await told.response.create()
        (await session.answer()).is_spoken("It was " + written_down(pcm))
        # The next turn knows it.
        (await session.say(f"topic={topic} say: Good night.")).is_spoken("Good night.")
        assert_no_gap(session)
    assert scribe.heard == [pcm], "to the last sample"
    assert scribe.asked == [{"model": SCRIBE, "response_format": "json"}] and scribe.keys == [f"Bearer {KEY}"]
    assert said(model, topic) == [question, "It was " + written_down(pcm), f"topic={topic} say: Good night."]


@in_loop
async def test_an_answer_that_is_asked_for_at_once_waits_for_what_was_said(hearing: Server, scribe: Scribe, model: Model) -> None:
    scribe.before = f"topic={model.topic()} say: "
    scribe.is_free.clear()
    async with sdk(hearing) as session:
        await speaks(session, words(440))
        await session.connection.input_audio_buffer.commit()
        await session.connection.response.create(response={"output_modalities": ["text"], "metadata": {"a": "b"}})
        second = await session.send({"type": "response.create"})
        refused = await session.refusal(second)
        assert refused["code"] == "conversation_already_has_active_response"
        assert "response.created" not in [event["type"] for event in session.events], "nothing can be read yet"
        # Nor is anything heard meanwhile.
        busy = await session.refusal(await session.send(appended(silence(0.1))))
        assert busy["code"] == "input_audio_buffer_busy"
        scribe.is_free.set()
        answer = await session.answer()
        answer.is_written(written_down(words(440)))
        assert answer.done["metadata"] == {"a": "b"}


@in_loop
async def test_an_answer_that_waits_can_be_cancelled(hearing: Server, scribe: Scribe, model: Model) -> None:
    scribe.before = f"topic={model.topic()} say: "
    scribe.is_free.clear()
    async with bare(hearing) as session:
        await speaks(session, words(440))
        for name in ("input_audio_buffer.commit", "response.create", "response.cancel"):
            await session.send({"type": name})
        # Whoever waits has been told of no answer yet: none is told to be cancelled.
        await (await session.connection.ping())
        scribe.is_free.set()
        await session.until("conversation.item.done")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(session.until("response.created"), 1)


@in_loop
async def test_sound_is_what_it_was_when_it_came(hearing: Server, scribe: Scribe) -> None:
    """The format changes in the middle of what is said."""
    async with bare(hearing) as session:
        await session.send(appended(tone(440, 0.5)))
        await session.send({"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"format": PCMU}}}})
        await session.until("session.updated")
        await session.send(appended(outward(PCMU, tone(440, 0.5))))
        await session.send({"type": "input_audio_buffer.commit"})
        assert (await session.until(COMPLETED))["transcript"] == written_down(tone(440, 1.0))


@pytest.mark.parametrize("form", [PCM, PCMU, PCMA], ids=lambda form: form["type"])
@in_loop
async def test_a_telephone_is_heard_and_answered_in_its_own_way(
    hearing: Server, scribe: Scribe, model: Model, form: dict[str, Any]
) -> None:
    scribe.before = f"topic={model.topic()} say: "
    async with sdk(hearing) as session:
        audio = {"input": {"format": form}, "output": {"format": form}}
        await session.connection.session.update(session={"type": "realtime", "audio": audio})
        updated = (await session.until("session.updated"))["session"]["audio"]
        assert (updated["input"]["format"], updated["output"]["format"]) == (form, form)
        pcm = words(440)
        sound = outward(form, pcm)
        for at in range(0, len(sound), 800):
            await session.send(appended(sound[at : at + 800]))
        await session.connection.input_audio_buffer.commit()
        await session.connection.response.create()
        answer = await session.answer()
        assert answer.done["status"] == "completed" and answer.transcript == written_down(pcm), answer.transcript
        (heard,) = scribe.heard
        assert abs(len(heard) - len(pcm)) <= RATE * 2 // 100, (len(heard), len(pcm))
        # What it says lasts as long either way.
        again = await session.say(f"{scribe.before}{written_down(pcm)}", audio={"output": {"format": PCM}})
        assert answer.audio and abs(seconds(answer) - seconds(again)) < 0.02
        assert_no_gap(session)


def seconds(answer: Answer) -> float:
    """How long an answer lasts, by what its response says of its format."""
    told = answer.done["audio"]["output"]["format"]
    return len(answer.audio) / (RATE * 2 if told == PCM else RATE // 3)


@in_loop
async def test_what_is_cleared_was_never_said(hearing: Server, scribe: Scribe) -> None:
    async with bare(hearing) as session:
        await speaks(session, words(550))
        await session.send({"type": "input_audio_buffer.clear"})
        await session.until("input_audio_buffer.cleared")
        too_little = await session.refusal(await session.send({"type": "input_audio_buffer.commit"}))
        assert too_little["code"] == "input_audio_buffer_commit_empty"
        await session.send(appended(tone(440, LEAST_SECONDS / 2)))
        too_little = await session.refusal(await session.send({"type": "input_audio_buffer.commit"}))
        assert too_little["code"] == "input_audio_buffer_commit_empty"
        # What there was is still there.
        await session.send(appended(tone(440, LEAST_SECONDS / 2)))
        await session.send({"type": "input_audio_buffer.commit"})
        await is_written_down(session, written_down(2 * tone(440, LEAST_SECONDS / 2)))
    assert scribe.heard == [2 * tone(440, LEAST_SECONDS / 2)]


@in_loop
async def test_no_more_than_a_minute_is_heard_at_once(hearing: Server, scribe: Scribe) -> None:
    """A telephone's, which is brought in a moment."""
    async with bare(hearing) as session:
        audio = {"input": {"format": PCMU}}
        await session.send({"type": "session.update", "session": {"type": "realtime", "audio": audio}})
        await session.until("session.updated")
        second = outward(PCMU, tone(440, 1.0))
        for _ in range(MOST_SECONDS + 1):
            await session.send(appended(second))
            await asyncio.sleep(0.07)
        full = await session.refusal()
        assert full["code"] == "input_audio_buffer_full", full
        await session.send({"type": "input_audio_buffer.commit"})
        await session.until(COMPLETED)
        (heard,) = scribe.heard
        assert MOST_SECONDS - 2 < len(heard) / RATE / 2 <= MOST_SECONDS
        await session.send(appended(tone(440, 0.5)))
        await session.send({"type": "input_audio_buffer.commit"})
        await session.until(COMPLETED)


# What the server that writes says, and the code under which a client is told of it.
FAULTS = {
    "silence": ((200, {"text": "  "}), "nothing_said"),
    "a novel": ((200, {"text": "word " * 20_000}), "question_too_long"),
    "an error": ((400, {"error": {"message": "no such model"}}), "transcription_failed"),
    "nothing of use": ((200, {"words": "none"}), "transcription_failed"),
}


@pytest.mark.parametrize("fault", FAULTS)
@in_loop
async def test_what_cannot_be_written_down_is_said_to_be_so(hearing: Server, scribe: Scribe, model: Model, fault: str) -> None:
    answer, code = FAULTS[fault]
    async with sdk(hearing) as session:
        scribe.answer = answer
        await speaks(session, words(440))
        await session.connection.input_audio_buffer.commit()
        committed = await session.until("input_audio_buffer.committed")
        failed = await session.until(FAILED)
        assert (failed["item_id"], failed["error"]["code"]) == (committed["item_id"], code), failed
        assert failed["error"]["message"]
        await session.until("conversation.item.done")
        scribe.answer, scribe.before = None, f"topic={model.topic()} say: "
        await speaks(session, words(550))
        await session.connection.input_audio_buffer.commit()
        await session.connection.response.create()
        (await session.answer()).is_spoken(written_down(words(550)))
        assert_no_gap(session)


@in_loop
async def test_an_answer_to_what_could_not_be_written_down_is_refused(hearing: Server, scribe: Scribe) -> None:
    scribe.answer = (200, {"text": ""})
    async with bare(hearing) as session:
        await speaks(session, words(440))
        await session.send({"type": "input_audio_buffer.commit"})
        await session.send({"type": "response.create"})
        await session.until("conversation.item.done")
        await error(session, "no_question", 5)
        assert_no_gap(session)


@in_loop
async def test_who_leaves_while_it_is_written_finds_it_on_return(hearing: Server, scribe: Scribe, model: Model) -> None:
    scribe.before = f"topic={model.topic()} say: "
    scribe.is_free.clear()
    async with bare(hearing) as session:
        await speaks(session, words(440))
        await session.send({"type": "input_audio_buffer.commit"})
        await session.until("input_audio_buffer.committed")
        await session.send({"type": "response.create"})
        await (await session.connection.ping())
        await session.cut()
    scribe.is_free.set()
    await asyncio.sleep(0.5)
    async with bare(hearing, None, session.events, False, resume=session.token, after=session.last_id) as back:
        await resumed(back, session.last_id)
        (await back.answer()).is_spoken(written_down(words(440)))
        assert_no_gap(back)


@in_loop
async def test_a_session_that_is_over_lets_its_writer_go(hearing: Server, scribe: Scribe) -> None:
    scribe.is_free.clear()
    async with bare(hearing) as session:
        await speaks(session, words(440))
        await session.send({"type": "input_audio_buffer.commit"})
        await session.until("input_audio_buffer.committed")
    await asyncio.to_thread(hearing.idle_within, GRACE_SECONDS + 2.0)
    deadline = time.monotonic() + 2
    while not scribe.left:
        assert time.monotonic() < deadline, "it still writes"
        await asyncio.sleep(0.02)
