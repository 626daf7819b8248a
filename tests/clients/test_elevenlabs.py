"""ElevenLabs' own Python SDK, unchanged but for its base URL, speaks through Evensong."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest
from audio import Sound, decode, pcm_of_wav
from conftest import LONGEST, SENTENCE, Server
from elevenlabs import ElevenLabs
from elevenlabs.core.api_error import ApiError

# Names of ElevenLabs; of mp3 and opus their rates are wishes.
FORMATS = [None, "mp3_44100_128", "mp3_22050_32", "opus_48000_32", "pcm_24000", "wav_24000"]


@pytest.fixture
def eleven(server: Server) -> Iterator[ElevenLabs]:
    """With a transport of ours only so that it can be closed, which theirs cannot."""
    with httpx.Client(timeout=30) as transport:
        yield ElevenLabs(base_url=server.url, api_key="none", httpx_client=transport)


def asked(format: str | None) -> dict[str, str]:
    return {"voice_id": "alloy", "model_id": "eleven_multilingual_v2"} | (
        {"output_format": format} if format else {}
    )


def heard(sound: bytes, format: str | None) -> Sound:
    codec = (format or "mp3").split("_")[0]
    if codec == "pcm":
        return Sound.of_pcm(sound)
    return Sound.of_pcm(pcm_of_wav(sound) if codec == "wav" else decode(sound))


@pytest.mark.usefixtures("ffmpeg")
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("method", ["convert", "stream"])
def test_every_format(eleven: ElevenLabs, method: str, format: str | None) -> None:
    speak: Callable[..., Iterator[bytes]] = getattr(eleven.text_to_speech, method)
    sound = b"".join(speak(text=SENTENCE, **asked(format)))
    heard(sound, format).is_speech_of(SENTENCE)


def test_stream_begins_before_the_end_and_an_early_leave_frees_everything(
    eleven: ElevenLabs, server: Server
) -> None:
    chunks = eleven.text_to_speech.stream(text=LONGEST, **asked("mp3_44100_128"))
    assert next(chunks)
    assert not server.ledger()["idle"], "the stream was over before its first chunk was read"
    chunks.close()
    server.idle_within(seconds=1.0)


def test_speed_is_heard(eleven: ElevenLabs) -> None:
    def seconds(speed: float) -> float:
        settings = {"speed": speed}
        chunks = eleven.text_to_speech.convert(
            text=SENTENCE, voice_settings=settings, **asked("pcm_24000")
        )
        return heard(b"".join(chunks), "pcm_24000").seconds

    assert seconds(1.2) < 0.95 * seconds(0.8)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"text": ""}, "text"),
        ({"voice_id": "nobody"}, "voice"),
        ({"output_format": "pcm_16000"}, "output_format"),
        ({"output_format": "ulaw_8000"}, "output_format"),
    ],
    ids=["empty text", "unknown voice", "pcm at 16 kHz", "ulaw"],
)
def test_errors_name_the_field(eleven: ElevenLabs, changes: dict[str, str], param: str) -> None:
    request = {"text": SENTENCE, **asked("mp3_44100_128")} | changes
    with pytest.raises(ApiError) as raised:
        b"".join(eleven.text_to_speech.convert(**request))
    assert raised.value.status_code == 400
    assert raised.value.body["error"]["param"] == param
