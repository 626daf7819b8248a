"""Pipecat's own OpenAI service, unchanged but for its base URL, speaks through Evensong."""

from __future__ import annotations

import asyncio

from audio import RATE, Sound
from conftest import SENTENCE, Server
from openai import DefaultAsyncHttpxClient
from pipecat.frames.frames import ErrorFrame, TTSAudioRawFrame, TTSSpeakFrame
from pipecat.services.openai.tts import OpenAITTSService
from pipecat.tests.utils import run_test


def spoken(server: Server, speed: float = 1.0) -> tuple[bytes, list[str]]:
    """What comes out of a pipeline that has been told to speak: samples, and errors."""

    async def run() -> tuple[bytes, list[str]]:
        # Of ours only so that it is closed, which the service does not do.
        async with DefaultAsyncHttpxClient() as transport:
            service = OpenAITTSService(
                base_url=f"{server.url}/v1",
                api_key="none",
                sample_rate=RATE,
                settings=OpenAITTSService.Settings(speed=speed),
                http_client=transport,
            )
            say = [TTSSpeakFrame(SENTENCE)]
            down, up = await run_test(service, frames_to_send=say, start_timeout=10.0)
        frames = [frame for frame in down if isinstance(frame, TTSAudioRawFrame)]
        assert {(frame.sample_rate, frame.num_channels) for frame in frames} <= {(RATE, 1)}
        errors = [frame.error for frame in [*down, *up] if isinstance(frame, ErrorFrame)]
        return b"".join(frame.audio for frame in frames), errors

    return asyncio.run(asyncio.wait_for(run(), timeout=60))


def test_a_pipeline_speaks(server: Server) -> None:
    pcm, errors = spoken(server)
    assert not errors
    Sound.of_pcm(pcm).is_speech_of(SENTENCE)


def test_a_refusal_reaches_the_pipeline(server: Server) -> None:
    pcm, errors = spoken(server, speed=9.0)
    assert not pcm
    assert any("speed 9 is not between" in error for error in errors), errors
