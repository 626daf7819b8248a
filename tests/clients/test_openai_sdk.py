"""OpenAI's own Python SDK, unchanged but for its base URL, speaks through Evensong."""

from __future__ import annotations

import base64
import json

import pytest
from audio import Comparison, Sound, decode, pcm_of_wav
from conftest import LONGEST, PARAGRAPH, SENTENCE, Server
from openai import BadRequestError, OpenAI

CONTENT_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm;rate=24000;channels=1",
}
FORMATS = list(CONTENT_TYPES)
ENCODED = [format for format in FORMATS if format != "pcm"]
LOSSY = ["mp3", "opus"]
# Made in the same pieces as pcm. flac has less room for one, and pauses between other words.
ALIKE = ["mp3", "opus", "wav", "pcm"]
# What a stream says once, at its start, however many pieces it was made from. mp3 has no such thing.
HEADERS = {"opus": b"OpusHead", "flac": b"fLaC", "wav": b"RIFF"}
# All that a stream of speech may hold, kernel buffers included.
STREAM_MAX_BYTES = 448 * 1024


def speech(**changes: object) -> dict[str, object]:
    """A request that is in order but for `changes`."""
    request = {"model": "tts-1", "voice": "alloy", "input": SENTENCE, "response_format": "pcm"}
    return request | changes


@pytest.fixture(scope="module")
def paragraph(server: Server) -> bytes:
    """What every format is measured against."""
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        pcm = client.audio.speech.create(**speech(input=PARAGRAPH)).content
    Sound.of_pcm(pcm).is_speech_of(PARAGRAPH)
    return pcm


# --- Whole --------------------------------------------------------------------------------------------


def test_create_pcm(client: OpenAI) -> None:
    answer = client.audio.speech.create(**speech())
    assert answer.response.headers["content-type"] == CONTENT_TYPES["pcm"]
    assert not answer.content.startswith(b"RIFF"), "pcm has no header"
    Sound.of_pcm(answer.content).is_speech_of(SENTENCE)


def test_create_wav(client: OpenAI) -> None:
    # By the standard library's reader, which trusts no sizes but its own.
    wav = client.audio.speech.create(**speech(response_format="wav")).content
    Sound.of_pcm(pcm_of_wav(wav)).is_speech_of(SENTENCE)


def test_mp3_is_what_is_made_unless_asked(client: OpenAI) -> None:
    answer = client.audio.speech.create(model="tts-1", voice="alloy", input=SENTENCE)
    assert answer.response.headers["content-type"] == CONTENT_TYPES["mp3"]


@pytest.mark.usefixtures("ffmpeg")
@pytest.mark.parametrize("format", ENCODED)
def test_another_decoder_hears_the_same(client: OpenAI, paragraph: bytes, format: str) -> None:
    answer = client.audio.speech.create(**speech(input=PARAGRAPH, response_format=format))
    assert answer.response.headers["content-type"] == CONTENT_TYPES[format]
    if header := HEADERS.get(format):
        assert answer.content.count(header) == 1, "a header for each piece, not one for the stream"
    decoded = decode(answer.content)
    if format == "wav":
        assert decoded == pcm_of_wav(answer.content)
    if format in LOSSY:
        assert len(answer.content) < len(paragraph) / 5
    heard, spoken = Sound.of_pcm(decoded), Sound.of_pcm(paragraph)
    assert heard.seconds == pytest.approx(spoken.seconds, abs=0.15)
    assert heard.rms_dbfs == pytest.approx(spoken.rms_dbfs, abs=1.0)
    heard.is_speech_of(PARAGRAPH)
    assert heard.largest_step < spoken.largest_step + 0.25
    assert heard.longest_silence_seconds < spoken.longest_silence_seconds + 0.1
    if format in ALIKE:
        assert_joined(decoded, paragraph)


def test_speed_is_heard(client: OpenAI) -> None:
    def seconds(speed: float) -> float:
        return Sound.of_pcm(client.audio.speech.create(**speech(speed=speed)).content).seconds

    assert seconds(2.0) < 0.7 * seconds(1.0)


# --- Streamed -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ffmpeg")
@pytest.mark.parametrize("format", FORMATS)
def test_streaming_begins_before_the_end(client: OpenAI, server: Server, format: str) -> None:
    request = speech(input=LONGEST, response_format=format)
    with client.audio.speech.with_streaming_response.create(**request) as answer:
        assert answer.headers["content-type"] == CONTENT_TYPES[format]
        chunks = answer.iter_bytes(4096)
        sound = bytearray(next(chunks))
        # Nobody has read the rest, so it cannot have been made: no buffer has room for it.
        ledger = server.ledger()
        assert not ledger["idle"], "the stream was over before its first chunk was read"
        budget = ledger["budget"]
        assert budget["held"] <= budget["reserved"] <= budget["total"]
        assert int(answer.headers["x-stream-max-bytes"]) <= STREAM_MAX_BYTES
        for chunk in chunks:
            sound += chunk
    pcm = bytes(sound) if format == "pcm" else decode(bytes(sound))
    Sound.of_pcm(pcm).is_speech_of(LONGEST)


@pytest.mark.parametrize("format", FORMATS)
def test_an_early_leave_frees_everything(client: OpenAI, server: Server, format: str) -> None:
    request = speech(input=LONGEST, response_format=format)
    with client.audio.speech.with_streaming_response.create(**request) as answer:
        # Kept in a name: dropping the iterator already closes the connection.
        chunks = answer.iter_bytes(4096)
        assert next(chunks)
        assert not server.ledger()["idle"], "nothing was running that could be freed"
    server.idle_within(seconds=1.0)
    budget = server.ledger()["budget"]
    assert (budget["reserved"], budget["held"]) == (0, 0)


@pytest.mark.usefixtures("ffmpeg")
@pytest.mark.parametrize("format", ENCODED)
def test_what_came_before_a_break_can_be_heard(
    client: OpenAI, paragraph: bytes, format: str
) -> None:
    request = speech(input=PARAGRAPH, response_format=format)
    whole = len(client.audio.speech.create(**request).content)
    cut = bytearray()
    with client.audio.speech.with_streaming_response.create(**request) as answer:
        chunks = answer.iter_bytes(1000)
        while len(cut) < whole / 2:
            cut += next(chunks)
    decoded = decode(bytes(cut), torn=True)
    heard = Sound.of_pcm(decoded)
    assert 0.4 < heard.seconds / Sound.of_pcm(paragraph).seconds < 0.6
    assert heard.clipped_share < 0.001
    assert heard.largest_step < 0.7
    if format in ALIKE:
        assert_joined(decoded, paragraph)


@pytest.mark.usefixtures("ffmpeg")
@pytest.mark.parametrize("format", FORMATS)
def test_events_carry_the_same_sound(client: OpenAI, format: str) -> None:
    request = speech(model="gpt-4o-mini-tts", response_format=format)
    plain = client.audio.speech.create(**request).content
    plain_pcm = plain if format == "pcm" else decode(plain)
    request["stream_format"] = "sse"
    with client.audio.speech.with_streaming_response.create(**request) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        lines = [line for line in answer.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines), lines
    *deltas, done = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert len(deltas) > 1, "one event is no stream"
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    assert done["type"] == "speech.audio.done"
    usage = done["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
    sound = b"".join(base64.b64decode(delta["audio"], validate=True) for delta in deltas)
    pcm = sound if format == "pcm" else decode(sound)
    Sound.of_pcm(pcm).is_speech_of(SENTENCE)
    assert_joined(pcm, plain_pcm, late=0.0)


def test_leaving_events_early_frees_everything(client: OpenAI, server: Server) -> None:
    request = speech(model="gpt-4o-mini-tts", input=LONGEST, stream_format="sse")
    with client.audio.speech.with_streaming_response.create(**request) as answer:
        lines = answer.iter_lines()
        assert next(lines)
        assert not server.ledger()["idle"], "nothing was running that could be freed"
    server.idle_within(seconds=1.0)


# --- What can be asked for ----------------------------------------------------------------------------


def test_the_model_that_is_asked_for_is_listed(client: OpenAI) -> None:
    models = [model.id for model in client.models.list()]
    assert "tts-1" in models
    assert client.models.retrieve("tts-1").id == "tts-1"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": "x" * 4097}, "input"),
        ({"voice": "nobody"}, "voice"),
        ({"speed": 9}, "speed"),
        ({"response_format": "aac"}, "response_format"),
        ({"response_format": "mp4"}, "response_format"),
        ({"stream_format": "websocket"}, "stream_format"),
    ],
    ids=["empty input", "4097 characters", "unknown voice", "speed 9", "aac", "mp4", "no stream"],
)
def test_errors_name_the_field(client: OpenAI, changes: dict[str, object], param: str) -> None:
    with pytest.raises(BadRequestError) as raised:
        client.audio.speech.create(**speech(**changes))
    error = raised.value
    assert error.param == param
    assert error.type == "invalid_request_error"
    assert error.request_id, "x-request-id is missing"
    if param == "response_format":
        missing = [format for format in FORMATS if format not in error.message]
        assert not missing, f"it must say what can be had: {error.message}"


def assert_joined(decoded: bytes, original: bytes, late: float = 0.06) -> None:
    """Asserts that nothing is missing and nothing jumps, where pieces meet or anywhere else."""
    compared = Comparison.of(decoded, original)
    assert compared.late <= late, compared
    assert not compared.gaps and not compared.clicks, compared
