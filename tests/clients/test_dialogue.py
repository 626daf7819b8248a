"""Dialogues as a front-end has them: it asks, is told at once that there is somebody thinking, reads and hears the answer
while it is written, interrupts it, leaves and comes back. The language model is a stub that does what it is told, in
another language than the server; where there is none, the index answers."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from audio import RATE, Sound, decode, rms
from conftest import SENTENCE, Server, evensong, skip
from voice import Front, Heard, Model, Refused, language_model, until

# Some seconds of speech in several clauses, without a number or a shortened word: as many words are spoken as stand here.
ANSWER = (
    "The evening is quiet in the valley. Bells ring from the old tower, and a dog answers them. "
    "Nobody knows why it does that. Then the lights go out, one after the other."
)
FORMATS = ["mp3", "opus", "flac", "wav", "pcm"]
TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
# The server waits for a model that is silent as long as this, so that the tests need not.
IDLE_SECONDS = "1.5"


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with language_model() as model:
        yield model


@pytest.fixture(scope="module")
def assistant(server: Server, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with that model; and `server` is there so that this is skipped where there is no voice."""
    folder = tmp_path_factory.mktemp("assistant") / "server"
    settings = {
        "answer_llm_base_url": f"{model.url}/v1",
        "answer_llm_model": "stub",
        "speech_tone": "true",
        "upstream_idle_seconds": IDLE_SECONDS,
        "upstream_first_byte_seconds": IDLE_SECONDS,
        "dialogue_grace_seconds": "2",
    }
    with evensong(folder, **settings) as assistant:
        assistant_log[assistant.url] = folder / "stderr.log"
        yield assistant


# Where each server's log is.
assistant_log: dict[str, Path] = {}


@pytest.fixture
def front(assistant: Server) -> Iterator[Front]:
    with Front(assistant) as front:
        yield front


def pcm_of(format: str, encoded: bytes) -> bytes:
    return encoded if format == "pcm" else decode(encoded)


# --- An answer ----------------------------------------------------------------------------------------


def test_it_is_told_at_once_and_costs_no_sound(front: Front, model: Model) -> None:
    answer = front.post({"text": f"topic={model.topic()} end=mute What do you think?"})
    told = answer.json()
    assert answer.status_code == 202 and len(answer.content) < 2048, "no audio bytes in it, ever"
    assert told["answering"] == "llm" and told["epoch"] == 1 and told["format"] == "mp3"
    indicator = told["thinkingIndicator"]
    assert indicator["type"] == "sound" and re.fullmatch(r"/assets/thinking\.\w+\.mp3", indicator["asset"])
    with front.events(told) as events:
        first = next(events)
    assert first.name == "thinking" and first.id == "1.1"
    assert first.value == {"epoch": 1} | indicator
    sound = front.http.get(indicator["asset"])
    assert sound.headers["content-type"] == "audio/mpeg" and "immutable" in sound.headers["cache-control"]
    again = front.http.get(indicator["asset"], headers={"If-None-Match": sound.headers["etag"]})
    assert again.status_code == 304 and not again.content
    log = assistant_log[front.server.url].read_text()
    assert "POST /api/voice/converse" in log
    assert "Client will play local thinking sound (0 bytes transferred)" in log
    assert "Including thinking sound in POST response" not in log


@pytest.mark.parametrize("kind", ["text", "none"])
def test_how_it_thinks_is_the_clients_choice(front: Front, model: Model, kind: str) -> None:
    told = front.converse(f"topic={model.topic()} say: Yes, that is so.", thinking=kind)
    indicator = told["thinkingIndicator"]
    assert indicator["type"] == kind and bool(indicator.get("text")) == (kind == "text")
    assert "asset" not in indicator
    heard = front.hear(told)
    assert [event.value["type"] for event in heard.named("thinking")[:1]] in (
        [kind],
        [] if kind == "none" else [kind],
    )
    assert heard.done


def test_a_slow_answer_is_heard_while_it_is_written(front: Front, model: Model) -> None:
    topic = model.topic()
    told = front.converse(f"topic={topic} first=100 pace=60 say: {ANSWER}", format="pcm")
    heard = Heard()
    with front.events(told) as events:
        first = until(events, "audio", heard)
        assert model.turn(topic)["state"] == "open", "it was heard when all was written"
        until(events, "done", heard)
    said = model.turn(topic)
    assert first.at * 1e3 < said["last_ms"]
    assert heard.text == ANSWER
    assert heard.names[0] == "thinking" and heard.names.index("text") < heard.names.index("audio")
    timings = heard.done["timings"]
    assert 100 <= timings["first_text_ms"] <= timings["first_audio_ms"] <= timings["total_ms"]
    # From the first word that it said to the first that was heard.
    assert first.at * 1e3 - said["clause_ms"] < 500


@pytest.mark.usefixtures("ffmpeg")
@pytest.mark.parametrize("format", FORMATS)
def test_the_sound_is_speech_and_as_long_as_it_says(front: Front, model: Model, format: str) -> None:
    # Time for both to come, since who is alone and leaves takes all along.
    told = front.converse(f"topic={model.topic()} first=300 say: {ANSWER}", format=format)
    plain = front.threads.submit(front.http.get, told["streams"]["audio"])
    heard = front.hear(told)
    sound = Sound.of_pcm(pcm_of(format, heard.audio))
    sound.is_speech_of(ANSWER)
    audio_ms = heard.done["timings"]["audio_ms"]
    assert sound.seconds * 1e3 == pytest.approx(audio_ms, rel=0.05)
    assert plain.result().content == heard.audio, "both are the same stream"
    assert plain.result().headers["content-type"].startswith(TYPES[format])


def test_the_test_signal_is_the_same_each_time(front: Front, model: Model) -> None:
    sounds = {
        front.say(f"topic={model.topic()} pace={pace} say: {SENTENCE}", model="tone", format="wav").audio
        for pace in (0, 0, 20)
    }
    assert len(sounds) == 1, "the same clauses, however they came"


def test_words_rise_and_fit_what_is_heard(front: Front, model: Model) -> None:
    heard = front.say(f"topic={model.topic()} pace=5 say: {ANSWER}", format="pcm")
    words = heard.words
    assert not any(word.get("proportional") for word in words), "this engine knows its words"
    assert [bare(word["word"]) for word in words] == [[word] for word in bare(ANSWER)]
    assert all(0 <= word["start_ms"] < word["end_ms"] for word in words)
    for one, other in zip(words, words[1:]):
        assert one["start_ms"] < other["start_ms"] and one["end_ms"] <= other["start_ms"] + 50, (one, other)
    audio_ms = len(heard.audio) / 2 / RATE * 1e3
    assert words[0]["start_ms"] < 300 and audio_ms - 1000 < words[-1]["end_ms"] <= audio_ms + 1
    samples = memoryview(heard.audio).cast("h")
    silent = [word for word in words if rms(samples[of(word["start_ms"]) : of(word["end_ms"])]) < 100]
    assert not silent, "there is nothing to be heard where these are said to be"
    clauses = [event.value["clause"] for event in heard.named("audio")]
    assert clauses == sorted(clauses) and len(set(clauses)) >= 4


def of(ms: float) -> int:
    """The sample at that time."""
    return round(ms * RATE / 1e3)


# --- Who listens, and when ----------------------------------------------------------------------------


def test_all_listeners_get_the_same(front: Front, model: Model) -> None:
    told = front.converse(f"topic={model.topic()} first=300 pace=10 say: {ANSWER}")
    plain, beside = front.threads.submit(front.sound, told), front.threads.submit(front.hear, told)
    one, other = front.hear(told), beside.result()
    assert [(e.id, e.name, e.value) for e in one.events] == [(e.id, e.name, e.value) for e in other.events]
    assert one.audio and one.audio == plain.result()


def test_who_comes_late_gets_all(front: Front, model: Model) -> None:
    topic = model.topic()
    told = front.converse(f"topic={topic} say: {ANSWER}")
    model.ended(topic)
    with front.events(told) as events:
        early = Heard()
        until(events, "audio", early)
        late = front.hear(told)
        until(events, "done", early)
    assert late.text == ANSWER and late.done
    assert late.audio == early.audio


def test_who_comes_when_all_is_over_gets_all_too(front: Front, model: Model) -> None:
    topic = model.topic()
    told = front.converse(f"topic={topic} say: Good evening.")
    model.ended(topic)
    # Spoken to its end as well: nothing of it works any more.
    front.server.until(lambda ledger: not live(ledger, "job", "speech_stream", "upstream_request"))
    heard = front.hear(told)
    assert heard.text == "Good evening." and heard.audio and heard.done


def live(ledger: dict[str, Any], *kinds: str) -> int:
    return sum(kind["live"] for kind in ledger["kinds"] if kind["kind"] in kinds)


def test_an_event_source_that_reconnects_is_told_to_stop(front: Front, model: Model) -> None:
    told = front.converse(f"topic={model.topic()} say: Good evening.")
    heard = front.hear(told)
    assert heard.done
    again = front.http.get(told["streams"]["events"], headers={"Last-Event-ID": heard.last.id})
    assert again.status_code == 204 and not again.content


def test_who_leaves_and_comes_back_loses_nothing(front: Front, model: Model) -> None:
    told = front.converse(f"topic={model.topic()} pace=15 say: {ANSWER}", resumable=True, format="pcm")
    heard = Heard()
    for name in ("thinking", "text", "audio", "audio", "audio"):
        # Each time on a new connection.
        last_id = heard.events[-1].id if heard.events else ""
        with front.events(told, last_id) as events:
            until(events, name, heard)
    heard.events += front.hear(told, heard.events[-1].id).events
    assert [event.id for event in heard.events] == [f"1.{seq + 1}" for seq in range(len(heard.events))]
    assert heard.text == ANSWER
    audio_ms = heard.done["timings"]["audio_ms"]
    assert len(heard.audio) / 2 / RATE * 1e3 == pytest.approx(audio_ms, abs=1)
    Sound.of_pcm(heard.audio).is_speech_of(ANSWER)


def test_who_leaves_for_good_takes_all_along(front: Front, model: Model) -> None:
    topic = model.topic()
    told = front.converse(f"topic={topic} pace=100 sentences=20")
    with front.events(told) as events:
        left_behind = until(events, "audio")
    left = time.monotonic()
    turn = model.ended(topic)
    assert turn["state"] == "left" and turn["ended_ms"] - left * 1e3 < 200
    again = front.http.get(told["streams"]["events"], headers={"Last-Event-ID": left_behind.id})
    assert again.status_code == 204
    assert front.http.get(told["streams"]["events"]).status_code == 404
    log = assistant_log[front.server.url].read_text()
    assert re.search(r"\[Voice Cleanup\] Cleared \d+ buffered messages", log)


def test_who_comes_back_too_late_finds_nothing(front: Front, model: Model) -> None:
    topic = model.topic()
    told = front.converse(f"topic={topic} pace=100 sentences=20", resumable=True)
    with front.events(told) as events:
        last = until(events, "audio")
    # Its grace is two seconds, and then the model is let go of, if not before.
    model.ended(topic)
    front.server.idle_within(5)
    again = front.http.get(told["streams"]["events"], headers={"Last-Event-ID": last.id})
    assert again.status_code in (204, 410)


def test_a_dialogue_is_stopped_by_whoever_has_it(front: Front, model: Model) -> None:
    topic = model.topic()
    told = front.converse(f"topic={topic} pace=100 sentences=20")
    heard = Heard()
    with front.events(told) as events:
        until(events, "audio", heard)
        assert front.delete(told["dialogueId"]) == 204
        heard.events += list(events)
    assert "done" not in heard.names
    assert model.ended(topic)["state"] == "left"
    assert front.http.get(told["streams"]["events"]).status_code == 404
    with pytest.raises(Refused) as refused:
        front.converse("And now?", dialogueId=told["dialogueId"])
    assert refused.value.status == 404 and refused.value.problem["type"] == "dialogue_not_found"


# --- One turn after the other -------------------------------------------------------------------------


def test_history_goes_to_the_client_and_comes_back(front: Front, model: Model) -> None:
    first = f"topic={model.topic()} say: Good evening."
    history = front.say(first).done["history"]
    assert history == [{"role": "user", "text": first}, {"role": "assistant", "text": "Good evening."}]
    topic = model.topic()
    second = f"topic={topic} say: Good night."
    later = front.say(second, history=history).done["history"]
    system, *messages = model.asked(topic)
    assert system["role"] == "system"
    expected = [(turn["role"], turn["text"]) for turn in history] + [("user", second)]
    assert [(message["role"], message["content"]) for message in messages] == expected
    assert later[:2] == history and later[3]["text"] == "Good night."


def test_history_is_kept_for_who_follows(front: Front, model: Model) -> None:
    first, topic = f"topic={model.topic()} say: Good evening.", model.topic()
    second = f"topic={topic} say: Good night."
    told = front.converse(first)
    with front.events(told, follow=True) as events:
        until(events, "done")
        again = front.converse(second, dialogueId=told["dialogueId"])
        assert (again["dialogueId"], again["epoch"]) == (told["dialogueId"], 2)
        heard = Heard()
        until(events, "done", heard)
    assert {event.epoch for event in heard.events} == {2} and heard.text == "Good night."
    assert heard.names[0] == "thinking"
    messages = [message["content"] for message in model.asked(topic)[1:]]
    assert messages == [first, "Good evening.", second]


def test_who_interrupts_hears_nothing_of_the_old(front: Front, model: Model) -> None:
    first, second = model.topic(), model.topic()
    told = front.converse(f"topic={first} pace=30 say: {ANSWER} {ANSWER} {ANSWER}")
    heard = Heard()
    with front.events(told, follow=True) as events:
        while len(heard.words) < 12:
            until(events, "audio", heard)
        spoken = heard.words
        played_ms = spoken[5]["end_ms"]
        question = f"topic={second} say: Let me start again."
        again = front.converse(question, dialogueId=told["dialogueId"], played_ms=played_ms)
        until(events, "done", heard)
    assert again["epoch"] == 2
    at = heard.names.index("interrupted")
    interrupted = heard.events[at].value
    assert interrupted["epoch"] == 1
    assert {event.epoch for event in heard.events[:at]} == {1}
    assert {event.epoch for event in heard.events[at + 1 :]} == {2}, (
        "something of the old one came behind its end"
    )
    assert heard.events[at + 1].name == "thinking"
    assert bare(interrupted["heard_text"]) == [bare(word["word"])[0] for word in spoken[:6]]
    assert interrupted["history"][-1] == {"role": "assistant", "text": interrupted["heard_text"]}
    assert model.ended(first)["state"] == "left"
    messages = [message["content"] for message in model.asked(second)[1:]]
    assert messages[-2:] == [interrupted["heard_text"], question]
    assert "Let me start again." == "".join(
        event.value["text"] for event in heard.events[at:] if event.name == "text"
    )


def bare(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def test_a_stream_of_one_turn_ends_where_it_is_interrupted(front: Front, model: Model) -> None:
    told = front.converse(f"topic={model.topic()} pace=30 say: {ANSWER} {ANSWER}")
    heard = Heard()
    with front.events(told) as events:
        until(events, "audio", heard)
        front.converse(f"topic={model.topic()} say: Yes.", dialogueId=told["dialogueId"])
        heard.events += list(events)
    assert heard.last.name == "interrupted"
    assert {event.epoch for event in heard.events} == {1}


def test_what_was_heard_can_be_told_afterwards(front: Front, model: Model) -> None:
    told = front.converse(f"topic={model.topic()} pace=30 say: {ANSWER} {ANSWER}")
    heard = Heard()
    with front.events(told, follow=True) as events:
        while len(heard.words) < 12:
            until(events, "audio", heard)
        front.converse(f"topic={model.topic()} end=mute Wait.", dialogueId=told["dialogueId"])
        until(events, "interrupted", heard)
        spoken = heard.words
        for count in (1, 4, 9):
            answer = front.heard(told["dialogueId"], played_ms=spoken[count - 1]["end_ms"], epoch=1)
            assert bare(answer["heard_text"]) == [bare(word["word"])[0] for word in spoken[:count]]
            assert {"role": "assistant", "text": answer["heard_text"]} in answer["history"]
        assert front.heard(told["dialogueId"], played_ms=0, epoch=1)["heard_text"] == ""


def test_the_same_key_is_the_same_turn(front: Front, model: Model) -> None:
    topic, key = model.topic(), str(uuid.uuid4())
    text = f"topic={topic} pace=30 say: {ANSWER}"
    # Both at once, and a third later.
    both = [front.threads.submit(front.converse, text, key) for _ in range(2)]
    answers = [one.result() for one in both] + [front.converse(text, key)]
    assert answers[0] == answers[1] == answers[2]
    with pytest.raises(Refused) as refused:
        front.converse(f"{text} And more.", key)
    assert refused.value.status == 422 and refused.value.problem["type"] == "idempotency_mismatch"
    heard = front.hear(answers[0])
    assert heard.text == ANSWER and heard.done
    assert len(model.turns(topic)) == 1, "one turn, not two"
    front.delete(answers[0]["dialogueId"])
    with pytest.raises(Refused) as refused:
        front.converse(text, key)
    assert refused.value.status == 409 and refused.value.problem["type"] == "turn_over"


def test_without_a_key_the_same_words_are_two_turns(front: Front, model: Model) -> None:
    topic = model.topic()
    one, other = (front.converse(f"topic={topic} say: Yes.") for _ in range(2))
    assert one["dialogueId"] != other["dialogueId"]
    assert front.hear(one).done and front.hear(other).done
    assert len(model.turns(topic)) == 2


# --- What goes wrong ----------------------------------------------------------------------------------

# What the model does, and whether something of the answer is heard before.
FAULTS = {
    "stall": True, "die": True, "reset": True, "cut": True, "error": True, "broken": True, "endless": True,
    "html": False, "json": False, "empty": False, "refused": False, "failed": False, "mute": False,
}  # fmt: skip


@pytest.mark.parametrize("end", FAULTS)
def test_a_model_that_fails_is_an_error_and_never_an_end(front: Front, model: Model, end: str) -> None:
    topic = model.topic()
    after = "" if end == "endless" else "after=14"
    question = f"{after} end={end} say: {ANSWER}"
    # Half an hour would be spoken of what never ends, so it is said quickly.
    how = {"model": "tone", "speed": 4, "format": "pcm"} if end == "endless" else {}
    heard = front.say(f"topic={topic} {question}", **how)
    error = heard.last
    assert error.name == "error" and error.value["epoch"] == 1
    assert all(isinstance(error.value["error"][name], str) for name in ("message", "type", "code")), error
    assert bool(heard.text) == FAULTS[end]
    if end not in ("endless", "error"):
        assert ANSWER.startswith(heard.text)
    # Where bytes were sent it is cut off; before the first it is a proper refusal.
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError, Refused)) as cut:
        front.sound(front.converse(f"topic={model.topic()} {question}", **how))
    if isinstance(cut.value, Refused):
        assert cut.value.status >= 500 and not heard.audio
    model.ended(topic)
    # It is that turn's fault alone.
    assert front.say(f"topic={model.topic()} say: All is well again.").done


def test_a_dialogue_goes_on_behind_an_error(front: Front, model: Model) -> None:
    told = front.converse(f"topic={model.topic()} after=10 end=die say: {ANSWER}")
    with front.events(told, follow=True) as events:
        until(events, "error")
        front.converse(f"topic={model.topic()} say: Here I am.", dialogueId=told["dialogueId"])
        heard = Heard()
        until(events, "done", heard)
    assert heard.text == "Here I am." and {event.epoch for event in heard.events} == {2}


UNKNOWN = "0" * 32
STREAM = f"/api/voice/open-stream?dialogueId={UNKNOWN}&capability={'0' * 32}"


def test_what_nobody_knows_is_not_found(front: Front) -> None:
    with pytest.raises(Refused) as refused:
        front.converse("Where am I?", dialogueId=UNKNOWN)
    assert refused.value.status == 404
    assert (refused.value.problem["type"], refused.value.problem.get("param")) == (
        "dialogue_not_found",
        "dialogueId",
    )
    assert front.http.get(STREAM).status_code == 404
    assert front.http.get(STREAM, headers={"Last-Event-ID": "1.17"}).status_code == 204
    assert front.http.get(f"/api/voice/dialogues/{UNKNOWN}/audio?capability={'0' * 32}").status_code == 404
    assert front.delete(UNKNOWN) == 404
    with pytest.raises(Refused) as refused:
        front.heard(UNKNOWN, played_ms=0)
    assert refused.value.status == 404


WRONG = {
    "no text": ({"text": None}, "text"),
    "empty text": ({"text": " \n "}, "text"),
    "text too long": ({"text": "word " * 4000}, "text"),
    "text of another type": ({"text": 5}, "text"),
    "unknown voice": ({"voice": "nobody"}, "voice"),
    "unknown format": ({"format": "midi"}, "format"),
    "too fast": ({"speed": 9}, "speed"),
    "unknown thinking": ({"thinking": "aloud"}, "thinking"),
    "resumable of another type": ({"resumable": "perhaps"}, "resumable"),
    "history of another type": ({"history": "We spoke before."}, "history"),
    "unknown role": ({"history": [{"role": "nobody", "text": "x"}]}, "history"),
    "heard before it began": ({"played_ms": -1}, "played_ms"),
    "dialogue of another type": ({"dialogueId": 5}, "dialogueId"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_asked_names_its_field(front: Front, case: str) -> None:
    wrong, field = WRONG[case]
    body = {name: value for name, value in ({"text": "Good evening?"} | wrong).items() if value is not None}
    answer = front.post(body)
    problem = answer.json()
    assert answer.status_code == 400, problem
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert problem["status"] == 400 and problem["type"] and problem["detail"]
    assert problem["param"].split("[")[0].split(".")[0] == field, problem
    codes = {"empty text": "empty_text", "text too long": "text_too_long"}
    codes |= {"unknown voice": "unknown_voice", "unknown format": "unsupported_format"}
    assert problem["type"] == codes.get(case, problem["type"])


def test_sound_as_a_question_wants_somebody_who_hears(front: Front) -> None:
    sound = {"audio": ("question.wav", b"RIFF" + b"\0" * 40, "audio/wav")}
    answer = front.http.post(
        "/api/voice/converse", files=sound, data={"request": json.dumps({"format": "pcm"})}
    )
    assert answer.status_code == 400 and answer.json()["type"] == "audio_input_unavailable"


def test_a_dialogue_is_its_owners(server: Server, tmp_path: Path) -> None:
    file, binary = tmp_path / "keys.toml", os.environ["EVENSONG_BIN"]

    def key(name: str, scope: str) -> str:
        command = [binary, "keys", "--keys-file", str(file), "add", name, "--scope", scope]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]

    ann, bob, speaker = key("ann", "dialogue"), key("bob", "dialogue"), key("speaker", "speech")
    with (
        evensong(tmp_path / "server", keys_file=str(file)) as guarded,
        Front(guarded) as nobody,
        Front(guarded, speaker) as other,
        Front(guarded, ann) as owner,
        Front(guarded, bob) as foreign,
    ):
        assert nobody.post({"text": "Who am I?"}).status_code == 401
        assert other.post({"text": "Who am I?"}).status_code == 403
        told = owner.converse("What is a ring?")
        dialogue, events = told["dialogueId"], told["streams"]["events"]
        with pytest.raises(Refused) as refused:
            foreign.converse("And what is it for?", dialogueId=dialogue)
        assert refused.value.status == 404, "as if there were none"
        assert foreign.delete(dialogue) == 404
        for wrong in (
            events.split("&capability=")[0],
            re.sub("capability=.*", f"capability={'0' * 32}", events),
        ):
            assert nobody.http.get(wrong).status_code in (401, 403, 404)
        # The capability is enough for what a browser fetches without headers.
        assert nobody.hear(told).done


# --- Without a model; by curl; word times without a dialogue --------------------------------------------


@pytest.mark.usefixtures("ffmpeg")
def test_without_a_model_the_index_answers_and_names_its_sources(server: Server) -> None:
    with Front(server) as front:
        told = front.converse("What does the budget promise to clients?")
        assert told["answering"] == "found"
        heard = front.hear(told)
    (sources,) = heard.named("sources")
    hits = sources.value["hits"]
    assert hits and all(hit["id"] and hit["title"] for hit in hits)
    assert f" That is from {hits[0]['title']}" in heard.text, "the first is what was read from"
    assert heard.done
    Sound.of_pcm(decode(heard.audio)).is_speech_of(heard.text)


def test_what_is_in_no_document_is_said_to_be_so(server: Server) -> None:
    with Front(server) as front:
        heard = front.say("Xylophagous quokkas?")
    assert heard.text == "I found nothing about that." and heard.audio and heard.done
    assert not any(event.value["hits"] for event in heard.named("sources"))


@pytest.mark.usefixtures("ffmpeg")
def test_a_conversation_by_curl_alone(server: Server) -> None:
    """As the README shows it: ask, and pipe the sound into a player, here one that writes samples."""
    if not shutil.which("curl"):
        skip("curl is not installed")
    ask = ["curl", "-fsS", f"{server.url}/api/voice/converse", "-H", "Content-Type: application/json"]
    asked = subprocess.run(
        [*ask, "-d", '{"text": "What is a ring?"}'], capture_output=True, check=True, timeout=30
    )
    told = json.loads(asked.stdout)
    curl = ["curl", "-fsSN", server.url + told["streams"]["audio"]]
    with subprocess.Popen(curl, stdout=subprocess.PIPE) as source:
        play = ["ffmpeg", "-v", "error", "-i", "-", "-f", "s16le", "-ac", "1", "-ar", str(RATE), "-"]
        played = subprocess.run(play, stdin=source.stdout, capture_output=True, check=True, timeout=60)
    assert source.returncode == 0
    sound = Sound.of_pcm(played.stdout)
    assert sound.seconds > 1 and -32 < sound.rms_dbfs < -9 and sound.clipped_share < 0.001


@pytest.mark.parametrize("form", ["ndjson", "sse"])
def test_speech_with_the_times_of_its_words(server: Server, form: str) -> None:
    body = {"model": "tts-1", "voice": "alloy", "input": ANSWER, "response_format": "pcm"}
    body |= {"stream_format": "sse"} if form == "sse" else {}
    answer = httpx.post(f"{server.url}/v1/audio/speech/timestamps", json=body, timeout=30)
    assert answer.status_code == 200, answer.text[:300]
    lines = answer.text.split("\n")
    if form == "sse":
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    told = [json.loads(line) for line in lines if line]
    *parts, done = told
    assert done["type"] == "done" and "usage" in done
    assert {part["type"] for part in parts} == {"audio"}
    words = [word for part in parts for word in part.get("words", [])]
    assert [bare(word["word"])[0] for word in words] == bare(ANSWER)
    starts = [word["start_ms"] for word in words]
    assert starts == sorted(starts)
    sound = Sound.of_pcm(b"".join(base64.b64decode(part["audio"]) for part in parts))
    sound.is_speech_of(ANSWER)
    assert words[-1]["end_ms"] <= sound.seconds * 1e3 + 1
