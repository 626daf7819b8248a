"""LiveKit's own OpenAI plugin, unchanged but for its base URL, speaks through Evensong."""

from __future__ import annotations

import asyncio

import pytest
from audio import RATE, Sound
from conftest import LONGEST, SENTENCE, Server
from livekit.agents import APIStatusError
from livekit.plugins.openai import TTS


def speak(server: Server, text: str, **changes: str) -> bytes:
    async def run() -> bytes:
        request = {"voice": "alloy", "response_format": "pcm"} | changes
        tts = TTS(base_url=f"{server.url}/v1", api_key="none", **request)
        try:
            frame = await tts.synthesize(text).collect()
        finally:
            await tts.aclose()
        assert (frame.sample_rate, frame.num_channels) == (RATE, 1)
        return bytes(frame.data)

    return asyncio.run(asyncio.wait_for(run(), timeout=60))


# It asks for plain bytes of tts-1, and for events of every other model.
@pytest.mark.parametrize("model", ["tts-1", "gpt-4o-mini-tts"])
@pytest.mark.parametrize("format", ["pcm", "mp3", "opus", "flac", "wav"])
def test_synthesize(server: Server, model: str, format: str) -> None:
    pcm = speak(server, SENTENCE, model=model, response_format=format)
    Sound.of_pcm(pcm).is_speech_of(SENTENCE)


def test_an_interruption_frees_everything(server: Server) -> None:
    async def run() -> None:
        tts = TTS(base_url=f"{server.url}/v1", api_key="none", response_format="mp3")
        async with tts.synthesize(LONGEST) as frames:
            await anext(aiter(frames))
        await tts.aclose()

    asyncio.run(asyncio.wait_for(run(), timeout=60))
    server.idle_within(seconds=1.0)


def test_a_refusal_is_raised(server: Server) -> None:
    with pytest.raises(APIStatusError) as raised:
        speak(server, SENTENCE, voice="nobody")
    assert raised.value.status_code == 400
    assert "voice" in raised.value.message
