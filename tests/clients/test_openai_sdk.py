"""OpenAI's own Python SDK, unchanged but for its base URL, speaks through Evensong."""

from __future__ import annotations

import pytest
from audio import Sound, decode, pcm_of_wav
from conftest import Server, skip
from openai import BadRequestError, OpenAI

SENTENCE = (
    "The quick brown fox jumps over the lazy dog, while five boxing wizards look on "
    "and wonder what it means."
)
# The longest input there is: more than four minutes, 12 MB, far more than any buffer on the way holds.
LONGEST = (SENTENCE + " ") * 40
LONGEST = LONGEST[:4095] + "."
# All that a stream of speech may hold, kernel buffers included.
STREAM_MAX_BYTES = 448 * 1024


def speech(**changes: object) -> dict[str, object]:
    """A request that is in order but for `changes`."""
    request = {"model": "tts-1", "voice": "alloy", "input": SENTENCE, "response_format": "wav"}
    return request | changes


def test_create_wav(client: OpenAI) -> None:
    answer = client.audio.speech.create(**speech())
    assert answer.response.headers["content-type"] == "audio/wav"
    pcm = pcm_of_wav(answer.content)
    Sound.of_pcm(pcm).is_speech_of(SENTENCE)


def test_create_pcm(client: OpenAI) -> None:
    answer = client.audio.speech.create(**speech(response_format="pcm"))
    assert answer.response.headers["content-type"] == "audio/pcm;rate=24000;channels=1"
    assert not answer.content.startswith(b"RIFF"), "pcm has no header"
    sound = Sound.of_pcm(answer.content)
    sound.is_speech_of(SENTENCE)
    wav = pcm_of_wav(client.audio.speech.create(**speech()).content)
    assert sound.seconds == pytest.approx(Sound.of_pcm(wav).seconds, rel=0.05)


def test_another_decoder_hears_the_same(client: OpenAI) -> None:
    wav = client.audio.speech.create(**speech()).content
    decoded = decode(wav)
    if decoded is None:
        skip("ffmpeg is not installed")
    assert decoded == pcm_of_wav(wav)


def test_speed_is_heard(client: OpenAI) -> None:
    def seconds(speed: float) -> float:
        answer = client.audio.speech.create(**speech(response_format="pcm", speed=speed))
        return Sound.of_pcm(answer.content).seconds

    assert seconds(2.0) < 0.7 * seconds(1.0)


def test_streaming_begins_before_the_end(client: OpenAI, server: Server) -> None:
    with client.audio.speech.with_streaming_response.create(**speech(input=LONGEST)) as answer:
        chunks = answer.iter_bytes(4096)
        wav = bytearray(next(chunks))
        # Nobody has read the rest, so it cannot have been made: no buffer has room for it.
        ledger = server.ledger()
        assert not ledger["idle"], "the stream was over before its first chunk was read"
        budget = ledger["budget"]
        assert budget["held"] <= budget["reserved"] <= budget["total"]
        assert int(answer.headers["x-stream-max-bytes"]) <= STREAM_MAX_BYTES
        for chunk in chunks:
            wav += chunk
    Sound.of_pcm(pcm_of_wav(bytes(wav))).is_speech_of(LONGEST)


def test_an_early_leave_frees_everything(client: OpenAI, server: Server) -> None:
    with client.audio.speech.with_streaming_response.create(**speech(input=LONGEST)) as answer:
        # Kept in a name: dropping the iterator already closes the connection.
        chunks = answer.iter_bytes(4096)
        assert next(chunks)
        assert not server.ledger()["idle"], "nothing was running that could be freed"
    server.idle_within(seconds=1.0)
    budget = server.ledger()["budget"]
    assert (budget["reserved"], budget["held"]) == (0, 0)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": "x" * 4097}, "input"),
        ({"voice": "nobody"}, "voice"),
        ({"speed": 9}, "speed"),
        ({"response_format": "aac"}, "response_format"),
        ({"response_format": "mp3"}, "response_format"),
    ],
    ids=["empty input", "4097 characters", "unknown voice", "speed 9", "aac", "mp3"],
)
def test_errors_name_the_field(client: OpenAI, changes: dict[str, object], param: str) -> None:
    with pytest.raises(BadRequestError) as raised:
        client.audio.speech.create(**speech(**changes))
    error = raised.value
    assert error.param == param
    assert error.type == "invalid_request_error"
    assert error.request_id, "x-request-id is missing"
    if param == "response_format":
        assert "wav" in error.message and "pcm" in error.message, "it must say what can be had"


def test_nothing_is_left_at_the_end(server: Server) -> None:
    server.idle_within(seconds=1.0)
